"""One question over UDP."""

from __future__ import annotations

import asyncio

from .message import answers
from .place import Place


async def ask_once(place: Place, asked: bytes) -> bytes:
    """
    The answer to a question, from a port of its own (RFC 5452, section 4.5). Packets that answer
    something else are passed over. Waits for ever; raises OSError.
    """
    loop = asyncio.get_running_loop()
    transport, waiter = await loop.create_datagram_endpoint(
        lambda: _Waiter(asked), remote_addr=(place.address, place.port)
    )
    try:
        transport.sendto(asked)
        return await waiter.answer
    finally:
        transport.close()


class _Waiter(asyncio.DatagramProtocol):
    def __init__(self, asked: bytes):
        self.asked = asked
        self.answer = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, _address: object) -> None:
        if not self.answer.done() and answers(data, self.asked):
            self.answer.set_result(data)

    def error_received(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
