"""
The evidence of a key's record, and the gate: whether a key may move on that evidence.

Evidence is what all observations of one record come to. docs/rotation.md, "The gate", has the
rules.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ..keys.model import GONE
from ..settings.duration import in_words
from .replicas import Replicas
from .timing import SILENT_FOR, RetireFor, visible_for

OK = "ok"
# The servers of the zone above say that the domain does not exist: its records are gone too.
NO_DOMAIN = "no domain"
# At least one server gives no answer and every other server shows the record: since the first
# observation, or after all servers showed the record. Such a server may be down, or may show
# something else to others.
ELSE_OK = "no answer, else ok"
OK_BEFORE = "no answer, ok before"
PARTLY_SILENT = frozenset({ELSE_OK, OK_BEFORE})

# With these verdicts a record is visible.
_VISIBLE = frozenset({OK, ELSE_OK, NO_DOMAIN})
# Verdicts of servers that answered. Every other verdict (no answer, lame, no zone, unchecked,
# bogus) says nothing about the record.
DATA = frozenset({"missing", "different", "duplicate", "inconsistent"})

NO_REPLICAS = Replicas()

_UNOBSERVED = "no server could be asked for the record"


@dataclass(frozen=True)
class Observation:
    """
    What every authoritative server showed of one key's record at one time.

    verdict
        ``ok``: every server shows the desired record. Of a revoked key that is the empty record or
        none; ``no domain`` where the domain does not exist. Else a verdict of ``dns.verdict``.
    detail
        For people.
    at
        The time of the database's clock before the first question was sent.
    value
        The desired record.
    negative_ttl
        For how many seconds a resolver caches the record's absence: the lesser of the SOA's TTL and
        minimum (RFC 2308, section 5). None where unknown.
    ttl
        The TTL of the record that is ok, in seconds.
    other_ttl
        The longest TTL of other records at the name.
    else_ok
        With verdict ``no answer``: at least one server answers, and all that answer show the
        desired record.
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
    What all observations of a key's record come to; a row of ``dkim_observation``.

    observed_at, verdict, detail, value
        Of the last observation; ``verdict`` is one of ``PARTLY_SILENT`` where it was ``else_ok``.
    visible_since
        The first of the successive observations that found the record ok; None where the last
        answer of the servers was another. With ``ELSE_OK``: at the servers that answer.
    negative_ttl, other_ttl
        The largest of all observations since the record was last visible everywhere.
    ttl
        As last found.
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
        """Tell whether every server that answers shows the record."""
        return self.verdict == OK or self.verdict in PARTLY_SILENT

    def is_visible_for(self, seconds: int) -> bool:
        """Tell whether the record has been visible for some seconds."""
        since = self.visible_since
        return since is not None and self.observed_at - since >= timedelta(seconds=seconds)

    @property
    def summary(self) -> str:
        """Return the verdict with its detail."""
        return f"{self.verdict} ({self.detail})" if self.detail else self.verdict


def with_observation(
    evidence: Evidence | None, observation: Observation, now: datetime
) -> Evidence:
    """
    Return the evidence after an observation.

    An observation that is not younger than the last one changes nothing: another run has observed
    since. Times in the future of ``now``, the database's clock, are void: the clock was set back,
    and the time that has passed since is unknown. The times of resolver caches stay known.
    """
    if evidence is None:
        observation = _named(observation, None)
        since = observation.at if observation.verdict in _VISIBLE else None
        return _evidence(observation, since, observation.negative_ttl, observation.other_ttl)
    if max(evidence.observed_at, evidence.visible_since or evidence.observed_at) > now:
        evidence = replace(evidence, visible_since=None)
    elif observation.at <= evidence.observed_at:
        return evidence
    negative_ttl = longest(evidence.negative_ttl, observation.negative_ttl)
    other_ttl = longest(evidence.other_ttl, observation.other_ttl)
    if evidence.value != observation.value:
        # The record that was desired until now is another record from now on.
        other_ttl = longest(other_ttl, evidence.ttl)
        evidence = replace(evidence, visible_since=None, ttl=None)
    if evidence.verdict == ELSE_OK and not observation.else_ok:
        # A server that gave no answer may have begun to show the record to others only now.
        evidence = replace(evidence, visible_since=None)
    observation = _named(observation, evidence)
    if observation.verdict in _VISIBLE:
        since = evidence.visible_since or observation.at
    else:
        since = None if observation.verdict in DATA else evidence.visible_since
    found = _evidence(observation, since, negative_ttl, other_ttl)
    return found if found.ttl is not None else replace(found, ttl=evidence.ttl)


