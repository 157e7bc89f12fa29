"""A server that takes updates: RFC 2136, signed with TSIG (RFC 8945) where there is a key."""

from __future__ import annotations

import secrets
import socket
from typing import TYPE_CHECKING

from ..settings.model import TsigKey
from .failure import DnsError, Overtaken, Uncertain, no_library
from .message import absolute, plain_name
from .place import Place
from .plan import Present, Step

if TYPE_CHECKING:
    import dns.message
    import dns.rdata

_RCODES = {
    "REFUSED": "refuses it (REFUSED): its access rules do not let {who} do this",
    # RFC 8945, section 5.2 and Knot DNS have it also for who is not authorised.
    "NOTAUTH": "is not authoritative for the zone, or does not let {who} do this (NOTAUTH)",
    "NOTZONE": "says that the name is not in the zone (NOTZONE)",
    "SERVFAIL": "failed (SERVFAIL); its log says why",
    "NOTIMP": "takes no dynamic updates (NOTIMP)",
    "FORMERR": "does not understand the message (FORMERR)",
    "YXRRSET": "has got other records at the name in the meantime (YXRRSET); run it again",
    "NXRRSET": "has got other records at the name in the meantime (NXRRSET); run it again",
    "YXDOMAIN": "has got other records at the name in the meantime (YXDOMAIN); run it again",
}

# A prerequisite of RFC 2136, section 2.4, that does not hold any more.
_CHANGED_SINCE = ("YXRRSET", "NXRRSET", "YXDOMAIN")


