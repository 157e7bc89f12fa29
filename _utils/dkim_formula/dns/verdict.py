"""What a server's answer is worth, against the record that should be there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from ..records.kind import meant_as, of_kind
from ..records.meaning import compare, cut
from ..records.record import Record, is_inside
from .failure import NoAnswer
from .message import Reply, Rr

RIGHT = "right"
ABSENT = "absent"
DIFFERS = "differs"
SEVERAL = "two records"
SILENT = "silent"
DISAGREES = "disagrees"
LAME = "lame"
BOGUS = "DNSSEC failure"
NO_ZONE = "no zone"
UNCHECKED = "not checked"

# Between a server and its verdict: the name is in a zone below, or stands for another.
REFERRED = "referred"
ALIAS = "alias"
TRUNCATED = "truncated"

# Where servers differ, the first of these is the record's verdict.
_WORST_FIRST = (SEVERAL, DIFFERS, ABSENT, DISAGREES, LAME, SILENT)
_DATA = {SEVERAL, DIFFERS, ABSENT}


@dataclass(frozen=True)
class Finding:
    """
    A verdict and its reason; of a right record ``detail`` is advice.

    ttl
        Of the record that was found, in seconds.
    target
        Of an alias: the name that it points to. Of a referral: the zone.
    negative_ttl
        How long the absence may be remembered, in seconds.
    shown
        The texts at the name, whatever they are: a wildcard may have put them there.
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
    What an authoritative server's answer says.

    name
        What was asked for: the record's own name, or one that an alias leads to.
    zone
        The zone that the server is asked as a server of.
    """
    if reply.rcode not in ("NOERROR", "NXDOMAIN"):
        return Finding(LAME, f"it answers {reply.rcode}: it does not serve {zone}")
    below = _referral(reply, name, zone)
    if below:
        return Finding(REFERRED, target=below, reply=reply)
    if not reply.authoritative:
        return Finding(LAME, f"it answers without authority: it does not serve {zone}")
    if reply.truncated:
        return Finding(TRUNCATED)
    aliases = reply.values(name, "CNAME")
    if aliases and record.type != "CNAME":
        return Finding(ALIAS, f"CNAME to {aliases[0]}", target=aliases[0], reply=reply)
    return _of_values(record, name, reply)


def of_failure(error: NoAnswer) -> Finding:
    """A server that gave no answer."""
    return Finding(LAME if error.kind == "broken" else SILENT, str(error))


def both(udp: Finding, tcp: Finding) -> Finding:
    """
    One verdict of what a server says over UDP and over TCP: RFC 7766, section 5, wants both. An
    answer over UDP that is whole is what resolvers go by: without TCP it counts, with advice.
    """
    if tcp.verdict == TRUNCATED:
        tcp = Finding(LAME, "its answer is cut short, also over TCP")
    if udp.verdict == TRUNCATED:
        if tcp.verdict not in (SILENT, LAME):
            return tcp
        return replace(
            tcp,
            detail=f"its answer over UDP is cut short, and over TCP {tcp.verdict}: {tcp.detail}",
        )
    if (udp.verdict, udp.detail) == (tcp.verdict, tcp.detail):
        return udp
    if tcp.verdict in (SILENT, LAME) and udp.verdict not in (SILENT, LAME):
        advice = f"over TCP: {_told(tcp)}; let TCP to port 53 through (RFC 7766)"
        return replace(udp, detail="; ".join(filter(None, (udp.detail, advice))))
    detail = f"over UDP: {_told(udp)}; over TCP: {_told(tcp)}"
    if udp.verdict in (SILENT, LAME):
        return Finding(udp.verdict, detail, ttl=udp.ttl or tcp.ttl)
    return Finding(DISAGREES, detail, ttl=udp.ttl or tcp.ttl)


def overall(verdicts: Iterable[str]) -> str:
    """
    The verdict on a record of those of its servers. Where one holds it, servers that hold nothing
    for anybody (lame ones, or names without an address) don't count: resolvers pass over them too.
    """
    seen = set(verdicts)
    if RIGHT in seen and seen & _DATA:
        return DISAGREES
    if seen and seen <= {RIGHT, LAME}:
        return RIGHT if RIGHT in seen else LAME
    return next((verdict for verdict in _WORST_FIRST if verdict in seen), LAME)


def _of_values(record: Record, name: str, reply: Reply) -> Finding:
    found = [rr for rr in reply.answer if rr.name == name and rr.type == record.type]
    shown = tuple(rr.value for rr in found)
    if record.type == "CNAME":
        return _of_alias(record, found, reply)
    values = of_kind(record.purpose, shown)
    if len(values) > 1:
        held = "with" if any(_is_same(record, value) for value in values) else "without"
        said = f"{len(values)} records at the name, {held} the right one; leave one"
        return Finding(SEVERAL, said, ttl=max(rr.ttl for rr in found), shown=shown)
    # What nobody takes for a record, and was meant to be one, has its own reason.
    values = values or meant_as(record.purpose, shown)
    if not values:
        return _nothing(record, found, reply)
    compared = compare(record, values[0])
    if compared.problem:
        return Finding(DIFFERS, compared.problem, ttl=found[0].ttl, shown=shown)
    return Finding(RIGHT, compared.advice, ttl=found[0].ttl, shown=shown)


def _of_alias(record: Record, found: Sequence[Rr], reply: Reply) -> Finding:
    if not found:
        return _nothing(record, found, reply)
    targets = tuple(rr.value for rr in found)
    if len(found) > 1:
        said = f"{len(found)} CNAME records at the name; leave one"
        return Finding(SEVERAL, said, ttl=max(rr.ttl for rr in found), shown=targets)
    if targets[0] != record.value.lower():
        said = f"it points to {cut(targets[0])}"
        return Finding(DIFFERS, said, ttl=found[0].ttl, shown=targets)
    return Finding(RIGHT, ttl=found[0].ttl, shown=targets)


def _nothing(record: Record, found: Sequence[Rr], reply: Reply) -> Finding:
    soa = reply.soa()
    negative = None if soa is None else min(soa.ttl, soa.value.negative_ttl)
    shown = tuple(rr.value for rr in found)
    if reply.rcode == "NXDOMAIN":
        what = "there is no such name"
    elif shown:
        what = f"no record of this kind is among the {len(shown)} texts there"
    else:
        what = f"no {record.type} there"
    ttl = max((rr.ttl for rr in found), default=None)
    return Finding(ABSENT, what, ttl=ttl, negative_ttl=negative, shown=shown)


def _is_same(record: Record, value: bytes) -> bool:
    return not compare(record, value).problem


def by_wildcard(finding: Finding) -> Finding:
    """A finding at a name where nothing is, and a wildcard answers: RFC 4592, section 2.2.1."""
    what = finding.target or ", ".join(_text(value) for value in finding.shown)
    said = (
        f"nothing is at the name itself: a wildcard of the zone answers ({cut(what)}); publish the "
        "record beside it"
    )
    return Finding(ABSENT, said, ttl=finding.ttl, negative_ttl=finding.negative_ttl)


def _text(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _referral(reply: Reply, name: str, zone: str) -> str | None:
    if reply.authoritative or reply.answer:
        return None
    owners = {rr.name for rr in reply.authority if rr.type == "NS"}
    # Downwards alone: a referral upwards is how a server says that it knows nothing.
    below = [owner for owner in owners if is_inside(name, owner) and is_inside(owner, zone)]
    return next((owner for owner in below if owner != zone), None)


def _told(finding: Finding) -> str:
    return f"{finding.verdict} ({finding.detail})" if finding.detail else finding.verdict
