"""What DNS was seen to show of a key's record, and since when."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

RIGHT = "right"
SILENT = "silent"

# Silent servers beside ones that show the record: from the first look on, or after all showed it.
# Whether a silent server is down, or answers others and shows them something else, can't be told.
ELSE_RIGHT = "silent, else right"
RIGHT_BEFORE = "silent, right before"
PARTLY_SILENT = frozenset({ELSE_RIGHT, RIGHT_BEFORE})

# Words of servers that answered. Whatever else a look may find is no answer (silent, lame, no
# zone, not checked, a failure of DNSSEC): it tells nothing of what is there.
DATA = frozenset({"absent", "differs", "two records", "disagrees"})


@dataclass(frozen=True)
class Look:
    """
    One look at one key's record, at every authoritative server.

    verdict
        ``right``: every server shows what is wanted. Of a revoked key that is the empty record, or
        nothing at all. Else a verdict of ``dns.verdict``.
    detail
        For people.
    at
        The database's clock, taken before the first question was sent.
    value
        The record that was looked for.
    negative_ttl
        For how long a resolver may remember that there is no such record, in seconds: the lesser
        of the SOA's TTL and minimum (RFC 2308, section 5). None where it could not be told.
    ttl
        Of the record that was found right, in seconds.
    other_ttl
        The longest of those that were found in its place.
    else_right
        Of ``silent``: every server that answers shows what is wanted, and one does.
    """

    verdict: str
    detail: str
    at: datetime
    value: str
    negative_ttl: int | None = None
    ttl: int | None = None
    other_ttl: int | None = None
    else_right: bool = False


@dataclass(frozen=True)
class Evidence:
    """
    What all looks at a key's record come to; a row of ``dkim_seen``.

    looked_at, verdict, detail, value
        Of the last look; ``verdict`` is one of ``PARTLY_SILENT`` where it was ``else_right``.
    seen_since
        The first of the looks in a row that found the record right; None where the last word of
        the servers was another. With ``ELSE_RIGHT`` at those servers that answered.
    negative_ttl, other_ttl
        The largest that were found in all looks since the record was last seen for sure.
    ttl
        As last found.
    """

    looked_at: datetime
    verdict: str
    detail: str
    value: str
    seen_since: datetime | None = None
    negative_ttl: int | None = None
    ttl: int | None = None
    other_ttl: int | None = None


def after(evidence: Evidence | None, look: Look, now: datetime) -> Evidence:
    """
    The evidence that a look leaves.

    A look that is not younger than the last one changes nothing: another run has looked since.
    Moments from the future of ``now``, the database's clock, are void: the clock was set back, and
    how much time has passed since can't be told. For how long resolvers remember stays known.
    """
    if evidence is None:
        look = _named(look, None)
        since = look.at if look.verdict in (RIGHT, ELSE_RIGHT) else None
        return _told(look, since, look.negative_ttl, look.other_ttl)
    if _is_of_the_future(evidence, now):
        evidence = replace(evidence, seen_since=None)
    elif look.at <= evidence.looked_at:
        return evidence
    negative_ttl = _longest(evidence.negative_ttl, look.negative_ttl)
    other_ttl = _longest(evidence.other_ttl, look.other_ttl)
    if evidence.value != look.value:
        # What was right until now is one of the others.
        other_ttl = _longest(other_ttl, evidence.ttl)
        evidence = replace(evidence, seen_since=None, ttl=None)
    if evidence.verdict == ELSE_RIGHT and not look.else_right:
        # What a server that was silent shows now, others may have only since now.
        evidence = replace(evidence, seen_since=None)
    look = _named(look, evidence)
    if look.verdict in (RIGHT, ELSE_RIGHT):
        since = evidence.seen_since or look.at
    else:
        since = None if look.verdict in DATA else evidence.seen_since
    told = _told(look, since, negative_ttl, other_ttl)
    return told if told.ttl is not None else replace(told, ttl=evidence.ttl)


def _named(look: Look, evidence: Evidence | None) -> Look:
    """A look, with what its silence stands beside in its verdict."""
    if not look.else_right:
        return look
    has_been_right = (
        evidence is not None and evidence.seen_since is not None and evidence.verdict != ELSE_RIGHT
    )
    return replace(look, verdict=RIGHT_BEFORE if has_been_right else ELSE_RIGHT)


def _told(
    look: Look, since: datetime | None, negative_ttl: int | None, other_ttl: int | None
) -> Evidence:
    return Evidence(
        looked_at=look.at,
        verdict=look.verdict,
        detail=look.detail,
        value=look.value,
        seen_since=since,
        negative_ttl=negative_ttl,
        ttl=look.ttl,
        other_ttl=other_ttl,
    )


def _is_of_the_future(evidence: Evidence, now: datetime) -> bool:
    moments = (evidence.looked_at, evidence.seen_since or evidence.looked_at)
    return any(moment > now for moment in moments)


def _longest(*seconds: int | None) -> int | None:
    return max((one for one in seconds if one is not None), default=None)