class Primary:
    """
    One connection to one server. Every method raises DnsError, whose text names the server and the
    key, and never the secret; once a server did not answer it is not asked again.

    place
        Where it listens.
    key
        What messages are signed with, and answers have to be; None for none.
    timeout
        Seconds for one answer.
    """

    def __init__(self, place: Place, key: TsigKey | None, timeout: float):
        self._place = place
        self._key = key
        self._timeout = timeout
        self._socket: socket.socket | None = None
        self._dead: str | None = None
        # Of the last message: whether it was sent, and whether a second time.
        self._sent = self._again = False
        # How TXT values are split there: to delete a record its strings have to be told exactly.
        self._rdatas: dict[tuple[str, str], dict[bytes, list[dns.rdata.Rdata]]] = {}

    def close(self) -> None:
        """End the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def read(self, name: str, rtype: str) -> tuple[str, Present]:
        """
        The zone that a name is in at this server, and what the name holds of a type. The zone of
        an alias is left empty.
        """
        reply = self._asked(name, rtype)
        owner = absolute(name)
        alias = reply.get_rrset(reply.answer, owner, "IN", "CNAME")
        rrset = reply.get_rrset(reply.answer, owner, "IN", rtype)
        if alias is not None and rtype != "CNAME":
            # A question for the SOA would be answered with the alias too.
            return "", Present(alias=plain_name(alias[0].target))
        zone = _zone_in(reply) or self.zone_of(name)
        if rrset is None:
            return zone, Present()
        by_value: dict[bytes, list[dns.rdata.Rdata]] = {}
        for rdata in rrset:
            by_value.setdefault(_octets(rdata), []).append(rdata)
        self._rdatas[(name, rtype)] = by_value
        return zone, Present(tuple(by_value), rrset.ttl)

    def zone_of(self, name: str) -> str:
        """The zone that a name is in at this server."""
        zone = _zone_in(self._asked(name, "SOA"))
        if zone is None:
            raise DnsError(f"{self}: it shows no SOA for {name}")
        return zone

    def is_by_wildcard(self, name: str, rtype: str, seen: Present) -> bool:
        """
        Whether what was seen at a name comes from a wildcard: then a name beside it that nobody
        has made shows the same.
        """
        _, beside = self.read(f"{secrets.token_hex(8)}.{name.partition('.')[2]}", rtype)
        return beside != Present() and beside == seen

    def send(self, zone: str, step: Step, seen: Present) -> None:
        """
        One step as one update, on the condition that the name holds what was seen there: RFC 2136,
        sections 2.4.2 and 2.4.3.
        """
        import dns.update

        update = dns.update.UpdateMessage(absolute(zone), **self._signing())
        name = absolute(step.name)
        if seen.values:
            rdatas = self._rdatas[(step.name, step.type)]
            update.present(name, *(rdata for value in seen.values for rdata in rdatas[value]))
            for value in step.delete:
                update.delete(name, *rdatas[value])
        else:
            update.absent(name, step.type)
        if step.add is not None:
            update.add(name, step.ttl, _rdata(step.type, step.add))
        try:
            reply = self._exchanged(update)
        except DnsError as error:
            if self._sent:
                raise Uncertain(str(error)) from None
            raise
        try:
            self._checked(reply, "the update")
        except Overtaken as error:
            if self._again:
                raise Uncertain(str(error), overtaken=True) from None
            raise

    def look_again(self, name: str, rtype: str) -> Present:
        """What a name holds, by a new connection: after an update that got no answer."""
        self.close()
        self._dead = None
        return self.read(name, rtype)[1]

    def _asked(self, name: str, rtype: str) -> dns.message.Message:
        try:
            import dns.flags
            import dns.message
            import dns.rcode
        except ImportError:
            raise no_library() from None

        query = dns.message.make_query(absolute(name), rtype, flags=0)
        signing = self._signing()
        if signing:
            query.use_tsig(signing["keyring"])
        reply = self._exchanged(query)
        if reply.rcode() != dns.rcode.NXDOMAIN:
            self._checked(reply, f"the question for {name}")
        if not reply.flags & dns.flags.AA:
            raise DnsError(f"{self}: it is not authoritative for {name}{_referred(reply)}")
        return reply

    def _signing(self) -> dict[str, object]:
        if self._key is None:
            return {}
        import dns.tsig

        class Key(dns.tsig.Key):
            def __repr__(self) -> str:
                return "<TSIG key>"  # dnspython's own shows the secret

        key = self._key
        return {"keyring": Key(f"{key.name}.", key.secret.reveal(), f"{key.algorithm}.")}

    def _exchanged(self, message: dns.message.Message) -> dns.message.Message:
        """The answer, verified. A connection that has ended meanwhile is made anew, once."""
        import dns.exception
        import dns.tsig

        self._sent = self._again = False
        if self._dead is not None:
            raise DnsError(self._dead)
        wire = message.to_wire()
        try:
            try:
                answer = self._over_connection(wire)
            except (ConnectionError, EOFError):
                self._again = self._sent
                answer = self._over_connection(wire)
        except (OSError, EOFError) as error:
            self._dead = f"{self}: {_no_answer(error, self._timeout)}"
            raise DnsError(self._dead) from None
        try:
            return self._read_answer(answer, message)
        except dns.tsig.PeerError as error:
            raise DnsError(f"{self}: {_peer_error(error)}") from None
        except (dns.tsig.BadTime, dns.tsig.BadSignature, dns.tsig.BadKey, dns.tsig.BadAlgorithm):
            raise DnsError(
                f"{self}: its answer's signature does not verify: its secret, or its clock, is not "
                "ours"
            ) from None
        except dns.exception.DNSException as error:
            raise DnsError(f"{self}: its answer is broken ({type(error).__name__})") from None

    def _read_answer(self, wire: bytes, message: dns.message.Message) -> dns.message.Message:
        import dns.exception
        import dns.message
        import dns.rcode

        try:
            reply = dns.message.from_wire(wire, keyring=message.keyring, request_mac=message.mac)
        except dns.exception.FormError:
            # dnspython has one error for a broken answer and for one that lacks its signature.
            reply = dns.message.from_wire(wire)
        if message.had_tsig and not reply.had_tsig:
            rcode = dns.rcode.to_text(reply.rcode())
            # Knot DNS 3.4 says no more than this of a key that it has not (measured).
            unknown = "it does not know the key, or knows it with another algorithm; or "
            raise DnsError(
                f"{self}: its answer ({rcode}) is not signed: "
                f"{unknown if rcode == 'NOTAUTH' else ''}anybody may have sent it"
            )
        if not message.is_response(reply):
            raise DnsError(f"{self}: its answer is to another question")
        return reply

    def _over_connection(self, wire: bytes) -> bytes:
        try:
            if self._socket is None:
                address = (self._place.address, self._place.port)
                self._socket = socket.create_connection(address, self._timeout)
            self._sent = True
            self._socket.sendall(len(wire).to_bytes(2, "big") + wire)
            return self._received(int.from_bytes(self._received(2), "big"))
        except BaseException:
            # What is still to come over it would answer an older question.
            self.close()
            raise

    def _received(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self._socket.recv(count - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def _checked(self, reply: dns.message.Message, what: str) -> None:
        import dns.rcode

        if reply.rcode() == dns.rcode.NOERROR:
            return
        rcode = dns.rcode.to_text(reply.rcode())
        who = "our address" if self._key is None else f"the key {self._key.name}"
        said = _RCODES.get(rcode, f"answers {rcode}").format(who=who)
        kind = Overtaken if rcode in _CHANGED_SINCE else DnsError
        raise kind(f"{self}: {what}: it {said}")

    def __str__(self) -> str:
        key = f" with the key {self._key.name} ({self._key.algorithm})" if self._key else ""
        return f"server {self._place}{key}"


def _octets(rdata: dns.rdata.Rdata) -> bytes:
    strings = getattr(rdata, "strings", None)
    return plain_name(rdata.target).encode() if strings is None else b"".join(strings)


def _rdata(rtype: str, value: bytes) -> dns.rdata.Rdata:
    import dns.rdataclass
    import dns.rdatatype
    from dns.rdtypes.ANY.TXT import TXT

    from ..records.presentation import split

    if rtype != "TXT":
        raise DnsError(f"records of type {rtype} are not published")
    return TXT(dns.rdataclass.IN, dns.rdatatype.TXT, split(value))


def _zone_in(reply: dns.message.Message) -> str | None:
    import dns.rdatatype

    for rrset in (*reply.answer, *reply.authority):
        if rrset.rdtype == dns.rdatatype.SOA:
            return plain_name(rrset.name)
    return None


def _referred(reply: dns.message.Message) -> str:
    import dns.rdatatype

    owners = [plain_name(r.name) for r in reply.authority if r.rdtype == dns.rdatatype.NS]
    if not owners or not owners[0]:
        return ""
    return (
        f": it refers to the servers of {owners[0]}; set dkim:dns:zones:{owners[0]}:server to "
        "where that zone takes updates"
    )


def _peer_error(error: Exception) -> str:
    import dns.tsig

    if isinstance(error, dns.tsig.PeerBadKey):
        return (
            "it does not know the key, or knows it with another algorithm (BADKEY); dkim:dns:key "
            "needs the name and the algorithm that the server has"
        )
    if isinstance(error, dns.tsig.PeerBadSignature):
        return "the signature is wrong (BADSIG): dkim:dns:key:secret is not the server's"
    if isinstance(error, dns.tsig.PeerBadTime):
        return "its clock and ours are too far apart (BADTIME); set them right"
    return f"it refuses the signature ({type(error).__name__})"


def _no_answer(error: Exception, timeout: float) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, EOFError | ConnectionError):
        return "it closes the connection without an answer"
    if isinstance(error, OSError) and not isinstance(error, TimeoutError) and error.strerror:
        return f"no way there: {error.strerror}"
    return f"no answer within {timeout:g} s"
