"""The real OpenDKIM over a throw-away PostgreSQL, to test how it uses the rows of the views."""

import subprocess
import time
from pathlib import Path

import pytest
from dkim_formula.errors import OpenDKIMError
from dkim_formula.settings.model import Database
from dkim_formula.signer.milter import Answer, Connection

PROGRAM = "/usr/sbin/opendkim"
STARTS_WITHIN = 30  # seconds

# The daemon runs as postgres, which can log in to the role of that name by peer authentication.
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
        The database with the views.
    folder
        The folder for configuration and socket; the account postgres must have access.
    views
        The SigningTable's view, and the KeyTable's.
    algorithm
        ``rsa`` or ``ed25519``: a daemon has one algorithm.
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
        """Start the daemon, and wait until its socket answers."""
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
        """Kill the daemon, and wait for its end."""
        if self._process is not None:
            # At SIGTERM the daemon waits for libmilter's five seconds (measured). A kill is safe
            # here.
            self._process.kill()
            self._process.wait(30)

    def answer(self, domain: str, sender: str = "somebody") -> Answer:
        """Return the daemon's answer to a message from an address of the domain."""
        address = f"{sender}@{domain}"
        headers = [("From", address), ("To", "other@example.net"), ("Subject", "A test")]
        with Connection(str(self.socket)) as connection:
            return connection.message(address, headers, b"Hello.\r\n")

    def signature(self, domain: str, sender: str = "somebody") -> str:
        """
        Send a message from the domain, and return ``d=DOMAIN s=SELECTOR`` of its signature.

        Return ``unsigned`` for an accepted message without a signature, and the daemon's verdict
        for a message that is not accepted.
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
