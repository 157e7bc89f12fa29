"""Questions to name servers over UDP and TCP: many at once, each with a time limit."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from ..errors import NoAnswer
from .reply import Reply, absolute, dnspython, reply_of

if TYPE_CHECKING:
    import dns.asyncbackend
    import dns.message

T = TypeVar("T")

PORT = 53
# The largest answer that no network path fragments: DNS Flag Day 2020, RFC 9715 section 3.
UDP_SIZE = 1232
# A query or its answer may be lost.
UDP_TRIES = 2
# After this many consecutive questions without an answer, a server is not asked again. Otherwise
# one silent server would delay the check of ten thousand domains.
GIVE_UP_AFTER = 5
# TCP connections to one server. RFC 7766, section 6.2.2 asks for few connections. Each carries one
# question at a time: ten connections carry 500 questions a second at 20 ms each.
CONNECTIONS = 10
# Answers of servers that do not know EDNS, or not this version: RFC 6891, sections 6.1.3 and 7.
_NO_EDNS = ("FORMERR", "NOTIMP", "BADVERS")


@dataclass(frozen=True)
class Endpoint:
    """An address and a port of a server."""

    address: str
    port: int = PORT

    def __str__(self) -> str:
        return self.address if self.port == PORT else f"{self.address}@{self.port}"

    @property
    def family(self) -> socket.AddressFamily:
        """Return the address family."""
        return socket.AF_INET6 if ":" in self.address else socket.AF_INET

    def is_reachable(self) -> bool:
        """
        Return whether this machine has a route to the address. Sends nothing. A machine without
        IPv6 has no route to half of the servers' addresses.
        """
        try:
            with socket.socket(self.family, socket.SOCK_DGRAM) as probe:
                probe.connect((self.address, self.port))
        except OSError:
            return False
        return True


def host_and_port(server: str) -> tuple[str, int]:
    """Return the host and the port of a setting such as ``192.0.2.53@5353``."""
    host, _, port = server.partition("@")
    return host, int(port or PORT)


def endpoint_of(server: str) -> Endpoint | None:
    """Return the endpoint of a setting that is an address; None for a host name."""
    host, port = host_and_port(server)
    try:
        return Endpoint(str(ipaddress.ip_address(host)), port)
    except ValueError:
        return None


def question(
    name: str, rtype: str, *, recurse: bool = False, validate: bool = True, signed: bool = False
) -> dns.message.Message:
    """
    Return a query.

    name
        Absolute, without a trailing dot.
    recurse
        Ask for recursion (RD), for a resolver.
    validate
        False sets CD: the resolver does not validate DNSSEC (RFC 4035, section 3.2.2).
    signed
        Set DO and AD, to learn whether the answer was validated (RFC 6840, section 5.7).

    Raises NoLibrary; DnsError for a name that is invalid in DNS.
    """
    flag = dnspython().flags
    flags = (flag.RD if recurse else 0) | (0 if validate else flag.CD) | (flag.AD if signed else 0)
    return dnspython().message.make_query(
        absolute(name), rtype, use_edns=0, payload=UDP_SIZE, want_dnssec=signed, flags=flags
    )


def run(work: Coroutine[None, None, T]) -> T:
    """
    Return the result of asynchronous work. The work runs in a new thread, because Salt's thread may
    have a running loop, in which ``asyncio.run`` refuses to start another.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


@dataclass
class _Connections:
    """TCP connections to one server; ``idle`` ones wait for the next question."""

    free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONNECTIONS))
    idle: list[dns.asyncbackend.StreamSocket] = field(default_factory=list)


