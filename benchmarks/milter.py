"""
A mail server's side of the milter protocol, as fast as Python goes, to load a milter with.

A message's commands are sent at once and the answers read at its end, so that the milter, not the
round trips, is what is measured. Source: the milter protocol, version 6, as in libmilter's mfdef.h.
"""

import random
import socket
import struct
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

BODY = b"Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod.\r\n" * 20
INSERT, ADD, FINAL = b"i", b"h", b"acrty"

# mfdef.h, SMFIP_*: which step the milter does not want, and which it does not answer.
_STEPS = {
    b"C": (0x1, 0x1000),
    b"H": (0x2, 0x2000),
    b"M": (0x4, 0x4000),
    b"R": (0x8, 0x8000),
    b"T": (0x200, 0x10000),
    b"L": (0x20, 0x80),
    b"N": (0x40, 0x40000),
    b"B": (0x10, 0x80000),
}
_OFFERED = 0x1FFFFF


@dataclass(frozen=True)
class Load:
    """``sent`` messages in ``seconds``, of which ``signed`` came back with a signature."""

    sent: int
    signed: int
    seconds: float

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.sent / self.seconds


class Connection:
    """One SMTP client's worth of a milter connection; each message is a transaction in it."""

    def __init__(self, path: str):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._received = b""
        self._protocol = 0
        self._send(b"O" + struct.pack("!III", 6, 0x1FF, _OFFERED))
        _, data = self._packet()
        self._protocol = struct.unpack("!III", data[:12])[2]
        unanswered = self._queue(b"C", b"localhost\x004" + struct.pack("!H", 25) + b"127.0.0.1\x00")
        unanswered += self._queue(b"H", b"localhost\x00")
        self._flush()
        for _ in range(unanswered):
            self._packet()

    def message(self, sender: str) -> bool:
        """Sends one message; whether a DKIM signature came back."""
        mail = sender.encode()
        headers = {
            b"From": mail,
            b"To": b"somebody@example.net",
            b"Subject": b"A message",
            b"Date": b"Sun, 22 Nov 2026 12:00:00 +0000",
            b"Message-ID": b"<" + str(random.random()).encode() + b"@example.net>",
        }
        unanswered = self._queue(b"M", b"<" + mail + b">\x00")
        unanswered += self._queue(b"R", b"<somebody@example.net>\x00")
        unanswered += self._queue(b"T", b"")
        for name, value in headers.items():
            unanswered += self._queue(b"L", name + b"\x00" + value + b"\x00")
        unanswered += self._queue(b"N", b"")
        unanswered += self._queue(b"B", BODY)
        self._append(b"E")
        self._flush()
        for _ in range(unanswered):
            self._packet()
        signed = False
        while True:
            command, data = self._packet()
            if command in (INSERT, ADD):
                signed = signed or b"DKIM-Signature" in data
            elif command in FINAL:
                return signed

    def close(self) -> None:
        """Ends the connection."""
        self._send(b"Q")
        self._socket.close()

    _queued = b""

    def _append(self, payload: bytes) -> None:
        self._queued += struct.pack("!I", len(payload)) + payload

    def _queue(self, command: bytes, data: bytes) -> int:
        """Queues a command that the milter wants; gives 1 where it will answer, else 0."""
        unwanted, unanswered = _STEPS[command]
        if self._protocol & unwanted:
            return 0
        self._append(command + data)
        return 0 if self._protocol & unanswered else 1

    def _flush(self) -> None:
        self._socket.sendall(self._queued)
        self._queued = b""

    def _send(self, payload: bytes) -> None:
        self._append(payload)
        self._flush()

    def _packet(self) -> tuple[bytes, bytes]:
        length = struct.unpack("!I", self._exactly(4))[0]
        payload = self._exactly(length)
        return payload[:1], payload[1:]

    def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            received = self._socket.recv(65536)
            if not received:
                raise ConnectionError("the milter closed the connection")
            self._received += received
        taken, self._received = self._received[:size], self._received[size:]
        return taken


def load(path: str, domains: Sequence[str], messages: int, connections: int = 4) -> Load:
    """
    Sends messages over several connections at once, their senders drawn from ``domains``.

    path
        The milter's socket.
    messages
        How many in all.
    """
    each = messages // connections
    begin = time.monotonic()
    with ProcessPoolExecutor(connections) as pool:
        signed = sum(
            pool.map(_client, [(path, domains, each, seed) for seed in range(connections)])
        )
    return Load(each * connections, signed, time.monotonic() - begin)


def _client(work: tuple[str, Sequence[str], int, int]) -> int:
    path, domains, messages, seed = work
    choice = random.Random(seed)
    connection = Connection(path)
    signed = sum(connection.message(f"someone@{choice.choice(domains)}") for _ in range(messages))
    connection.close()
    return signed
