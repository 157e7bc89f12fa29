"""Verdicts: the meaning of one server's answer for the desired record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from ..errors import NoAnswer
from ..records.kind import meant_as, of_kind
from ..records.meaning import compare, cut
from ..records.record import Record, is_inside
from .reply import Reply, Rr

OK = "ok"
MISSING = "missing"
DIFFERENT = "different"
DUPLICATE = "duplicate"
NO_ANSWER = "no answer"
INCONSISTENT = "inconsistent"
LAME = "lame"
BOGUS = "bogus"  # RFC 4035, section 4.3
NO_ZONE = "no zone"
UNCHECKED = "unchecked"

# Intermediate results: the name is in a child zone, or is an alias, or the answer was truncated.
REFERRED = "referred"
ALIAS = "alias"
TRUNCATED = "truncated"

# Servers answered, but not all of them show the record as desired.
AMISS = frozenset({MISSING, DIFFERENT, DUPLICATE, INCONSISTENT})
# If the servers' verdicts differ, the first of these verdicts is the record's.
_WORST_FIRST = (DUPLICATE, DIFFERENT, MISSING, INCONSISTENT, LAME, NO_ANSWER)
_DATA = {DUPLICATE, DIFFERENT, MISSING}
_USELESS = (NO_ANSWER, LAME)


@dataclass(frozen=True)
class Finding:
    """
    A verdict and its reason. The ``detail`` of an ``ok`` record is advice.

    ttl
        The TTL of the record that was found, in seconds.
    target
        For an alias the name that it points to; for a referral the zone.
    negative_ttl
        How long resolvers may cache that the record is missing, in seconds.
    shown
        The texts of any kind at the name. They may come from a wildcard.
    """

    verdict: str
    detail: str = ""
    ttl: int | None = None
    target: str = ""
    negative_ttl: int | None = None
    shown: tuple[object, ...] = ()
    reply: Reply | None = field(default=None, compare=False, repr=False)


def judge(record: Record, name: str, zone: str, reply: Reply) -> Finding:
    """
    Return the finding for an authoritative server's answer.

    name
        The name in the question: the record's name, or the target of an alias.
    zone
        The zone that the server should serve.
    """
    not_served = f"the server is not authoritative for {zone}"
    if reply.rcode not in ("NOERROR", "NXDOMAIN"):
        return Finding(LAME, f"{not_served}: it answers {reply.rcode}")
    below = _referral(reply, name, zone)
    if below:
        return Finding(REFERRED, target=below, reply=reply)
    if not reply.authoritative:
        return Finding(LAME, f"{not_served}: its answer has no AA flag")
    if reply.truncated:
        return Finding(TRUNCATED)
    aliases = reply.values(name, "CNAME")
    if aliases and record.type != "CNAME":
        ttl = max(rr.ttl for rr in reply.answer if rr.name == name and rr.type == "CNAME")
        return Finding(ALIAS, f"CNAME to {aliases[0]}", ttl, aliases[0], reply=reply)
    return _of_values(record, name, reply)


def of_failure(error: NoAnswer) -> Finding:
    """Return the finding for a server that gave no usable answer."""
    return Finding(LAME if error.kind == "broken" else NO_ANSWER, str(error))


def both(udp: Finding, tcp: Finding) -> Finding:
    """
    Return one finding for the answers over UDP and TCP. RFC 7766, section 5 requires both.
    Resolvers use a complete answer over UDP, so missing TCP is only advice.
    """
    if tcp.verdict == TRUNCATED:
        tcp = Finding(LAME, "the answer is truncated, also over TCP")
    if udp.verdict == TRUNCATED:
        if tcp.verdict not in _USELESS:
            return tcp
        detail = f"the answer over UDP is truncated, and over TCP: {_text(tcp)}"
        return replace(tcp, detail=detail)
    if (udp.verdict, udp.detail) == (tcp.verdict, tcp.detail):
        return udp
    if tcp.verdict in _USELESS and udp.verdict not in _USELESS:
        advice = f"over TCP: {_text(tcp)}; allow TCP to port 53 (RFC 7766)"
        return replace(udp, detail="; ".join(filter(None, (udp.detail, advice))))
    detail = f"over UDP: {_text(udp)}; over TCP: {_text(tcp)}"
    verdict = udp.verdict if udp.verdict in _USELESS else INCONSISTENT
    return Finding(verdict, detail, ttl=udp.ttl or tcp.ttl)


def overall(verdicts: Iterable[str]) -> str:
    """
    Return the verdict on a record from the verdicts of its servers. If one server has the record,
    lame servers and names without an address do not count, because resolvers skip them.
    """
    seen = set(verdicts)
    if OK in seen and seen & _DATA:
        return INCONSISTENT
    if seen and seen <= {OK, LAME}:
        return OK if OK in seen else LAME
    return next((verdict for verdict in _WORST_FIRST if verdict in seen), LAME)


def by_wildcard(finding: Finding) -> Finding:
    """Return the finding for a name without records that a wildcard answers: RFC 4592, 2.2.1."""
    answer = finding.target or ", ".join(printable(value) for value in finding.shown)
    detail = (
        f"the name itself has no record: a wildcard of the zone answers ({cut(answer)}); publish "
        "the record beside the wildcard"
    )
    return Finding(MISSING, detail, ttl=finding.ttl, negative_ttl=finding.negative_ttl)


def doubled(finding: Finding, name: str, zone: str) -> Finding:
    """Return the finding for a missing record that is at its name followed by the zone's name."""
    return replace(finding, detail=f"{finding.detail}; {doubled_text(name, zone)}")


