"""Questions and answers on the wire, by dnspython, and as plain values for everybody else."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from ..records.meaning import cut
from .failure import DnsError, NoAnswer, no_library

if TYPE_CHECKING:
    import dns.message
    import dns.rrset

# What passes every path unfragmented: DNS Flag Day 2020, RFC 9715 section 3.
UDP_SIZE = 1232


@dataclass(frozen=True)
class Rr:
    """
    One record of an answer. ``name`` is lower-case, without a trailing dot.

    value
        TXT: the joined octets; NS and CNAME: a name as ``name`` is; A, AAAA: the address;
        SOA: a :class:`Soa`; else None.
    """

    name: str
    type: str
    ttl: int
    value: object


@dataclass(frozen=True)
class Soa:
    """A zone's SOA: its primary's name, its serial, and how long its negations are kept."""

    primary: str
    serial: int
    negative_ttl: int  # seconds; RFC 2308, section 5


@dataclass(frozen=True)
class Reply:
    """An answer. ``rcode`` is its name, such as ``NXDOMAIN``."""

    rcode: str
    authoritative: bool = False
    truncated: bool = False
    authenticated: bool = False
    answer: tuple[Rr, ...] = ()
    authority: tuple[Rr, ...] = ()
    additional: tuple[Rr, ...] = ()

    def values(self, name: str, rtype: str) -> list[object]:
        """The answer's values of one type at one name."""
        return [rr.value for rr in self.answer if rr.name == name and rr.type == rtype]

    def soa(self) -> Rr | None:
        """The SOA of a negative answer, or of a question for it."""
        return next((rr for rr in (*self.answer, *self.authority) if rr.type == "SOA"), None)


def question(
    name: str, rtype: str, *, recurse: bool = False, validate: bool = True, signed: bool = False
) -> bytes:
    """
    A query in wire form.

    name
        Absolute, without a trailing dot.
    recurse
        Ask for recursion (RD), for a resolver.
    validate
        False sets CD: the resolver is not to check DNSSEC (RFC 4035, section 3.2.2).
    signed
        Set DO and AD, to learn whether the answer was validated (RFC 6840, section 5.7).

    Raises NoLibrary; DnsError for what DNS can't ask for, such as a name that is too long.
    """
    try:
        import dns.flags
        import dns.message
    except ImportError:
        raise no_library() from None

    flags = (dns.flags.RD if recurse else 0) | (0 if validate else dns.flags.CD)
    query = dns.message.make_query(
        absolute(name),
        rtype,
        use_edns=0,
        payload=UDP_SIZE,
        want_dnssec=signed,
        flags=flags | (dns.flags.AD if signed else 0),
    )
    return query.to_wire()


def without_edns(asked: bytes) -> bytes:
    """The question with nothing behind it, for servers that refuse EDNS: RFC 6891, section 7."""
    return asked[:10] + b"\0\0" + asked[12 : _question_end(asked)]


def reply(wire: bytes, asked: bytes) -> Reply:
    """
    An answer, read. Raises NoAnswer where it is none, or one to another question.
    """
    if not answers(wire, asked):
        raise NoAnswer("broken", "what it answers is no answer to the question")
    return _read(wire[2:])


# A server's answers over UDP and over TCP are mostly the same octets after the id.
@lru_cache(maxsize=1024)
def _read(wire: bytes) -> Reply:
    import dns.exception
    import dns.flags
    import dns.message
    import dns.rcode

    try:
        # One rrset a record: nobody here needs them grouped, which takes half of the time.
        message = dns.message.from_wire(b"\0\0" + wire, ignore_trailing=True, one_rr_per_rrset=True)
    except (dns.exception.DNSException, ValueError) as error:
        raise NoAnswer("broken", f"its answer does not parse ({type(error).__name__})") from error
    return Reply(
        rcode=dns.rcode.to_text(message.rcode()),
        authoritative=bool(message.flags & dns.flags.AA),
        truncated=bool(message.flags & dns.flags.TC),
        authenticated=bool(message.flags & dns.flags.AD),
        answer=_section(message.answer),
        authority=_section(message.authority),
        additional=_section(message.additional),
    )


def answers(wire: bytes, asked: bytes) -> bool:
    """
    Whether a message is the answer to another: same id, an answer, and the same question, which
    a server may spell in another case (RFC 4343) or leave out of an error.
    """
    if len(wire) < 12 or wire[:2] != asked[:2] or not wire[2] & 0x80:
        return False
    end = _question_end(asked)
    count = wire[4:6]
    return count == b"\0\0" or wire[12:end].lower() == asked[12:end].lower()


def _question_end(wire: bytes) -> int:
    at = 12
    while wire[at]:
        at += wire[at] + 1
    return at + 5


def _section(rrsets: list[dns.rrset.RRset]) -> tuple[Rr, ...]:
    found = []
    for rrset in rrsets:
        name = plain_name(rrset.name)
        rtype = _type_text(rrset.rdtype)
        found += [Rr(name, rtype, rrset.ttl, _value(rtype, rdata)) for rdata in rrset]
    return tuple(found)


def _type_text(rdtype: int) -> str:
    import dns.rdatatype

    return dns.rdatatype.to_text(rdtype)


def _value(rtype: str, rdata) -> object:
    if rtype == "TXT":
        return b"".join(rdata.strings)
    if rtype in ("NS", "CNAME"):
        return plain_name(rdata.target)
    if rtype in ("A", "AAAA"):
        return rdata.address
    if rtype == "SOA":
        return Soa(plain_name(rdata.mname), rdata.serial, rdata.minimum)
    return None


def absolute(name: str):
    """
    A name of this library's as dnspython has it. Raises NoLibrary; DnsError for what is no name:
    a label has 63 octets at most, a name 255 (RFC 1035, section 2.3.4).
    """
    try:
        import dns.exception
        import dns.name
    except ImportError:
        raise no_library() from None

    try:
        return dns.name.from_text(f"{name}.")
    except (dns.exception.DNSException, UnicodeError) as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise DnsError(f"DNS has no such name: {cut(name)} ({reason})") from None


def plain_name(name) -> str:
    """A dnspython name in this library's form: lower-case, no trailing dot, the root empty."""
    return name.to_text().removesuffix(".").lower()
