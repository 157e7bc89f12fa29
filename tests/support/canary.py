"""A search for secrets on a machine: in files, the journal, processes and events."""

import base64
import re
import shlex
import subprocess
import tempfile
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from support.machine import Machine

# Lengths of pieces, in octets of a number and in characters: long enough to exclude coincidences.
WINDOW = 12
PIECE = 24

# Reads the arguments and the environment of every process in a loop, until its input ends. At the
# end it prints each text once, separated by empty lines.
SAMPLER = """\
import os, select, sys
seen, rounds = set(), 0
me = str(os.getpid())
while True:
    for pid in os.listdir("/proc"):
        if not pid.isdigit() or pid == me:
            continue
        for name in ("cmdline", "environ"):
            try:
                with open(f"/proc/{pid}/{name}", "rb") as stream:
                    seen.add(stream.read().strip(b"\\0").replace(b"\\0", b"\\n"))
            except OSError:
                continue
    rounds += 1
    if select.select([sys.stdin], [], [], 0.02)[0]:
        break
sys.stdout.buffer.write(b"\\n\\n".join(sorted(seen)))
print(f"\\n\\n{rounds} rounds")
"""

# Prints every event on an event bus of Salt; {kind} is master or minion.
LISTENER = """\
import sys
import salt.config, salt.utils.event
options = salt.config.{kind}_config("/etc/salt/{kind}")
with salt.utils.event.get_event("{kind}", opts=options, listen=True) as bus:
    print("listening", flush=True)
    while True:
        event = bus.get_event(wait=1, full=True, auto_reconnect=True)
        if event is not None:
            print(event["tag"], event["data"], flush=True)
"""


@dataclass(frozen=True)
class Find:
    """A found secret: its place and its name."""

    place: str
    secret: str


class Markers:
    """The forms in which secrets may appear, each with the secret's name."""

    def __init__(self) -> None:
        self._names: dict[bytes, str] = {}
        self._public: list[bytes] = []

    def add_text(self, name: str, secret: str | bytes) -> None:
        """Add a password, a part of a verifier or a TSIG secret, in all forms."""
        raw = secret.encode() if isinstance(secret, str) else secret
        self._add(name, _forms(raw))

    def add_key(self, name: str, pem: str, public: str) -> None:
        """
        Add a private key: the lines of its text, and the octets of its private numbers.

        public
            The record's ``p=``: its contents are not secret.
        """
        self._public.append(public.encode())
        lines = [line.encode() for line in pem.splitlines() if not line.startswith("-----")]
        forms = {line[-PIECE - 8 : -8] for line in lines if len(line) >= 2 * PIECE}
        forms |= {urllib.parse.quote_from_bytes(form, safe="").encode() for form in forms}
        for number in _private_octets(base64.b64decode(b"".join(lines))):
            window = _window(number)
            # openssl(1) prints octets with a fixed number per line.
            halves = {window[:6].hex(":").encode(), window[6:].hex(":").encode()}
            forms |= _forms(window) | halves
            forms.add(str(int.from_bytes(number)).encode()[8 : 8 + PIECE])
        self._add(name, forms)

    def named(self) -> Mapping[bytes, str]:
        """Return the forms with the secrets' names, without forms that a public key contains."""
        public = b"\n".join(self._public)
        return {form: name for form, name in self._names.items() if form not in public}

    def within(self, text: bytes, place: str) -> set[Find]:
        """Return the secrets that a text contains."""
        return {Find(place, name) for form, name in self.named().items() if form in text}

    def _add(self, name: str, forms: Iterable[bytes]) -> None:
        self._names.update((form, name) for form in forms if b"\n" not in form)


