"""
A client for the milter protocol, which passes test messages through a milter.

The client sends all commands of a message at once and reads the answers at the end. So the milter
sets the speed of many messages, not the round trips. Source: the milter protocol, version 6, as in
libmilter's mfdef.h.
"""

import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import OpenDKIMError

TIMEOUT = 30.0  # seconds for one answer
# MILTER_CHUNK_SIZE of mfdef.h
CHUNK = 65535
# The largest answer in octets: the maximum that Postfix asks for (MILTER_MAX_DATA_SIZE).
_LARGEST = 1 << 20

_INSERT_HEADER, _ADD_HEADER, _CONTINUE, _PROGRESS = b"i", b"h", b"c", b"p"
_REPLY_CODE = b"y"
# The answers that end a message. With SMFIR_REPLYCODE the milter sends the SMTP reply itself.
_VERDICTS = {
    b"a": "accepted",
    b"c": "accepted",
    b"d": "discarded",
    b"r": "rejected",
    b"t": "deferred",
    b"q": "quarantined",
}
# mfdef.h, SMFIP_*: for each step the flags «the milter skips it» and «the milter does not answer».
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
# All flags except SMFIP_SKIP (the client always sends the whole body) and SMFIP_HDR_LEADSPC (header
# values have no space after the colon, in both directions).
_OFFERED = 0x0FFBFF
_ACTIONS = 0x1FF


@dataclass(frozen=True)
class Answer:
    """
    The milter's answer to a message.

    verdict
        ``accepted``, ``deferred``, ``rejected``, ``discarded`` or ``quarantined``.
    reply
        The SMTP reply that the milter requests, or an empty string.
    added
        The headers that the milter adds, as (name, value), in its order; lines end with CRLF.
    """

    verdict: str
    reply: str = ""
    added: tuple[tuple[str, str], ...] = ()

    def headers(self, name: str) -> list[str]:
        """Return the values of the added headers with a name."""
        return [value for header, value in self.added if header.lower() == name.lower()]


class NoAnswerInTime(OpenDKIMError):
    """A milter that accepts a connection but sends no answer in time."""


