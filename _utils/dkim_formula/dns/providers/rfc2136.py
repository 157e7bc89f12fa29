"""A DNS provider by dynamic updates (RFC 2136), signed with TSIG (RFC 8945) if a key is set."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from ...errors import ConcurrentChange, DnsError, UncertainUpdate
from ...records.presentation import split
from ...settings.model import TsigKey
from ..query import Endpoint
from ..reply import absolute, dnspython, plain_name
from ..steps import Present, Step
from .provider import Provider

if TYPE_CHECKING:
    import dns.message
    import dns.rdata
    import dns.rrset

_CONFLICT = "the records at this name changed during the update ({rcode}); run again"
_RCODES = {
    "REFUSED": "the server refuses (REFUSED): its access rules do not allow {who}",
    # RFC 8945, section 5.2. Knot DNS gives the same answer to a key without the right.
    "NOTAUTH": "the server is not authoritative for the zone, or does not allow {who} (NOTAUTH)",
    "NOTZONE": "the name is not in the server's zone (NOTZONE)",
    "SERVFAIL": "the server failed (SERVFAIL); read its log",
    "NOTIMP": "the server takes no dynamic updates (NOTIMP)",
    "FORMERR": "the server does not understand the message (FORMERR)",
    # A prerequisite of RFC 2136, section 2.4, that no longer holds.
    "YXRRSET": _CONFLICT,
    "NXRRSET": _CONFLICT,
    "YXDOMAIN": _CONFLICT,
}


class Rfc2136Provider(Provider):
    """
    One connection to a server that accepts dynamic updates. Errors name the server and the key, but
    never the secret. After a question without an answer, the server is not asked again.

    endpoint
        The address and port of the server.
    key
        The key that signs every message and every answer; None for no signatures.
    timeout
        Seconds to wait for one answer.
    """

    def __init__(self, endpoint: Endpoint, key: TsigKey | None, timeout: float):
        self._endpoint = endpoint
        self._key = key
        self._timeout = timeout
        self._socket: socket.socket | None = None
        self._failure: str | None = None
        # Whether the last message was sent, and whether it was sent twice.
        self._sent = self._sent_twice = False
        # The strings of TXT values: a deletion has to contain the same strings as the record.
        self._rdatas: dict[tuple[str, str], dict[bytes, list[dns.rdata.Rdata]]] = {}

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def read(self, name: str, rtype: str) -> tuple[str, Present]:
        """
        Return the zone of a name, and the records of one type at the name. The zone of an alias is
        empty.
        """
        reply = self._ask(name, rtype)
        alias = _rrset(reply, name, "CNAME")
        rrset = _rrset(reply, name, rtype)
        if alias is not None and rtype != "CNAME":
            # The answer to an SOA question would also be the alias.
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
        """Return the zone of a name."""
        zone = _zone_in(self._ask(name, "SOA"))
        if zone is None:
            raise DnsError(f"{self}: the answer has no SOA for {name}")
        return zone

    def send(self, zone: str, step: Step, present: Present) -> None:
        """
        Send a step as one update. Its prerequisite is the records that were read: RFC 2136,
        sections 2.4.2 and 2.4.3.
        """
        update = dnspython().update.UpdateMessage(absolute(zone), **self._signing())
        name = absolute(step.name)
        if present.values:
            rdatas = self._rdatas[(step.name, step.type)]
            update.present(name, *(rdata for value in present.values for rdata in rdatas[value]))
            for value in step.delete:
                update.delete(name, *rdatas[value])
        else:
            update.absent(name, step.type)
        if step.add is not None:
            update.add(name, step.ttl, _rdata(step.type, step.add))
        try:
            reply = self._exchange(update)
        except DnsError as error:
            if self._sent:
                raise UncertainUpdate(str(error)) from None
            raise
        try:
            self._check_rcode(reply, "the update")
        except ConcurrentChange as error:
            if self._sent_twice:
                raise UncertainUpdate(str(error), has_conflict=True) from None
            raise

    def read_again(self, name: str, rtype: str) -> Present:
        """Return the records at a name over a new connection, after an update without an answer."""
        self.close()
        self._failure = None
        return self.read(name, rtype)[1]

    def __str__(self) -> str:
        key = f" with the key {self._key.name} ({self._key.algorithm})" if self._key else ""
        return f"server {self._endpoint}{key}"

    def _ask(self, name: str, rtype: str) -> dns.message.Message:
        dns = dnspython()
        query = dns.message.make_query(absolute(name), rtype, flags=0)
        signing = self._signing()
        if signing:
            query.use_tsig(signing["keyring"])
        reply = self._exchange(query)
        if reply.rcode() != dns.rcode.NXDOMAIN:
            self._check_rcode(reply, f"the question for {name}")
        if not reply.flags & dns.flags.AA:
            raise DnsError(
                f"{self}: the server is not authoritative for {name}{_referral_in(reply)}"
            )
        return reply

    def _signing(self) -> dict[str, object]:
        if self._key is None:
            return {}

        class Key(dnspython().tsig.Key):
            def __repr__(self) -> str:
                return "<TSIG key>"  # dnspython's __repr__ shows the secret

        key = self._key
        return {"keyring": Key(f"{key.name}.", key.secret.reveal(), f"{key.algorithm}.")}

    def _exchange(self, message: dns.message.Message) -> dns.message.Message:
        """Return the verified answer. Reconnect once if the server closed the connection."""
        dns = dnspython()
        self._sent = self._sent_twice = False
        if self._failure is not None:
            raise DnsError(self._failure)
        wire = message.to_wire()
        try:
            try:
                answer = self._over_connection(wire)
            except (ConnectionError, EOFError):
                self._sent_twice = self._sent
                answer = self._over_connection(wire)
        except (OSError, EOFError) as error:
            self._failure = f"{self}: {_failure(error, self._timeout)}"
            raise DnsError(self._failure) from None
        try:
            return self._verify(answer, message)
        except dns.tsig.PeerError as error:
            raise DnsError(f"{self}: {_peer_error(error)}") from None
        except (
            dns.tsig.BadTime,
            dns.tsig.BadSignature,
            dns.tsig.BadKey,
            dns.tsig.BadAlgorithm,
        ):
            raise DnsError(
                f"{self}: the signature of the answer does not verify: the server has another "
                "secret or another time; correct dkim:dns:key:secret or the clocks"
            ) from None
        except dns.exception.DNSException as error:
            reason = type(error).__name__
            raise DnsError(f"{self}: the answer does not parse ({reason})") from None

    def _over_connection(self, wire: bytes) -> bytes:
        try:
            if self._socket is None:
                address = (self._endpoint.address, self._endpoint.port)
                self._socket = socket.create_connection(address, self._timeout)
            self._sent = True
            dnspython().query.send_tcp(self._socket, wire)
            # dns.query.receive_tcp (2.9) raises FormError for an answer without a signature, but
            # _verify needs the rcode of such an answer. So this code reads the octets itself.
            return self._receive(int.from_bytes(self._receive(2), "big"))
        except BaseException:
            # A late answer would be mistaken for the answer to the next question.
            self.close()
            raise

    def _receive(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self._socket.recv(count - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def _verify(self, wire: bytes, message: dns.message.Message) -> dns.message.Message:
        dns = dnspython()
        try:
            reply = dns.message.from_wire(wire, keyring=message.keyring, request_mac=message.mac)
        except dns.exception.FormError:
            # The answer may be unsigned, so it is parsed again without the key. It may also be
            # invalid.
            reply = dns.message.from_wire(wire)
        if message.had_tsig and not reply.had_tsig:
            rcode = dns.rcode.to_text(reply.rcode())
            # Knot DNS 3.4 gives this unsigned answer to an unknown key (measured).
            unknown = "the server does not know the key with this algorithm, or "
            raise DnsError(
                f"{self}: the answer ({rcode}) is not signed: "
                f"{unknown if rcode == 'NOTAUTH' else ''}another host may have sent it"
            )
        if not message.is_response(reply):
            raise DnsError(f"{self}: the answer is to another question")
        return reply

    def _check_rcode(self, reply: dns.message.Message, what: str) -> None:
        dns = dnspython()
        if reply.rcode() == dns.rcode.NOERROR:
            return
        rcode = dns.rcode.to_text(reply.rcode())
        who = "this machine's address" if self._key is None else f"the key {self._key.name}"
        text = _RCODES.get(rcode, "the server answers {rcode}")
        kind = ConcurrentChange if text == _CONFLICT else DnsError
        raise kind(f"{self}: {what}: {text.format(who=who, rcode=rcode)}")


def _rrset(reply: dns.message.Message, name: str, rtype: str) -> dns.rrset.RRset | None:
    # dnspython 2.3 (Debian 12) does not accept class and type as texts here.
    dns = dnspython()
    kind = dns.rdatatype.from_text(rtype)
    return reply.get_rrset(reply.answer, absolute(name), dns.rdataclass.IN, kind)


def _octets(rdata: dns.rdata.Rdata) -> bytes:
    strings = getattr(rdata, "strings", None)
    return plain_name(rdata.target).encode() if strings is None else b"".join(strings)


def _rdata(rtype: str, value: bytes) -> dns.rdata.Rdata:
    if rtype != "TXT":
        raise DnsError(f"records of type {rtype} are not published")
    dns = dnspython()
    kind = dns.rdtypes.ANY.TXT.TXT
    return kind(dns.rdataclass.IN, dns.rdatatype.TXT, split(value))


def _zone_in(reply: dns.message.Message) -> str | None:
    soa = dnspython().rdatatype.SOA
    for rrset in (*reply.answer, *reply.authority):
        if rrset.rdtype == soa:
            return plain_name(rrset.name)
    return None


def _referral_in(reply: dns.message.Message) -> str:
    ns = dnspython().rdatatype.NS
    owners = [plain_name(rrset.name) for rrset in reply.authority if rrset.rdtype == ns]
    if not owners or not owners[0]:
        return ""
    return (
        f": it refers to the servers of {owners[0]}; set dkim:dns:zones:{owners[0]}:server to the "
        "server that takes this zone's updates"
    )


def _peer_error(error: Exception) -> str:
    tsig = dnspython().tsig
    if isinstance(error, tsig.PeerBadKey):
        return (
            "the server does not know the key with this algorithm (BADKEY); set dkim:dns:key to "
            "the name and the algorithm that the server has"
        )
    if isinstance(error, tsig.PeerBadSignature):
        return "the signature is wrong (BADSIG); set dkim:dns:key:secret to the server's"
    if isinstance(error, tsig.PeerBadTime):
        return "the server's clock and this machine's differ too much (BADTIME); correct them"
    return f"the server refuses the signature ({type(error).__name__})"


def _failure(error: Exception, timeout: float) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "the port is closed"
    if isinstance(error, EOFError | ConnectionError):
        return "the server closes the connection without an answer"
    if isinstance(error, OSError) and not isinstance(error, TimeoutError) and error.strerror:
        return f"no route to the server: {error.strerror}"
    return f"no answer within {timeout:g} s"
