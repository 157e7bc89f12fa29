"""
The evidence of a key's record, and the gate: whether that evidence lets a key move.

Evidence is the sum of all observations of one record. docs/rotation.md, "The gate", has the rules.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ..keys.model import GONE
from ..settings.duration import in_words
from ..text import timestamp
from .replicas import Replicas
from .waiting_times import SILENT_FOR, RetireFor, visible_for

OK = "ok"
# The parent zone's servers answer that the domain does not exist, so its records are gone too.
NO_DOMAIN = "no domain"
# At least one server gives no answer, and every other server shows the record. With ELSE_OK this
# holds since the first observation, with OK_BEFORE since a time when all servers showed the record.
# The server without an answer may be down, or may show another record to other clients.
ELSE_OK = "no answer, else ok"
OK_BEFORE = "no answer, ok before"
PARTLY_SILENT = frozenset({ELSE_OK, OK_BEFORE})

# Verdicts of a visible record.
_VISIBLE = frozenset({OK, ELSE_OK, NO_DOMAIN})
# Verdicts of servers that answered. Every other verdict (no answer, lame, no zone, unchecked,
# bogus) says nothing about the record.
DATA = frozenset({"missing", "different", "duplicate", "inconsistent"})

NO_REPLICAS = Replicas()

_UNOBSERVED = "no server could be asked for the record"


@dataclass(frozen=True)
class Observation:
    """
    The answers of all authoritative servers about one key's record at one time.

    verdict
        ``ok``: every server shows the desired record. For a revoked key that is the empty record or
        no record. ``no domain``: the domain does not exist. Else a verdict of ``dns.verdict``.
    detail
        A text for people.
    at
        The time of the database's clock before the first query was sent.
    value
        The desired record.
    negative_ttl
        The time for which a resolver caches the record's absence, in seconds: the lesser of the
        SOA's TTL and minimum (RFC 2308, section 5). None if unknown.
    ttl
        The TTL of the desired record, in seconds.
    other_ttl
        The longest TTL of other records at the name.
    else_ok
        With verdict ``no answer``: whether at least one server answers, and all servers that answer
        show the desired record.
    """

    verdict: str
    detail: str
    at: datetime
    value: str
    negative_ttl: int | None = None
    ttl: int | None = None
    other_ttl: int | None = None
    else_ok: bool = False


@dataclass(frozen=True)
class Evidence:
    """
    The sum of all observations of a key's record; a row of ``dkim_observation``.

    observed_at, verdict, detail, value
        The values of the last observation. ``verdict`` is one of ``PARTLY_SILENT`` if the
        observation was ``else_ok``.
    visible_since
        The time of the first observation in the unbroken series that found the record ok. None if
        the servers' last answer was another. With ``ELSE_OK``: at the servers that answer.
    negative_ttl, other_ttl
        The largest values of all observations.
    ttl
        The TTL that was found last.
    """

    observed_at: datetime
    verdict: str
    detail: str
    value: str
    visible_since: datetime | None = None
    negative_ttl: int | None = None
    ttl: int | None = None
    other_ttl: int | None = None

    @property
    def is_visible(self) -> bool:
        """Return whether every server that answers shows the record."""
        return self.verdict == OK or self.verdict in PARTLY_SILENT

    def is_visible_for(self, seconds: int) -> bool:
        """Return whether the record has been visible for a number of seconds."""
        since = self.visible_since
        return since is not None and self.observed_at - since >= timedelta(seconds=seconds)

    @property
    def summary(self) -> str:
        """The verdict with its detail."""
        return f"{self.verdict} ({self.detail})" if self.detail else self.verdict


def with_observation(
    evidence: Evidence | None, observation: Observation, now: datetime
) -> Evidence:
    """
    Return the evidence after an observation.

    An observation that is not newer than the last one changes nothing: another run has observed
    DNS since. ``now`` is the time of the database's clock. Stored times later than ``now`` are
    dropped: the clock was set back, and the time that passed since is unknown. The TTLs stay.
    """
    if evidence is None:
        observation = _with_silent_verdict(observation, None)
        since = observation.at if observation.verdict in _VISIBLE else None
        return _evidence(observation, since, observation.negative_ttl, observation.other_ttl)
    if max(evidence.observed_at, evidence.visible_since or evidence.observed_at) > now:
        evidence = replace(evidence, visible_since=None)
    elif observation.at <= evidence.observed_at:
        return evidence
    negative_ttl = longest(evidence.negative_ttl, observation.negative_ttl)
    other_ttl = longest(evidence.other_ttl, observation.other_ttl)
    if evidence.value != observation.value:
        # The desired record has changed, so the former one now counts as another record.
        other_ttl = longest(other_ttl, evidence.ttl)
        evidence = replace(evidence, visible_since=None, ttl=None)
    if evidence.verdict == ELSE_OK and not observation.else_ok:
        # A server without an answer until now may have shown other clients another record.
        evidence = replace(evidence, visible_since=None)
    observation = _with_silent_verdict(observation, evidence)
    if observation.verdict in _VISIBLE:
        since = evidence.visible_since or observation.at
    else:
        since = None if observation.verdict in DATA else evidence.visible_since
    found = _evidence(observation, since, negative_ttl, other_ttl)
    return found if found.ttl is not None else replace(found, ttl=evidence.ttl)


def _with_silent_verdict(observation: Observation, evidence: Evidence | None) -> Observation:
    """Return the observation; a partly silent one gets its verdict from the earlier evidence."""
    if not observation.else_ok:
        return observation
    was_ok = (
        evidence is not None and evidence.visible_since is not None and evidence.verdict != ELSE_OK
    )
    return replace(observation, verdict=OK_BEFORE if was_ok else ELSE_OK)


def _evidence(
    observation: Observation,
    since: datetime | None,
    negative_ttl: int | None,
    other_ttl: int | None,
) -> Evidence:
    return Evidence(
        observed_at=observation.at,
        verdict=observation.verdict,
        detail=observation.detail,
        value=observation.value,
        visible_since=since,
        negative_ttl=negative_ttl,
        ttl=observation.ttl,
        other_ttl=other_ttl,
    )


def longest(*seconds: int | None) -> int | None:
    """Return the largest of the known TTLs; None if no TTL is known."""
    return max((one for one in seconds if one is not None), default=None)


@dataclass(frozen=True)
class Decision:
    """
    The next state of a key, or what the key waits for.

    to_state
        The state that the key moves to now (``gone`` deletes the row), or None.
    why
        The evidence, as a text for the history.
    waits_for
        Without ``to_state``: what the key waits for.
    not_before
        The earliest time of the move if time alone decides; else None.
    missing
        Texts about the missing evidence, which ``force`` overrides.
    """

    to_state: str | None = None
    why: str = ""
    waits_for: str = ""
    not_before: datetime | None = None
    missing: tuple[str, ...] = ()


def may_sign(evidence: Evidence | None, margin: int, least: int = 0) -> Decision:
    """
    Decide whether every resolver can read a key's record, so that the key may become active.

    evidence
        The evidence with this run's observation; None without such an observation.
    margin, least
        Seconds: ``rotation:margin``, and the least time that earlier records at the name require.
    """
    missing, not_before = _missing(evidence, margin, least)
    if missing:
        return Decision(waits_for="; ".join(missing), not_before=not_before, missing=missing)
    cached = f"negative TTL {evidence.negative_ttl} s"
    if evidence.other_ttl:
        cached += f", TTL of another record before {evidence.other_ttl} s"
    detail = f" {evidence.detail}" if evidence.detail else ""
    since = timestamp(evidence.visible_since)
    return Decision("active", f"rotation: record visible{detail} since {since}, {cached}")


def _missing(
    evidence: Evidence | None, margin: int, least: int
) -> tuple[tuple[str, ...], datetime | None]:
    """Return texts about the missing evidence, and the time at which the gate can open."""
    if evidence is None:
        return (_UNOBSERVED,), None
    missing, not_before = [], None
    if not evidence.is_visible:
        missing.append(f"the record is not at every server: {evidence.summary}")
    seconds = visible_for(evidence.negative_ttl, evidence.other_ttl, margin, least)
    is_partly_silent = evidence.verdict in PARTLY_SILENT
    if seconds is None:
        missing.append("no server returns an SOA, so the negative TTL is unknown")
        return tuple(missing), None
    if is_partly_silent:
        seconds += SILENT_FOR
    since = evidence.visible_since
    if since is None:
        if evidence.verdict == OK:
            raise AssertionError("a record that is ok has a time since which it is visible")
        missing.append(f"then the record must be visible for {in_words(seconds)}")
    elif not evidence.is_visible_for(seconds):
        if evidence.is_visible:
            not_before = since + timedelta(seconds=seconds)
        if is_partly_silent:
            missing.append(
                f"{evidence.summary}: the servers that answer must show the record for a day more, "
                "since a server without an answer may show something else to others"
            )
        missing.append(
            "resolver caches may hold the old answer: the record must be visible for "
            f"{in_words(seconds)}; it is visible since {timestamp(since)}"
        )
    return tuple(missing), not_before


def may_be_revoked(
    retired: datetime | None, now: datetime, limit: RetireFor, replicas: Replicas = NO_REPLICAS
) -> Decision:
    """
    Decide whether a retired key's record has been in DNS for long enough.

    retired
        The time of the key's retirement.
    replicas
        The standby servers. A mail host that reads a standby signs with the key until the standby
        has replayed the retirement.
    """
    if retired is not None and (lagging := replicas.lagging(retired)):
        waits_for = (
            "mail hosts may read the key as active at a standby that is not known to have replayed "
            f"the switch: {', '.join(lagging)}; repair the replication, or, if that standby no "
            "longer exists, run dkim.forget_replica ADDRESS"
        )
        return Decision(waits_for=waits_for, missing=(waits_for,))
    return _after(
        limit.seconds,
        None if retired is None else replicas.replayed_since(retired),
        now,
        Decision("revoked", f"rotation: retired for {in_words(limit.seconds)} ({limit.reason})"),
        f"mail that the key signed may be in transit ({limit.reason})",
    )


def may_be_deleted(
    revoked: datetime | None, evidence: Evidence | None, now: datetime, seconds: int
) -> Decision:
    """
    Decide whether a revoked key's row may be deleted.

    evidence
        The evidence with this run's observation. ``ok``: every server shows the empty record or no
        record. ``no domain``: the domain does not exist.
    seconds
        ``rotation:revoke_for``.
    """
    decision = _after(
        seconds,
        revoked,
        now,
        Decision(GONE, f"rotation: revoked for {in_words(seconds)}, DNS shows no key any more"),
        "the empty record stays for dkim:rotation:revoke_for",
    )
    if decision.to_state is None:
        return decision
    if evidence is None:
        missing, not_before = _UNOBSERVED, None
    elif evidence.verdict == NO_DOMAIN:
        # If the domain is soon registered again, its old records return.
        if evidence.is_visible_for(seconds):
            return decision
        not_before = evidence.visible_since + timedelta(seconds=seconds)
        missing = (
            f"the domain does not exist in DNS ({evidence.detail}), and may come back with the old "
            "record: the domain must be absent for dkim:rotation:revoke_for, "
            f"{in_words(seconds)}; it is absent since {timestamp(evidence.visible_since)}"
        )
    elif evidence.verdict == OK or (
        evidence.verdict in PARTLY_SILENT and evidence.is_visible_for(SILENT_FOR)
    ):
        return decision
    else:
        missing = f"DNS may still show the old record: {evidence.summary}"
        not_before = None
    return Decision(waits_for=missing, not_before=not_before, missing=(missing,))


def _after(
    seconds: int, since: datetime | None, now: datetime, then: Decision, waits_for: str
) -> Decision:
    """Return ``then`` once some seconds have passed since a time; else a decision that waits."""
    if since is None:
        waits_for = "the row does not say since when the key is in its state"
        return Decision(waits_for=waits_for, missing=(waits_for,))
    not_before = since + timedelta(seconds=seconds)
    if now < not_before:
        return Decision(waits_for=waits_for, not_before=not_before, missing=(waits_for,))
    return then
