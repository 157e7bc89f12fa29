"""BIND and Knot, each for one test: real servers on loopback addresses of their own."""

import base64
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import dns.exception
import dns.message
import dns.query

SECRET = base64.b64encode(b"the secret of the tests, 32 octs").decode()
OTHER_SECRET = base64.b64encode(b"another secret, of 32 octets too").decode()
KEY_NAME = "dkim."
ALGORITHM = "hmac-sha256"


class Daemon:
    """
    A server at port 53 of ``address``; a context manager.

    zones
        Zone files' texts below SOA and NS, by origin. The NS is ``ns.<origin>``, at ``address``.
    updates
        ``key``: updates by the TSIG key; ``none``: none at all.
    secondary_of
        An address: the zones are transferred from there, and asked for again only in an hour.
    """

    program = ""

    def __init__(
        self,
        folder: Path,
        zones: Mapping[str, str],
        address: str,
        updates: str = "key",
        secondary_of: str | None = None,
        servers: Iterable[str] = (),
    ):
        self.folder = folder
        self.zones = dict(zones)
        self.address = address
        self.updates = updates
        self.secondary_of = secondary_of
        self.servers = tuple(servers)
        self._process: subprocess.Popen | None = None

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        # The packaged BIND takes every new address of the machine as soon as it sees it.
        if shutil.which("systemctl"):
            subprocess.run(["systemctl", "stop", "--quiet", "named"], check=False)
        # BIND listens on addresses that an interface has, not on all of 127.0.0.0/8.
        subprocess.run(["ip", "address", "replace", f"{self.address}/32", "dev", "lo"], check=True)
        for origin, text in self.zones.items():
            if self.secondary_of is None:
                (self.folder / f"{origin}.zone").write_text(self._head(origin) + text)
        command = self._prepare()
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            for origin in self.zones:
                self.wait_for_serial(origin)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def texts(self, name: str) -> set[bytes]:
        """What the server shows of TXT at a name, each record's strings joined."""
        reply = self.ask(name, "TXT")
        return {
            b"".join(rdata.strings)
            for rrset in reply.answer
            if rrset.rdtype == dns.rdatatype.TXT
            for rdata in rrset
        }

    def ttl(self, name: str) -> int:
        """The TTL of the TXT records at a name."""
        return self.ask(name, "TXT").answer[0].ttl

    def ask(self, name: str, rtype: str) -> dns.message.Message:
        """Its answer over TCP."""
        return dns.query.tcp(
            dns.message.make_query(f"{name}.", rtype, flags=0), self.address, timeout=2
        )

    def serial(self, origin: str) -> int | None:
        """A zone's serial, None where the server has no such zone (yet)."""
        try:
            answer = self.ask(origin, "SOA").answer
        except (OSError, dns.exception.DNSException, EOFError):
            return None
        return answer[0][0].serial if answer else None

    def wait_for_serial(self, origin: str, least: int = 0, deadline: float = 60) -> None:
        """Wait until a zone is there, with that serial or a later one."""
        end = time.monotonic() + deadline
        while (self.serial(origin) or -1) < least:
            if time.monotonic() > end or self._process.poll() is not None:
                log = (self.folder / "log").read_text(errors="replace")
                raise TimeoutError(f"{self.program}: no {origin}\n{log[-2000:]}")
            time.sleep(0.05)

    def _head(self, origin: str) -> str:
        others = "".join(f"@ 60 NS {server}\n" for server in self.servers)
        return (
            f"$ORIGIN {origin}.\n$TTL 300\n@ 60 SOA ns h 1 3600 3600 86400 30\n@ 60 NS ns\n{others}"
            f"ns 60 A {self.address}\n"
        )

    def _prepare(self) -> list[str]:
        raise NotImplementedError(f"{type(self).__name__} writes its configuration")


class Bind(Daemon):
    """BIND 9."""

    program = "named"

    def _prepare(self) -> list[str]:
        update = f'key "{KEY_NAME}";' if self.updates == "key" else "none;"
        zones = "".join(self._zone(origin, update) for origin in self.zones)
        (self.folder / "named.conf").write_text(
            f'options {{ directory "{self.folder}"; pid-file none;'
            f" listen-on {{ {self.address}; }}; listen-on-v6 {{ none; }}; recursion no;"
            f' session-keyfile "{self.folder}/session.key"; dnssec-validation no; notify no; }};\n'
            "controls {};\n"
            f'key "{KEY_NAME}" {{ algorithm {ALGORITHM}; secret "{SECRET}"; }};\n{zones}'
        )
        return [shutil.which("named"), "-g", "-c", str(self.folder / "named.conf")]

    def _zone(self, origin: str, update: str) -> str:
        if self.secondary_of is not None:
            kind = f"type secondary; primaries {{ {self.secondary_of}; }};"
        else:
            kind = f"type primary; allow-update {{ {update} }};"
        return f'zone "{origin}" {{ {kind} file "{self.folder}/{origin}.zone"; }};\n'


class Knot(Daemon):
    """Knot DNS."""

    program = "knotd"

    def _prepare(self) -> list[str]:
        parts = [
            ("server", [{"rundir": self.folder, "listen": f"{self.address}@53"}]),
            ("database", [{"storage": self.folder}]),
            ("key", [{"id": KEY_NAME, "algorithm": ALGORITHM, "secret": SECRET}]),
            ("remote", [{"id": "primary", "address": self.secondary_of or self.address}]),
            (
                "acl",
                [
                    {"id": "ours", "key": KEY_NAME, "action": "update"},
                    {"id": "any", "address": "127.0.0.0/8", "action": "transfer"},
                ],
            ),
            ("zone", [self._zone(origin) for origin in self.zones]),
        ]
        (self.folder / "knot.conf").write_text("".join(_section(*part) for part in parts))
        return [shutil.which("knotd"), "-c", str(self.folder / "knot.conf")]

    def _zone(self, origin: str) -> dict[str, object]:
        zone = {"domain": origin, "storage": self.folder, "file": f"{origin}.zone"}
        if self.secondary_of is not None:
            return {**zone, "acl": "any", "master": "primary"}
        return {**zone, "acl": "[ours, any]" if self.updates == "key" else "any"}


def _section(name: str, entries: Iterable[Mapping[str, object]]) -> str:
    # Knot reads a part of YAML alone: no mappings in braces. Its single sections are no lists.
    is_list = name not in ("server", "database")
    lines = [f"{name}:"]
    for entry in entries:
        for number, (key, value) in enumerate(entry.items()):
            lines.append(f"  {'- ' if is_list and not number else '  '}{key}: {value}")
    return "\n".join(lines) + "\n"
