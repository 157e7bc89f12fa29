"""A milter for tests: the daemon's side of the protocol, as libmilter speaks it."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

Packet = tuple[bytes, bytes]
# The flags of OpenDKIM (measured, 2.11.0~beta2): no HELO, DATA and unknown commands.
PROTOCOL = 0x302


class Message:
    """The data that the milter received of one message."""

    def __init__(self) -> None:
        self.headers: list[tuple[str, str]] = []
        self.body = b""
        self.macros: dict[str, str] = {}


Answering = Callable[[bytes, Message], list[Packet]]


def accept(command: bytes, message: Message) -> list[Packet]:
    """Answer "continue" to every command, and change nothing."""
    return [(b"c", b"")]


class Milter:
    """
    A milter that listens at a path until it is closed; a context manager.

    answering
        A function of a command (its letter) and the message so far. It returns the packets to send;
        an empty list for silence.
    protocol
        The steps that the milter skips or does not answer, SMFIP_* of mfdef.h.
    """

    def __init__(self, path: Path, answering: Answering = accept, protocol: int = PROTOCOL):
        self.path = str(path)
        self.answering = answering
        self.protocol = protocol
        self.messages: list[Message] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(self.path)
        self._listening.listen(4)
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> "Milter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Accept no more connections."""
        self._listening.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        message, ignoring = Message(), False
        with client, contextlib.suppress(OSError, EOFError):
            while True:
                command, data = _packet(client)
                if command == b"Q":
                    return
                if command == b"O":
                    _send(client, b"O", struct.pack("!III", 6, 0x111, self.protocol))
                elif command == b"D":
                    _macros(message, data[1:])
                elif command == b"C":
                    _send(client, b"c", b"")
                elif command == b"A":
                    continue  # has no answer
                else:
                    if command == b"M":
                        message, ignoring = _begun(message), False
                        self.messages.append(message)
                    # After a refusal libmilter ignores the rest of the message.
                    if not ignoring:
                        ignoring = self._answer(client, command, data, message)

    def _answer(self, client: socket.socket, command: bytes, data: bytes, message: Message) -> bool:
        if command == b"L":
            name, value = data.rstrip(b"\0").split(b"\0")
            message.headers.append((name.decode(), value.decode()))
        elif command == b"B":
            message.body += data
        answers = self.answering(command, message)
        for answer in answers:
            _send(client, *answer)
        return bool(answers) and answers[-1][0] != b"c"


def _begun(before: Message) -> Message:
    """Return a new message with the macros of MAIL, which arrive before the command itself."""
    message = Message()
    message.macros = before.macros
    return message


def _macros(message: Message, data: bytes) -> None:
    parts = [part.decode() for part in data.split(b"\0")]
    message.macros = dict(zip(parts[::2], parts[1::2], strict=False))


def _packet(client: socket.socket) -> Packet:
    (length,) = struct.unpack("!I", _exactly(client, 4))
    payload = _exactly(client, length)
    return payload[:1], payload[1:]


def _exactly(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        received = client.recv(size - len(data))
        if not received:
            raise EOFError
        data += received
    return data


def _send(client: socket.socket, command: bytes, data: bytes) -> None:
    client.sendall(struct.pack("!I", len(data) + 1) + command + data)