class DnsClient:
    """
    A client of many servers, for one event loop. As an async context manager it closes its
    connections at the end.

    timeout
        Seconds to wait for one answer.
    concurrency
        The most questions that wait for an answer at the same time.
    """

    def __init__(self, timeout: float, concurrency: int):
        self._timeout = timeout
        self._free = asyncio.Semaphore(concurrency)
        self._unanswered: Counter[tuple[Endpoint, str]] = Counter()
        self._connections: dict[Endpoint, _Connections] = {}

    async def __aenter__(self) -> DnsClient:
        return self

    async def __aexit__(self, *_error: object) -> None:
        for connections in self._connections.values():
            for connection in connections.idle:
                await _close(connection)

    async def ask(
        self, endpoint: Endpoint, query: dns.message.Message, transport: str = "udp"
    ) -> Reply:
        """Return a server's answer over ``udp`` or ``tcp``. Raises NoAnswer."""
        async with self._slot(endpoint, transport):
            return await self._ask_endpoint(endpoint, query, transport)

    async def ask_fully(self, endpoint: Endpoint, query: dns.message.Message) -> Reply:
        """
        Return a server's answer over UDP, or over TCP if the answer is too long for UDP (RFC 7766,
        section 5). Raises NoAnswer.
        """
        reply = await self.ask(endpoint, query)
        return await self.ask(endpoint, query, "tcp") if reply.truncated else reply

    @contextlib.asynccontextmanager
    async def _slot(self, endpoint: Endpoint, transport: str) -> AsyncIterator[None]:
        # The connection is taken first: a question that waits for a connection to its server must
        # not block questions to other servers.
        if transport == "udp":
            async with self._free:
                yield
        else:
            connections = self._connections.setdefault(endpoint, _Connections())
            async with connections.free, self._free:
                yield

    async def _ask_endpoint(
        self, endpoint: Endpoint, query: dns.message.Message, transport: str
    ) -> Reply:
        server = (endpoint, transport)
        protocol = transport.upper()
        if self._unanswered[server] >= GIVE_UP_AFTER:
            raise NoAnswer("silent", f"no answer over {protocol} to {GIVE_UP_AFTER} questions")
        try:
            message = await (self._udp if transport == "udp" else self._tcp)(endpoint, query)
        except (TimeoutError, asyncio.TimeoutError):
            self._unanswered[server] += 1
            reason = f"no answer over {protocol} within {self._timeout:g} s"
            raise NoAnswer("silent", reason) from None
        except ConnectionRefusedError:
            raise NoAnswer("closed", f"the port is closed ({protocol})") from None
        except EOFError:
            raise NoAnswer("closed", f"the server closed the connection ({protocol})") from None
        except OSError as error:
            kind = "closed" if isinstance(error, ConnectionError) else "unreachable"
            reason = error.strerror or type(error).__name__
            raise NoAnswer(kind, f"{reason} ({protocol})") from error
        self._unanswered[server] = 0
        reply = reply_of(message)
        if reply.rcode in _NO_EDNS and query.edns >= 0:
            return await self._ask_endpoint(endpoint, _without_edns(query), transport)
        return reply

    async def _udp(self, endpoint: Endpoint, query: dns.message.Message) -> dns.message.Message:
        backend = dnspython().asyncbackend.get_backend("asyncio")
        # Each question has its own source port (RFC 5452, section 4.5). Only a connected socket
        # reports a closed port as an error.
        connection = await backend.make_socket(
            endpoint.family, socket.SOCK_DGRAM, 0, None, (endpoint.address, endpoint.port)
        )
        async with connection:
            for left in reversed(range(UDP_TRIES)):
                await dnspython().asyncquery.send_udp(connection, query, None)
                try:
                    return await asyncio.wait_for(_receive(connection, query), self._timeout)
                except asyncio.TimeoutError:
                    if not left:
                        raise
        raise AssertionError("unreachable")

    async def _tcp(self, endpoint: Endpoint, query: dns.message.Message) -> dns.message.Message:
        return await asyncio.wait_for(self._over_connection(endpoint, query), self._timeout)

    async def _over_connection(
        self, endpoint: Endpoint, query: dns.message.Message
    ) -> dns.message.Message:
        idle = self._connections[endpoint].idle
        while idle:
            # A server may close an idle connection at any time: RFC 7766, section 6.2.3.
            with contextlib.suppress(EOFError, ConnectionError):
                return await self._exchange(idle, idle.pop(), query)
        backend = dnspython().asyncbackend.get_backend("asyncio")
        connection = await backend.make_socket(
            endpoint.family, socket.SOCK_STREAM, 0, None, (endpoint.address, endpoint.port)
        )
        return await self._exchange(idle, connection, query)

    async def _exchange(
        self,
        idle: list[dns.asyncbackend.StreamSocket],
        connection: dns.asyncbackend.StreamSocket,
        query: dns.message.Message,
    ) -> dns.message.Message:
        dns = dnspython()
        try:
            message = await dns.asyncquery.tcp(
                query, "", sock=connection, one_rr_per_rrset=True, ignore_trailing=True
            )
        except BaseException as error:
            # A late answer would be mistaken for the answer to the next question.
            await _close(connection)
            if isinstance(error, dns.exception.DNSException | ValueError):
                raise _broken_answer(error) from error
            raise
        idle.append(connection)
        return message


async def _receive(
    connection: dns.asyncbackend.DatagramSocket, query: dns.message.Message
) -> dns.message.Message:
    """Wait for the packet that answers a query. Skip packets that answer other queries."""
    dns = dnspython()
    number = query.id.to_bytes(2, "big")
    while True:
        wire, _ = await connection.recvfrom(0xFFFF, None)
        if wire[:2] != number:
            continue
        try:
            message = dns.message.from_wire(wire, ignore_trailing=True, one_rr_per_rrset=True)
        except (dns.exception.DNSException, ValueError) as error:
            raise _broken_answer(error) from error
        if query.is_response(message):
            return message


async def _close(connection: dns.asyncbackend.StreamSocket) -> None:
    with contextlib.suppress(OSError):
        await connection.close()


def _broken_answer(error: Exception) -> NoAnswer:
    if isinstance(error, dnspython().query.BadResponse):
        return NoAnswer("broken", "the answer is to another question")
    return NoAnswer("broken", f"the answer does not parse ({type(error).__name__})")


def _without_edns(query: dns.message.Message) -> dns.message.Message:
    """Return the query without EDNS, for servers that refuse EDNS: RFC 6891, section 7."""
    (asked,) = query.question
    return dnspython().message.make_query(
        asked.name, asked.rdtype, use_edns=False, flags=query.flags
    )
