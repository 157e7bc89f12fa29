"""The real OpenDKIM over a throw-away PostgreSQL: what it makes of the rows that it is shown."""

import subprocess
import time
from pathlib import Path

import pytest
from dkim_formula.errors import OpenDKIMError
from dkim_formula.settings.model import Database
from dkim_formula.signer.milter import Answer, Connection

PROGRAM = "/usr/sbin/opendkim"
STARTS_WITHIN = 30  # seconds

# The daemon runs as postgres, whom peer authentication lets in as the role of that name.
CONFIGURATION = """\
Mode s
Syslog yes
LogWhy yes
Socket local:{socket}
PidFile {folder}/opendkim.pid
KeyTable dsn:pgsql://postgres@{port}+,/{name}/table={keys}?keycol=identifier?datacol=domain,selector,key
SigningTable dsn:pgsql://postgres@{port}+,/{name}/table={signers}?keycol=pattern?datacol=identifier
SignatureAlgorithm {algorithm}
InternalHosts 127.0.0.1
"""


class SigningDaemon:
    """
    OpenDKIM in the foreground over two views of a database; a context manager.

    database
        Where the views are.
    folder
        For its configuration and socket; postgres has to be let in.
    views
        The SigningTable's view, and the KeyTable's.
    algorithm
        ``rsa`` or ``ed25519``: a daemon has one.
    """

    def __init__(
        self,
        database: Database,
        folder: Path,
        views: tuple[str, str] = ("dkim_signing_table", "dkim_key_table"),
        algorithm: str = "rsa",
    ):
        if not Path(PROGRAM).exists():
            pytest.skip("opendkim is not installed")
        self.socket = folder / "opendkim.sock"
        signers, keys = views
        text = CONFIGURATION.format(
            socket=self.socket,
            folder=folder,
            port=database.port,
            name=database.name,
            signers=signers,
            keys=keys,
            algorithm={"rsa": "rsa-sha256", "ed25519": "ed25519-sha256"}[algorithm],
        )
        self._config = folder / "opendkim.conf"
        self._config.write_text(text)
        self._config.chmod(0o644)
        self._output = (folder / "opendkim.out").open("wb")
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> "SigningDaemon":
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when the socket answers."""
        command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        self._process = subprocess.Popen(
            [*command, PROGRAM, "-f", "-x", str(self._config)],
            stdout=self._output,
            stderr=self._output,
            cwd="/",
        )
        deadline = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                Connection(str(self.socket)).close()
                return
            except OpenDKIMError:
                time.sleep(0.05)
        output = Path(self._output.name).read_text(errors="replace")
        raise AssertionError(f"opendkim does not answer: {output}")

    def stop(self) -> None:
        """Returns when the process has ended."""
        if self._process is not None:
            # At SIGTERM it waits for libmilter's own five seconds (measured); nothing is lost here.
            self._process.kill()
            self._process.wait(30)

    def answer(self, domain: str, sender: str = "somebody") -> Answer:
        """What becomes of a message from an address of the domain."""
        address = f"{sender}@{domain}"
        headers = [("From", address), ("To", "other@example.net"), ("Subject", "A test")]
        with Connection(str(self.socket)) as connection:
            return connection.message(address, headers, b"Hello.\r\n")

    def signature(self, domain: str, sender: str = "somebody") -> str:
        """
        ``d=DOMAIN s=SELECTOR`` of the signature that a message from the domain gets; ``unsigned``
        where it passes without; else the daemon's verdict.
        """
        answer = self.answer(domain, sender)
        if answer.verdict != "accepted":
            return answer.verdict
        signatures = answer.headers("DKIM-Signature")
        if not signatures:
            return "unsigned"
        tags = dict(
            tag.strip().split("=", 1)
            for tag in signatures[0].replace("\r\n", "").split(";")
            if tag.strip()
        )
        return f"d={tags['d']} s={tags['s']}"
