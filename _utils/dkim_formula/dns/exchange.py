"""Questions to servers over UDP and TCP: many at once, none for ever."""

from __future__ import annotations

import asyncio
from collections import Counter

from .failure import NoAnswer
from .message import Reply, reply, without_edns
from .place import Place
from .tcp import Line
from .udp import ask_once

# A packet may be lost on its way, or its answer on the way back.
UDP_TRIES = 2
# So many questions in a row without an answer, and a server is not waited for again: one silent
# server of ten thousand domains must not take their time.
GIVE_UP_AFTER = 5
# Connections to one server, each with its questions in flight: RFC 7766, section 6.2.2 wants few.
LINES = 2
# What servers say that do not know EDNS, or not this version of it: RFC 6891, sections 6.1.3 and 7.
_NO_EDNS = ("FORMERR", "NOTIMP", "BADVERS")


class Exchange:
    """
    Asks servers, with a limit on what is under way. For one event loop; an async context manager,
    which closes its connections.

    timeout
        Seconds to wait for one answer.
    concurrency
        Questions under way at once.
    """

    def __init__(self, timeout: float, concurrency: int):
        self._timeout = timeout
        self._free = asyncio.Semaphore(concurrency)
        self._silence: Counter[tuple[Place, str]] = Counter()
        self._lines: dict[Place, list[Line]] = {}

    async def __aenter__(self) -> Exchange:
        return self

    async def __aexit__(self, *_error: object) -> None:
        for lines in self._lines.values():
            for line in lines:
                line.close()

    async def ask(self, place: Place, asked: bytes, transport: str = "udp") -> Reply:
        """
        One question to one server.

        asked
            The question in wire form.
        transport
            ``udp`` or ``tcp``.

        Raises NoAnswer.
        """
        async with self._free:
            return await self._ask(place, asked, transport)

    async def ask_fully(self, place: Place, asked: bytes) -> Reply:
        """A question over UDP, and over TCP where the answer does not fit: RFC 7766, section 5."""
        answer = await self.ask(place, asked)
        return await self.ask(place, asked, "tcp") if answer.truncated else answer

    async def _ask(self, place: Place, asked: bytes, transport: str) -> Reply:
        at = (place, transport)
        if self._silence[at] >= GIVE_UP_AFTER:
            raise NoAnswer(
                "silent", f"no answer over {transport.upper()} to {GIVE_UP_AFTER} questions"
            )
        try:
            wire = await (self._udp if transport == "udp" else self._tcp)(place, asked)
        except TimeoutError:
            self._silence[at] += 1
            raise NoAnswer(
                "silent", f"no answer over {transport.upper()} within {self._timeout:g} s"
            ) from None
        except ConnectionRefusedError:
            raise NoAnswer("closed", f"nothing listens there ({transport.upper()})") from None
        except OSError as error:
            kind = "closed" if isinstance(error, ConnectionError) else "unreachable"
            reason = error.strerror or type(error).__name__
            raise NoAnswer(kind, f"{reason} ({transport.upper()})") from error
        self._silence[at] = 0
        answer = reply(wire, asked)
        if answer.rcode in _NO_EDNS and len(without_edns(asked)) < len(asked):
            return await self._ask(place, without_edns(asked), transport)
        return answer

    async def _udp(self, place: Place, asked: bytes) -> bytes:
        for left in reversed(range(UDP_TRIES)):
            try:
                async with asyncio.timeout(self._timeout):
                    return await ask_once(place, asked)
            except TimeoutError:
                if not left:
                    raise
        raise AssertionError("unreachable")

    async def _tcp(self, place: Place, asked: bytes) -> bytes:
        async with asyncio.timeout(self._timeout):
            try:
                return await self._line(place).ask(asked)
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                if isinstance(error, ConnectionRefusedError):
                    raise
            # A server may close a connection whenever it is idle (RFC 7766, section 6.2.3), which
            # a question can cross on its way: once more, over a new one.
            try:
                return await self._line(place).ask(asked)
            except asyncio.IncompleteReadError:
                raise ConnectionResetError(0, "it closed the connection") from None

    def _line(self, place: Place) -> Line:
        lines = self._lines.setdefault(place, [Line(place) for _ in range(LINES)])
        return min(lines, key=lambda line: line.waiting)
