"""An authoritative name server that a test configures, also to make mistakes."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.zone

Answer = Callable[[dns.message.Message], dns.message.Message | None]


class Nameserver:
    """
    A server of zones at ``address`` and a free port, over UDP and TCP; a context manager.

    zones
        The zone files' texts by origin, without SOA and NS, which the server adds.
    serial
        The serial of every zone.
    closed
        Transports on which the server does not listen: ``tcp``.

    These attributes can be set at any time:

    silent
        A set of transports that get no answer.
    rcode
        The rcode of every answer.
    lame
        Answer without authority.
    truncates
        Truncate every answer over UDP; ``"always"``: over TCP too.
    refuses_edns
        Answer FORMERR to every question with EDNS.
    follows
        Answer an alias with its target too, as resolvers do.
    asked
        Every question so far, as (transport, name, type).
    """

    def __init__(
        self,
        zones: dict[str, str],
        address: str = "127.0.0.1",
        serial: int = 1,
        ns: str = "ns",
        closed: Iterable[str] = (),
    ):
        self.zones = {}
        for origin, text in zones.items():
            head = f"@ 60 SOA {ns} h {serial} 900 900 900 30\n@ 60 NS {ns}\n"
            name = dns.name.from_text(origin)
            self.zones[name] = dns.zone.from_text(head + text, origin=name, relativize=False)
        self.address = address
        self.silent: set[str] = set()
        self.rcode: int | None = None
        self.lame = False
        self.truncates: bool | str = False
        self.refuses_edns = False
        self.follows = False
        self.asked: list[tuple[str, str, str]] = []
        self._closed = frozenset(closed)
        self._servers: list[socketserver.BaseServer] = []

    def __enter__(self) -> "Nameserver":
        tcp = _serve(socketserver.ThreadingTCPServer, (self.address, 0), _Tcp, self)
        self.port = tcp.server_address[1]
        udp = _serve(socketserver.ThreadingUDPServer, (self.address, self.port), _Udp, self)
        self._servers = [tcp, udp]
        if "tcp" in self._closed:
            tcp.shutdown()
            tcp.server_close()
            self._servers.remove(tcp)
        return self

    def __exit__(self, *_error: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def __str__(self) -> str:
        return f"{self.address}@{self.port}"

    def answer(self, wire: bytes, transport: str) -> bytes | None:
        """Return the answer to a question in wire form, or None for silence."""
        # The TSIG signature of a question is ignored, and the answer has none.
        query = dns.message.from_wire(wire, keyring=False)
        query.tsig = None
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        self.asked.append((transport, name, dns.rdatatype.to_text(question.rdtype)))
        if transport in self.silent:
            return None
        reply = dns.message.make_response(query)
        if self.refuses_edns and query.edns >= 0:
            reply.set_rcode(dns.rcode.FORMERR)
        elif self.rcode is not None:
            reply.set_rcode(self.rcode)
        else:
            self._fill(reply, question.name, question.rdtype)
        if self.truncates and (transport == "udp" or self.truncates == "always"):
            reply.answer.clear()
            reply.flags |= dns.flags.TC
        return reply.to_wire()

    def _fill(self, reply: dns.message.Message, name: dns.name.Name, rdtype: int) -> None:
        inside = [origin for origin in self.zones if name.is_subdomain(origin)]
        if not inside:
            reply.set_rcode(dns.rcode.REFUSED)
            return
        origin = max(inside, key=len)
        zone = self.zones[origin]
        if not self.lame:
            reply.flags |= dns.flags.AA
        cut = _cut(zone, origin, name)
        if cut is not None:
            reply.flags &= ~dns.flags.AA
            servers = zone.find_rrset(cut, "NS")
            reply.authority.append(servers)
            glue = (zone.get_rrset(server.target, "A") for server in servers)
            reply.additional += [rrset for rrset in glue if rrset]
            return
        found = _found(zone, origin, name, rdtype)
        if found is not None:
            reply.answer.append(found)
            if found.rdtype != dns.rdatatype.CNAME or rdtype == dns.rdatatype.CNAME:
                return
            target = found[0].target
            is_new = all(rrset.name != target for rrset in reply.answer)
            if is_new and self.follows and any(target.is_subdomain(one) for one in self.zones):
                self._fill(reply, target, rdtype)
            return
        if not any(node.is_subdomain(name) for node in zone):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        reply.authority.append(zone.find_rrset(origin, "SOA"))


def _found(
    zone: dns.zone.Zone, origin: dns.name.Name, name: dns.name.Name, rdtype: int
) -> dns.rrset.RRset | None:
    """Return a zone's records at a name, or those of a wildcard (RFC 4592)."""
    source = name
    while not any(node.is_subdomain(source) for node in zone) and source != origin:
        source = source.parent()
    if source != name:
        source = dns.name.Name((b"*",)) + source
    found = zone.get_rrset(source, rdtype) or zone.get_rrset(source, "CNAME")
    if found is None or source == name:
        return found
    synthesized = dns.rrset.RRset(name, found.rdclass, found.rdtype)
    synthesized.update(found)
    return synthesized


def _cut(zone: dns.zone.Zone, origin: dns.name.Name, name: dns.name.Name) -> dns.name.Name | None:
    while name != origin:
        if zone.get_rrset(name, "NS"):
            return name
        name = name.parent()
    return None


class _Udp(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        wire, sock = self.request
        answer = self.server.owner.answer(wire, "udp")
        if answer is not None:
            sock.sendto(answer, self.client_address)


class _Tcp(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            while length := self.rfile.read(2):
                answer = self.server.owner.answer(
                    self.rfile.read(int.from_bytes(length, "big")), "tcp"
                )
                if answer is not None:
                    self.wfile.write(len(answer).to_bytes(2, "big") + answer)
                    self.wfile.flush()


def _serve(kind, address, handler, owner) -> socketserver.BaseServer:
    kind.allow_reuse_address = True
    kind.daemon_threads = True
    kind.block_on_close = False
    server = kind(address, handler)
    server.owner = owner
    # A shutdown waits for one poll interval.
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """Yield a port of 127.0.0.1 on which nothing listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]
