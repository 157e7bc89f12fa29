"""What a server's answer is worth, against the record that should be there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..records.kind import difference, of_kind
from ..records.record import Record, is_inside
from .failure import NoAnswer
from .message import Reply

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
    A verdict and its reason.

    ttl
        Of the record that was found, in seconds.
    target
        Of an alias: the name that it points to. Of a referral: the zone.
    negative_ttl
        How long the absence may be remembered, in seconds.
    """

    verdict: str
    detail: str = ""
    ttl: int | None = None
    target: str = ""
    negative_ttl: int | None = None
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
    """One verdict of what a server says over UDP and over TCP: RFC 7766, section 5, wants both."""
    if udp.verdict == TRUNCATED:
        return tcp
    if (udp.verdict, udp.detail) == (tcp.verdict, tcp.detail):
        return udp
    detail = f"over UDP: {_told(udp)}; over TCP: {_told(tcp)}"
    if {udp.verdict, tcp.verdict} & {SILENT, LAME}:
        bad = udp if udp.verdict in (SILENT, LAME) else tcp
        return Finding(bad.verdict, detail, ttl=udp.ttl or tcp.ttl)
    return Finding(DISAGREES, detail, ttl=udp.ttl or tcp.ttl)


def overall(verdicts: Iterable[str]) -> str:
    """The verdict on a record of those of its servers."""
    seen = set(verdicts)
    if RIGHT in seen and seen & _DATA:
        return DISAGREES
    return next((verdict for verdict in _WORST_FIRST if verdict in seen), RIGHT)


def _of_values(record: Record, name: str, reply: Reply) -> Finding:
    found = [rr for rr in reply.answer if rr.name == name and rr.type == record.type]
    soa = reply.soa()
    if record.type == "CNAME":
        values, wanted = [rr.value.encode() for rr in found], record.value.encode()
        reason = f"it points to {values[0].decode()}" if values else ""
    else:
        values = of_kind(record.purpose, [rr.value for rr in found])
        wanted = record.value.encode()
        reason = difference(wanted, values[0]) if values else ""
    if not values:
        negative = None if soa is None else min(soa.ttl, soa.value.negative_ttl)
        what = "there is no such name" if reply.rcode == "NXDOMAIN" else f"no {record.type} there"
        return Finding(ABSENT, what, negative_ttl=negative)
    if len(values) > 1:
        held = "with" if wanted in values else "without"
        said = f"{len(values)} records at the name, {held} the right one"
        return Finding(SEVERAL, said, ttl=max(rr.ttl for rr in found))
    if values[0] != wanted:
        return Finding(DIFFERS, reason, ttl=found[0].ttl)
    return Finding(RIGHT, ttl=found[0].ttl)


def _referral(reply: Reply, name: str, zone: str) -> str | None:
    if reply.authoritative or reply.answer:
        return None
    owners = {rr.name for rr in reply.authority if rr.type == "NS"}
    # Downwards alone: a referral upwards is how a server says that it knows nothing.
    below = [owner for owner in owners if is_inside(name, owner) and is_inside(owner, zone)]
    return next((owner for owner in below if owner != zone), None)


def _told(finding: Finding) -> str:
    return f"{finding.verdict} ({finding.detail})" if finding.detail else finding.verdict
