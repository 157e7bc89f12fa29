"""Questions over one TCP connection, pipelined: RFC 7766, section 6.2.1.1."""

from __future__ import annotations

import asyncio
import itertools

from .place import Place


class Line:
    """A connection to a server, made when it is first needed and again after it has ended."""

    def __init__(self, place: Place):
        self._place = place
        self._opening = asyncio.Lock()
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task | None = None
        self._answers: dict[int, asyncio.Future[bytes]] = {}
        self._ids = itertools.count()
        self.waiting = 0

    async def ask(self, asked: bytes) -> bytes:
        """
        The answer to a question, with the question's own id. Waits for ever; raises OSError, and
        IncompleteReadError where the server ends the connection without an answer.
        """
        self.waiting += 1
        try:
            return await self._ask(asked)
        finally:
            self.waiting -= 1

    def close(self) -> None:
        """End the connection; whoever waits for an answer gets an error."""
        if self._reading is not None:
            self._reading.cancel()
        self._end(ConnectionResetError(0, "closed"))

    async def _ask(self, asked: bytes) -> bytes:
        async with self._opening:
            if self._writer is None:
                await self._open()
            writer, answers = self._writer, self._answers
        # Ids are the connection's own: two questions under way must not have the same.
        number = next(self._ids) % 0x10000
        answers[number] = asyncio.get_running_loop().create_future()
        try:
            writer.write(len(asked).to_bytes(2, "big") + number.to_bytes(2, "big") + asked[2:])
            return asked[:2] + (await answers[number])[2:]
        finally:
            del answers[number]

    async def _open(self) -> None:
        reader, self._writer = await asyncio.open_connection(self._place.address, self._place.port)
        self._answers = {}
        self._reading = asyncio.create_task(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(2), "big")
                wire = await reader.readexactly(length)
                answer = self._answers.get(int.from_bytes(wire[:2], "big"))
                if answer is not None and not answer.done():
                    answer.set_result(wire)
        except (OSError, asyncio.IncompleteReadError) as error:
            self._end(error)

    def _end(self, error: Exception) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(error)
