"""
DNS names and answers, as objects of dnspython and as values of this library.

The state ``dkim.python`` installs dnspython for Salt's Python. This library also has to load on a
machine without dnspython, so :func:`dnspython` imports the package on first use.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from ..errors import DnsError, NoLibrary
from ..records.meaning import cut

if TYPE_CHECKING:
    import dns.message
    import dns.name
    import dns.rrset


@cache
def dnspython():
    """Return the package ``dns`` with the modules that this folder uses. Raises NoLibrary."""
    try:
        import dns.asyncbackend
        import dns.asyncquery
        import dns.exception
        import dns.flags
        import dns.message
        import dns.name
        import dns.query
        import dns.rcode
        import dns.rdataclass
        import dns.rdatatype
        import dns.rdtypes.ANY.TXT
        import dns.tsig
        import dns.update
    except ImportError:
        raise NoLibrary from None
    return dns


def absolute(name: str) -> dns.name.Name:
    """
    Return a name as an object of dnspython. Raises NoLibrary; DnsError for an invalid name. A label
    has at most 63 octets, a name 255 (RFC 1035, section 2.3.4).
    """
    dns = dnspython()
    try:
        return dns.name.from_text(f"{name}.")
    except (dns.exception.DNSException, UnicodeError) as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise DnsError(f"DNS has no such name: {cut(name)} ({reason})") from None


def plain_name(name: dns.name.Name) -> str:
    """Return a name of dnspython in lower case, without a trailing dot; the root is empty."""
    return name.to_text().removesuffix(".").lower()


@dataclass(frozen=True)
class Rr:
    """
    One record of an answer. ``name`` is lower-case, without a trailing dot.

    value
        TXT: the joined octets; NS and CNAME: a name in the form of ``name``; A, AAAA: the address;
        SOA: a :class:`Soa`; else None.
    """

    name: str
    type: str
    ttl: int
    value: object


@dataclass(frozen=True)
class Soa:
    """A zone's SOA: the name of its primary, its serial, its negative TTL."""

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
        """Return the answer's values of one type at one name."""
        return [rr.value for rr in self.answer if rr.name == name and rr.type == rtype]

    def soa(self) -> Rr | None:
        """Return the SOA of a negative answer, or of an answer to a question for the SOA."""
        return next((rr for rr in (*self.answer, *self.authority) if rr.type == "SOA"), None)


def reply_of(message: dns.message.Message) -> Reply:
    """Return a message as values."""
    flags = dnspython().flags
    return Reply(
        rcode=dnspython().rcode.to_text(message.rcode()),
        authoritative=bool(message.flags & flags.AA),
        truncated=bool(message.flags & flags.TC),
        authenticated=bool(message.flags & flags.AD),
        answer=_section(message.answer),
        authority=_section(message.authority),
        additional=_section(message.additional),
    )


def _section(rrsets: list[dns.rrset.RRset]) -> tuple[Rr, ...]:
    to_text = dnspython().rdatatype.to_text
    found = []
    for rrset in rrsets:
        name, rtype = plain_name(rrset.name), to_text(rrset.rdtype)
        found += [Rr(name, rtype, rrset.ttl, _value(rtype, rdata)) for rdata in rrset]
    return tuple(found)


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
