"""
Mail through Postfix: smtp-source(1) sends it, a peer's milters sign it, smtp-sink(1) receives it.

Each peer has its own port on the machine's only Postfix, so that peers can take turns. Cleanup and
queue work as for real mail: each message is written to the disk before Postfix accepts it.
"""

import contextlib
import random
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .peer import DEADLINE, Peer

SINK = "127.0.0.1:10000"
FIRST_PORT = 10001
# Stands for mail without a milter, the limit of Postfix itself.
NO_MILTER = None
SETTINGS = {
    "relayhost": f"[{SINK.replace(':', ']:')}",
    # By default Postfix delays its clients while mail arrives faster than it leaves, and the rates
    # would measure these delays.
    "in_flow_delay": "0",
    "smtpd_client_connection_count_limit": "0",
    "smtpd_milters": "",
    "milter_default_action": "tempfail",
}


class Postfix:
    """The machine's Postfix with a port for each peer."""

    def __init__(self, ports: Mapping[Peer | None, int], dump: Path):
        self._ports = ports
        self._dump = dump
        self._offset = 0
        self._messages = self._signatures = 0

    def rate(self, peer: Peer | None, messages: int, connections: int, size: int) -> float:
        """
        Return messages a second, from the start of the first to the arrival of the last.

        Raises RuntimeError if a message arrives without the peer's signatures.
        """
        before = self._arrived()
        begin = time.monotonic()
        domains = peer.domains if peer else ["d1.example"]
        self._send(self._ports[peer], domains, messages, connections, size)
        end = begin + DEADLINE
        while (arrived := self._arrived())[0] < before[0] + messages:
            if time.monotonic() > end:
                raise RuntimeError(f"{arrived[0] - before[0]} of {messages} messages arrived")
            time.sleep(0.01)
        took = time.monotonic() - begin
        expected = messages * (peer.signatures if peer else 0)
        if arrived[1] - before[1] != expected:
            raise RuntimeError(f"{arrived[1] - before[1]} of {expected} signatures arrived")
        return messages / took

    def _send(
        self, port: int, domains: Sequence[str], messages: int, connections: int, size: int
    ) -> None:
        # smtp-source has one sender. With a single connection, several runs follow one another.
        turns = 1 if connections > 1 else min(5, messages)
        each = max(1, messages // (connections * turns))
        left = messages
        while left > 0:
            running = []
            for _ in range(connections):
                count = min(each, left)
                left -= count
                if count:
                    running.append(_source(port, random.choice(domains), count, size))
            for process in running:
                if process.wait() != 0:
                    raise RuntimeError(f"smtp-source ended with {process.returncode}")

    def _arrived(self) -> tuple[int, int]:
        """Return how many messages, and how many signatures, have arrived since the start."""
        if self._dump.exists():
            # Only what is new: the file grows by the gigabyte, and its reader shares the machine.
            with self._dump.open("rb") as file:
                file.seek(self._offset)
                text, newline, _ = file.read().rpartition(b"\n")
            self._offset += len(text) + len(newline)
            self._messages += len(_END.findall(text))
            self._signatures += len(_SIGNATURE.findall(text))
        return self._messages, self._signatures


_SIGNATURE = re.compile(rb"^DKIM-Signature:", re.MULTILINE | re.IGNORECASE)
# smtp-sink(1), option -D: a line that smtp-sink adds to each message, before the headers.
_END = re.compile(rb"^X-Rcpt-Args:", re.MULTILINE)


def _source(port: int, domain: str, count: int, size: int) -> subprocess.Popen:
    options = {"-s": 1, "-m": count, "-l": size, "-f": f"someone@{domain}"}
    words = [str(word) for pair in options.items() for word in pair]
    to = ["-d", "-t", "somebody@example.net", f"127.0.0.1:{port}"]
    return subprocess.Popen(["/usr/sbin/smtp-source", *words, *to])


@contextlib.contextmanager
def postfix(peers: Sequence[Peer]) -> Iterator[Postfix]:
    """Set the machine's Postfix up for the peers; restore it at the end."""
    ports = {peer: FIRST_PORT + number for number, peer in enumerate([*peers, NO_MILTER])}
    files = [Path("/etc/postfix/main.cf"), Path("/etc/postfix/master.cf")]
    before = {path: path.read_bytes() for path in files}
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        dump = Path(folder) / "dump"
        shutil.chown(folder, "nobody")
        sink = subprocess.Popen(
            ["/usr/sbin/smtp-sink", "-u", "nobody", "-D", str(dump), SINK, "200"]
        )
        try:
            _set_up(ports)
            yield Postfix(ports, dump)
        finally:
            sink.terminate()
            sink.wait()
            for path, content in before.items():
                path.write_bytes(content)
            subprocess.run(["systemctl", "restart", "postfix"], check=True)


def _set_up(ports: Mapping[Peer | None, int]) -> None:
    settings = [f"{name}={value}" for name, value in SETTINGS.items()]
    subprocess.run(["postconf", "-e", *settings], check=True)
    for peer, port in ports.items():
        service = f"127.0.0.1:{port}/inet"
        milters = ",".join(f"unix:{path}" for path in (peer.sockets if peer else ()))
        subprocess.run(
            ["postconf", "-M", f"{service}=127.0.0.1:{port} inet n - n - 100 smtpd"], check=True
        )
        subprocess.run(["postconf", "-P", f"{service}/smtpd_milters={milters}"], check=True)
    # Empties the queue, so that no other mail arrives: only the benchmark uses the machine.
    subprocess.run(["postsuper", "-d", "ALL"], check=True, stderr=subprocess.DEVNULL)
    subprocess.run(["systemctl", "restart", "postfix"], check=True)