def _forms(raw: bytes) -> set[bytes]:
    """Return octets as they are and as programs print them."""
    found = {raw, raw.hex().encode(), raw.hex().upper().encode(), raw.hex(":").encode()}
    found.add(urllib.parse.quote_from_bytes(raw, safe="").encode())
    found.add(repr(raw)[2:-1].encode())
    for shift in range(3):
        # The neighbouring octets determine the first and the last characters.
        text = base64.b64encode(b"\0" * shift + raw)
        inner = text[4 if shift else 0 : len(text) // 4 * 4 - 4]
        found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def _window(octets: bytes) -> bytes:
    """Return a piece that grep can search for: without NUL and line feed."""
    pieces = (
        octets[at : at + size]
        for size in range(WINDOW, WINDOW // 2, -1)  # a short key may have no long piece
        for at in range(4, len(octets) - size)
    )
    return next(piece for piece in pieces if not {0, 10} & set(piece))


def _private_octets(der: bytes) -> list[bytes]:
    """
    Return the private numbers of a key.

    Of an RSA key these are d, p, q and the numbers after them (RFC 8017, appendix A.1.2), in PKCS#8
    (RFC 5208) or bare. Of an Ed25519 key it is the seed (RFC 8410, section 7).
    """
    parts = _der(_der(der)[0])
    if len(parts) == 9:  # RSAPrivateKey: version, n, e, and then the private numbers
        return [number for number in parts[3:] if len(number) > 2 * WINDOW]
    inner = parts[2]  # PrivateKeyInfo: version, algorithm, the key in an OCTET STRING
    return [_der(inner)[0]] if len(inner) == 34 else _private_octets(inner)


def _der(data: bytes) -> list[bytes]:
    """Return the contents of consecutive DER values."""
    found = []
    while data:
        length, at = data[1], 2
        if length & 0x80:
            at += length & 0x7F
            length = int.from_bytes(data[2:at])
        found.append(data[at : at + length])
        data = data[at + length :]
    return found


@dataclass
class Hunt:
    """
    A search of a machine from the start to the end of a block; a context manager.

    markers
        The secrets to search for; more may be added during the search.
    allowed
        Patterns of paths, each with the secrets that files there may contain.
    """

    machine: Machine
    markers: Markers
    allowed: Mapping[str, set[str]] = field(default_factory=dict)

    STAMP = "/run/hunt-begins"
    PATTERNS = "/run/hunt-patterns"

    def __enter__(self) -> Self:
        self.machine.run(["touch", self.STAMP])
        self._sampler = self.machine.popen(
            ["/usr/bin/python3", "-c", SAMPLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._sampled: bytes | None = None
        self._listeners: list[subprocess.Popen] = []
        self._heard: dict[str, Path] = {}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.samples()
        for process in self._listeners:
            process.terminate()
            process.wait()
        for path in self._heard.values():
            path.unlink()

    def listen(self, kind: str) -> None:
        """Start to listen to an event bus of Salt: ``master`` or ``minion``."""
        with tempfile.NamedTemporaryFile(delete=False) as out:
            self._heard[kind] = Path(out.name)
            command = ["/opt/salt/bin/python", "-c", LISTENER.format(kind=kind)]
            self._listeners.append(self.machine.popen(command, stdout=out))
        self.machine.wait_for(lambda: self.events(kind), what=f"a listener on the {kind}'s bus")

    def samples(self) -> bytes:
        """Return processes' arguments and environments, from the start to the first call."""
        if self._sampled is None:
            self._sampled, _ = self._sampler.communicate(b"", timeout=60)
        return self._sampled

    def events(self, kind: str) -> bytes:
        """Return all events of a bus until now."""
        return self._heard[kind].read_bytes()

    def journal(self) -> bytes:
        """Return the journal's fields, which are compressed in the journal's files."""
        command = ["journalctl", "--output=export", "--no-pager", "--quiet"]
        return subprocess.run(
            self.machine.command(command), capture_output=True, check=True, timeout=120
        ).stdout

    def names(self) -> bytes:
        """Return the paths of all new files on the machine, and the targets of links."""
        return self._written("-printf '%p %l\\n'")

    def in_files(self) -> set[Find]:
        """Return the secrets in files written since the start, except PostgreSQL's own files."""
        named = self.markers.named()
        grep = f"-type f -print0 | LC_ALL=C xargs -0 -r grep -aoHZF -f {self.PATTERNS}"
        script = f"umask 077; cat > {self.PATTERNS}; {self._find(grep)}; rm {self.PATTERNS}"
        done = subprocess.run(
            self.machine.command(script),
            input=b"\n".join(named),
            capture_output=True,
            check=False,  # xargs fails if one grep finds nothing
            timeout=300,
        )
        finds = re.findall(rb"([^\0\n]+)\0([^\n]*)\n", done.stdout)
        places = {Find(path.decode(), named[form]) for path, form in finds}
        return {one for one in places if one.place != self.PATTERNS}

    def leaks(self) -> set[Find]:
        """Return every secret at a place where it is not allowed."""
        found = self.markers.within(self.samples(), "processes")
        found |= self.markers.within(self.journal(), "journal")
        found |= self.markers.within(self.names(), "names of files")
        for kind in self._heard:
            found |= self.markers.within(self.events(kind), f"event bus of the {kind}")
        return found | {one for one in self.in_files() if not self._is_allowed(one)}

    def cores(self) -> list[str]:
        """Return core dumps: those of systemd-coredump, and files with the kernel's name."""
        listed = self._written(r"-type f \( -name 'core' -o -name 'core.*' \) -size +100k -print")
        stored = self.machine.run("ls /var/lib/systemd/coredump 2>/dev/null || true").stdout
        return [*listed.decode().split(), *stored.split()]

    def _is_allowed(self, found: Find) -> bool:
        return any(
            found.secret in secrets and re.fullmatch(pattern, found.place)
            for pattern, secrets in self.allowed.items()
        )

    def _find(self, action: str) -> str:
        pruned = " -o ".join(
            f"-path {shlex.quote(path)}"
            for path in ("/proc", "/sys", "/var/lib/postgresql", "/var/log/journal")
        )
        return rf"find / \( {pruned} \) -prune -o -cnewer {self.STAMP} {action}"

    def _written(self, action: str) -> bytes:
        done = subprocess.run(
            self.machine.command(self._find(action)), capture_output=True, check=False, timeout=120
        )
        return done.stdout