def doubled_text(name: str, zone: str) -> str:
    """Return the text about a record at its name followed by the zone's name."""
    remedy = "enter @ as the name" if name == zone else f"enter the name without .{zone}"
    return f"the record is at {name}.{zone}: {remedy}"


def _of_values(record: Record, name: str, reply: Reply) -> Finding:
    found = [rr for rr in reply.answer if rr.name == name and rr.type == record.type]
    shown = tuple(rr.value for rr in found)
    if record.type == "CNAME":
        return _of_alias(record, found, reply)
    values = of_kind(record.purpose, shown)
    if len(values) > 1:
        is_among = any(not compare(record, value).problem for value in values)
        detail = (
            f"{len(values)} records at the name, {'one' if is_among else 'none'} of them as "
            "desired; keep one"
        )
        return Finding(DUPLICATE, detail, ttl=max(rr.ttl for rr in found), shown=shown)
    # A misspelt text that verifiers do not accept as a record gets its own reason.
    values = values or meant_as(record.purpose, shown)
    if not values:
        return _missing(record, found, reply)
    compared = compare(record, values[0])
    if compared.problem:
        return Finding(DIFFERENT, compared.problem, ttl=found[0].ttl, shown=shown)
    return Finding(OK, compared.advice, ttl=found[0].ttl, shown=shown)


def _of_alias(record: Record, found: Sequence[Rr], reply: Reply) -> Finding:
    if not found:
        return _missing(record, found, reply)
    targets = tuple(rr.value for rr in found)
    if len(found) > 1:
        detail = f"{len(found)} CNAME records at the name; keep one"
        return Finding(DUPLICATE, detail, ttl=max(rr.ttl for rr in found), shown=targets)
    if targets[0] != record.value.lower():
        detail = f"the CNAME points to {cut(targets[0])}"
        return Finding(DIFFERENT, detail, ttl=found[0].ttl, shown=targets)
    return Finding(OK, ttl=found[0].ttl, shown=targets)


def _missing(record: Record, found: Sequence[Rr], reply: Reply) -> Finding:
    soa = reply.soa()
    negative = None if soa is None else min(soa.ttl, soa.value.negative_ttl)
    shown = tuple(rr.value for rr in found)
    if reply.rcode == "NXDOMAIN":
        detail = "the name does not exist"
    elif shown:
        detail = f"none of the {len(shown)} texts at the name is a record of this kind"
    else:
        detail = f"the name has no {record.type} record"
    ttl = max((rr.ttl for rr in found), default=None)
    return Finding(MISSING, detail, ttl=ttl, negative_ttl=negative, shown=shown)


def printable(value: object) -> str:
    """Return the value of a record as text; octets outside UTF-8 are written as ``\\xfc``."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _referral(reply: Reply, name: str, zone: str) -> str | None:
    if reply.authoritative or reply.answer:
        return None
    owners = {rr.name for rr in reply.authority if rr.type == "NS"}
    # Only a child zone is a referral: a server that does not know the zone refers upwards.
    below = [owner for owner in owners if is_inside(name, owner) and is_inside(owner, zone)]
    return next((owner for owner in below if owner != zone), None)


def _text(finding: Finding) -> str:
    return f"{finding.verdict} ({finding.detail})" if finding.detail else finding.verdict
