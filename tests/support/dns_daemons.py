"""BIND, Knot and PowerDNS, each for one test: real servers on their own loopback addresses."""

import base64
import json
import shutil
import sqlite3
import subprocess
import time
import urllib.request
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
        The zone files' texts after SOA and NS, by origin. The NS is ``ns.<origin>``, at
        ``address``.
    updates
        ``key``: allow updates with the TSIG key; ``none``: allow no updates.
    secondary_of
        The address of the primary server. The zones are transferred from there once, and refreshed
        only after an hour.
    servers
        The names of further NS records.
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
        # The packaged servers listen on every address, BIND also on addresses added later.
        if shutil.which("systemctl"):
            subprocess.run(["systemctl", "stop", "--quiet", "named", "pdns"], check=False)
        # BIND listens only on the addresses of an interface, not on all of 127.0.0.0/8.
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
        """Return the server's TXT records at a name, the strings of each record joined."""
        reply = self.ask(name, "TXT")
        return {
            b"".join(rdata.strings)
            for rrset in reply.answer
            if rrset.rdtype == dns.rdatatype.TXT
            for rdata in rrset
        }

    def ttl(self, name: str) -> int:
        """Return the TTL of the TXT records at a name."""
        return self.ask(name, "TXT").answer[0].ttl

    def ask(self, name: str, rtype: str) -> dns.message.Message:
        """Return the server's answer over TCP."""
        return dns.query.tcp(
            dns.message.make_query(f"{name}.", rtype, flags=0), self.address, timeout=2
        )

    def serial(self, origin: str) -> int | None:
        """Return a zone's serial, None if the server does not have the zone (yet)."""
        try:
            answer = self.ask(origin, "SOA").answer
        except (OSError, dns.exception.DNSException, EOFError):
            return None
        return answer[0][0].serial if answer else None

    def wait_for_serial(self, origin: str, least: int = 0, deadline: float = 60) -> None:
        """Wait until the server has a zone with that serial or a later one."""
        end = time.monotonic() + deadline
        while (self.serial(origin) or -1) < least:
            if time.monotonic() > end or self._process.poll() is not None:
                log = (self.folder / "log").read_text(errors="replace")
                raise TimeoutError(f"{self.program}: no zone {origin}\n{log[-2000:]}")
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
            # BIND 9.20 transfers zones only with allow-transfer (its release notes).
            f'options {{ directory "{self.folder}"; pid-file none; allow-transfer {{ any; }};'
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


class PowerDns(Daemon):
    """
    PowerDNS with its HTTP API.

    api_key
        The key that the server's API accepts.
    """

    program = "pdns_server"
    api_key = "the-api-key-of-the-tests/1"
    port = 8081

    def arguments(self) -> dict[str, object]:
        """Return the arguments of octoDNS's provider for this server."""
        return {"host": self.address, "port": self.port, "api_key": self.api_key}

    def request(self, method: str, path: str, data: object = None) -> object:
        """Return the API's answer to a request of the server's administrator."""
        request = urllib.request.Request(
            f"http://{self.address}:{self.port}/api/v1/servers/localhost/{path}",
            method=method,
            data=None if data is None else json.dumps(data).encode(),
            headers={"X-API-Key": self.api_key, "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def rrsets(self, origin: str) -> dict[tuple[str, str], object]:
        """Return all records of a zone except the SOA, by name and type."""
        found = self.request("GET", f"zones/{origin}.")["rrsets"]
        return {
            (one["name"].rstrip("."), one["type"]): (
                one["ttl"],
                sorted((record["content"], record["disabled"]) for record in one["records"]),
            )
            for one in found
            if one["type"] != "SOA"
        }

    def _prepare(self) -> list[str]:
        database = self.folder / "pdns.sqlite3"
        connection = sqlite3.connect(database)
        connection.executescript(_POWERDNS_SCHEMA.read_text())
        connection.close()
        settings = {
            "launch": "gsqlite3",
            "gsqlite3-database": database,
            "gsqlite3-pragma-synchronous": 0,
            "local-address": self.address,
            "webserver": "yes",
            "webserver-address": self.address,
            "webserver-allow-from": "127.0.0.0/8",
            "api": "yes",
            "api-key": self.api_key,
            "socket-dir": self.folder,
            "zone-cache-refresh-interval": 0,
            "cache-ttl": 0,
            "query-cache-ttl": 0,
            "negquery-cache-ttl": 0,
        }
        (self.folder / "pdns.conf").write_text("".join(f"{k}={v}\n" for k, v in settings.items()))
        for origin in self.zones:
            zone = self.folder / f"{origin}.zone"
            command = ["pdnsutil", f"--config-dir={self.folder}"]
            subprocess.run([*command, "load-zone", origin, zone], check=True, capture_output=True)
            subprocess.run(
                [*command, "set-meta", origin, "SOA-EDIT-API", "INCREASE"],
                check=True,
                capture_output=True,
            )
        return [
            shutil.which("pdns_server"),
            f"--config-dir={self.folder}",
            "--daemon=no",
            "--guardian=no",
            "--disable-syslog",
        ]


_POWERDNS_SCHEMA = Path("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")


def _section(name: str, entries: Iterable[Mapping[str, object]]) -> str:
    # Knot reads a subset of YAML without mappings in braces. Its single sections are no lists.
    is_list = name not in ("server", "database")
    lines = [f"{name}:"]
    for entry in entries:
        for number, (key, value) in enumerate(entry.items()):
            lines.append(f"  {'- ' if is_list and not number else '  '}{key}: {value}")
    return "\n".join(lines) + "\n"