def _named(observation: Observation, evidence: Evidence | None) -> Observation:
    """Return a partly silent observation with the verdict that its evidence gives it."""
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
    """Return the largest of the TTLs that are known; None where none is."""
    return max((one for one in seconds if one is not None), default=None)


@dataclass(frozen=True)
class Decision:
    """
    The next state of a key, or what the key waits for.

    to_state
        The state that the key moves to now (``gone`` deletes the row), or None.
    why
        The evidence, for the history.
    waits_for
        Without ``to_state``: what has to come first.
    not_before
        The time before which the key can't move, where time alone decides; else None.
    missing
        Texts of the evidence that ``force`` overrides.
    """

    to_state: str | None = None
    why: str = ""
    waits_for: str = ""
    not_before: datetime | None = None
    missing: tuple[str, ...] = ()


def may_sign(evidence: Evidence | None, margin: int, least: int = 0) -> Decision:
    """
    Decide whether the world can read a key's record, so that the key may become active.

    evidence
        With this run's observation; None where this run has none.
    margin, least
        Seconds: ``rotation:margin``, and the time that the name's past asks for.
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
    """Return what keeps the gate closed, and until when."""
    if evidence is None:
        return (_UNOBSERVED,), None
    missing, not_before = [], None
    if not evidence.is_visible:
        missing.append(f"the record is not at every server: {evidence.summary}")
    seconds = visible_for(evidence.negative_ttl, evidence.other_ttl, margin, least)
    is_partly_silent = evidence.verdict in PARTLY_SILENT
    if seconds is None:
        missing.append("no server tells for how long resolvers cache an absence (SOA)")
        return tuple(missing), None
    if is_partly_silent:
        seconds += SILENT_FOR
    since = evidence.visible_since
    if since is None:
        if evidence.verdict == OK:
            raise AssertionError("a record that is ok is visible since some time")
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
    Decide whether a retired key's record has stayed for long enough.

    retired
        When the key was retired.
    replicas
        A mail host that reads a standby signs with the key until the standby has replayed the
        retirement.
    """
    if retired is not None and (lagging := replicas.lagging(retired)):
        waits_for = (
            "mail hosts may read the key as active at a standby that was not seen to have replayed "
            f"the switch: {', '.join(lagging)}; mend the replication, or, where that standby is "
            "gone for good, run dkim.forget_replica ADDRESS"
        )
        return Decision(waits_for=waits_for, missing=(waits_for,))
    return _after(
        limit.seconds,
        None if retired is None else replicas.read_since(retired),
        now,
        Decision("revoked", f"rotation: retired for {in_words(limit.seconds)} ({limit.reason})"),
        f"mail that the key signed may be in transit ({limit.reason})",
    )


def may_be_deleted(
    revoked: datetime | None, evidence: Evidence | None, now: datetime, seconds: int
) -> Decision:
    """
    Decide whether a revoked key's row may go, and its name with the row.

    evidence
        With this run's observation; ``ok`` where every server shows the empty record or none, and
        ``no domain`` where the domain does not exist.
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
        # A domain that is registered again soon brings its old records back.
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
    """Return a decision that holds some seconds after a time, and until then what is waited for."""
    if since is None:
        waits_for = "the row does not say since when the key is in its state"
        return Decision(waits_for=waits_for, missing=(waits_for,))
    not_before = since + timedelta(seconds=seconds)
    if now < not_before:
        return Decision(waits_for=waits_for, not_before=not_before, missing=(waits_for,))
    return then


def timestamp(time: datetime) -> str:
    """Return a time as every return of the formula has it: ISO 8601, to the second."""
    return time.isoformat(timespec="seconds")