class Connection:
    """
    A connection to a milter for one SMTP client at 127.0.0.1, as a context manager.

    Each message is a transaction in the connection.

    path
        The milter's Unix socket.
    timeout
        The seconds that one answer may take.

    Raises OpenDKIMError if nothing listens or the milter closes the connection, and the subclass
    NoAnswerInTime.
    """

    def __init__(self, path: str, timeout: float = TIMEOUT):
        self._path = path
        self._received = b""
        self._queued = b""
        self._protocol = 0
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        try:
            self._open()
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def message(
        self,
        sender: str,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        recipient: str = "somebody@example.net",
        macros: Mapping[str, str] | None = None,
    ) -> Answer:
        """
        Pass one message through the milter, and return its answer.

        sender, recipient
            The addresses of the envelope.
        headers
            The headers as (name, value) in order, values without the space after the colon.
        body
            The body; lines end with CRLF.
        macros
            The macros, such as ``i`` (the queue id) and ``{auth_authen}`` (the login name).
        """
        due = self._begin(sender, headers, recipient, macros)
        for start in range(0, len(body), CHUNK):
            due += self._queue(b"B", body[start : start + CHUNK])
        self._append(b"E")
        self._flush()
        return self._answer(due)

    def headers_only(
        self,
        sender: str,
        headers: Sequence[tuple[str, str]],
        recipient: str = "somebody@example.net",
        macros: Mapping[str, str] | None = None,
    ) -> Answer:
        """
        Return the milter's answer at the end of a message's headers, and abort the message.

        At this point OpenDKIM looks up the signing key of the message. It computes and logs nothing
        yet (opendkim.c, mlfi_eoh). A milter that continues with the body counts as ``accepted``.
        The arguments are those of :meth:`message`.
        """
        due = self._begin(sender, headers, recipient, macros)
        self._flush()
        answer = Answer("accepted")
        for _ in range(due):
            command, data = self._packet()
            if command != _CONTINUE:
                answer = _as_answer(command, data, ())
                break
        self._append(b"A")
        return answer

    def close(self) -> None:
        """End the connection. A milter that has already ended is no error."""
        try:
            self._append(b"Q")
            self._flush()
        except OpenDKIMError:
            pass
        finally:
            self._socket.close()

    def _begin(
        self,
        sender: str,
        headers: Sequence[tuple[str, str]],
        recipient: str,
        macros: Mapping[str, str] | None,
    ) -> int:
        """Queue envelope and headers, and return the number of expected answers."""
        if macros:
            pairs = b"".join(_strings(name, value) for name, value in macros.items())
            self._append(b"DM" + pairs)
        due = self._queue(b"M", _strings(f"<{sender}>"))
        due += self._queue(b"R", _strings(f"<{recipient}>"))
        due += self._queue(b"T", b"")
        for name, value in headers:
            due += self._queue(b"L", _strings(name, value))
        return due + self._queue(b"N", b"")

    def _open(self) -> None:
        try:
            self._socket.connect(self._path)
        except OSError as error:
            raise self._failure(error) from None
        self._append(b"O" + struct.pack("!III", 6, _ACTIONS, _OFFERED))
        self._flush()
        _, data = self._packet()
        if len(data) < 12:
            raise self._broken()
        self._protocol = struct.unpack("!III", data[:12])[2]
        due = self._queue(b"C", b"localhost\x004" + struct.pack("!H", 25) + b"127.0.0.1\x00")
        due += self._queue(b"H", _strings("localhost"))
        self._flush()
        for _ in range(due):
            self._packet()

    def _answer(self, due: int) -> Answer:
        # If a milter refuses a command, it does not answer the following commands: libmilter
        # returns to the state before MAIL and skips them.
        for _ in range(due):
            command, data = self._packet()
            if command != _CONTINUE:
                return _as_answer(command, data, ())
        added = []
        while True:
            command, data = self._packet()
            if command in (_ADD_HEADER, _INSERT_HEADER):
                # An inserted header begins with its position, four octets.
                pair = data if command == _ADD_HEADER else data[4:]
                name, divider, value = pair.rstrip(b"\0").partition(b"\0")
                if not divider:
                    raise self._broken()
                added.append((_text(name), _text(value)))
            elif command in _VERDICTS or command == _REPLY_CODE:
                return _as_answer(command, data, tuple(added))

    def _append(self, payload: bytes) -> None:
        self._queued += struct.pack("!I", len(payload)) + payload

    def _queue(self, command: bytes, data: bytes) -> int:
        """Queue a command unless the milter skips it; return 1 if an answer follows, else 0."""
        skipped, unanswered = _STEPS[command]
        if self._protocol & skipped:
            return 0
        self._append(command + data)
        return 0 if self._protocol & unanswered else 1

    def _flush(self) -> None:
        queued, self._queued = self._queued, b""
        try:
            self._socket.sendall(queued)
        except OSError as error:
            raise self._failure(error) from None

    def _packet(self) -> tuple[bytes, bytes]:
        while True:
            size = struct.unpack("!I", self._exactly(4))[0]
            if size > _LARGEST:
                raise self._broken()
            payload = self._exactly(size)
            if payload[:1] != _PROGRESS:
                return payload[:1], payload[1:]

    def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            try:
                received = self._socket.recv(65536)
            except OSError as error:
                raise self._failure(error) from None
            if not received:
                raise OpenDKIMError(f"the milter at {self._path} closed the connection")
            self._received += received
        data, self._received = self._received[:size], self._received[size:]
        return data

    def _broken(self) -> OpenDKIMError:
        return OpenDKIMError(f"the program at {self._path} does not speak the milter protocol")

    def _failure(self, error: OSError) -> OpenDKIMError:
        if isinstance(error, TimeoutError):
            return NoAnswerInTime(f"the milter at {self._path} does not answer: timed out")
        return OpenDKIMError(f"the milter at {self._path} does not answer: {error.strerror}")


def listener(path: str) -> int | None:
    """Return the PID of the process that listens at a milter's Unix socket, or None."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(TIMEOUT)
        try:
            client.connect(path)
            # unix(7), SO_PEERCRED: process, user and group of the caller of listen(2).
            peer = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return None
    return struct.unpack("3i", peer)[0]


def _as_answer(command: bytes, data: bytes, added: tuple[tuple[str, str], ...]) -> Answer:
    if command != _REPLY_CODE:
        return Answer(_VERDICTS.get(command, "refused"), "", added)
    reply = _text(data.rstrip(b"\0"))
    return Answer("deferred" if reply.startswith("4") else "rejected", reply, added)


def _strings(*texts: str) -> bytes:
    return b"".join(text.encode("utf-8", "surrogateescape") + b"\0" for text in texts)


def _text(data: bytes) -> str:
    # In a header milters of libmilter end lines with LF only; mail has CRLF.
    text = data.decode("utf-8", "surrogateescape")
    return text.replace("\r\n", "\n").replace("\n", "\r\n")
