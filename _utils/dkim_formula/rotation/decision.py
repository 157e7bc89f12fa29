"""The next step of one key's life, or what it waits for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ..settings.duration import in_words
from .evidence import PARTLY_SILENT, RIGHT, Evidence

GONE = "gone"

# However short a zone's times are, one look is no time at all.
_LEAST_HOLD = 1  # second
# So much longer the others have to show a record where a server does not answer: who is silent for
# a day is down, as far as can be told, and no gate stays shut for ever by it.
SILENT_HOLD = 86400  # seconds


@dataclass(frozen=True)
class Decision:
    """
    step
        The state that the key is to move to now (``gone`` is its row's end), or None.
    why
        On what evidence; for the history.
    waits_for
        Where there is no step: what has to come first.
    until
        When it will have come, as far as time alone decides; None where it does not.
    missing
        The evidence that ``force`` does without, a text each.
    """

    step: str | None = None
    why: str = ""
    waits_for: str = ""
    until: datetime | None = None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Slot:
    """
    What else there is where a key belongs: one domain (or address) and one algorithm.

    signs
        The selector of the active key, None where there is none.
    candidate
        Whether this key is the one to sign next: the newest that is pending.
    superseded
        Whether the active key was made after this one.
    """

    signs: str | None = None
    candidate: bool = True
    superseded: bool = False


def pending(
    readable: bool,
    slot: Slot,
    evidence: Evidence | None,
    margin: int,
    first_waits: bool = False,
    least_hold: int = 0,
) -> Decision:
    """
    Whether a pending key is to sign now.

    readable
        Whether the row holds a key that OpenDKIM can take.
    evidence
        With the look of this run; None where there was none.
    margin, least_hold
        Seconds: ``rotation:margin``, and what the name's past asks for beside what was seen.
    first_waits
        Whether a key waits for its record also where nothing signs.
    """
    if not readable:
        return Decision(waits_for="its row holds no key that can be read: delete it")
    if slot.superseded:
        return Decision("revoked", f"rotation: never signed, and the newer {slot.signs} does")
    if not slot.candidate:
        return Decision(waits_for="a newer pending key goes first")
    if slot.signs is None and not first_waits:
        return Decision("active", "rotation: nothing signed before")
    missing, until = _lacking(evidence, margin, least_hold)
    if missing:
        return Decision(waits_for="; ".join(missing), until=until, missing=missing)
    return Decision("active", _seen(evidence))


def retired(moment: datetime | None, now: datetime, retire_for: int, longest: str) -> Decision:
    """
    Whether a retired key's record has stayed for long enough.

    moment
        When it was retired.
    retire_for, longest
        The seconds that mail which it signed may be on its way, and what makes it so many.
    """
    return _after_a_time(
        "revoked",
        moment,
        now,
        retire_for,
        f"mail that it signed may be on its way ({longest})",
        f"rotation: retired for {in_words(retire_for)} ({longest})",
    )


def revoked(
    moment: datetime | None, evidence: Evidence | None, now: datetime, revoke_for: int
) -> Decision:
    """
    Whether a revoked key may go, and its name with it.

    evidence
        With the look of this run; it is ``right`` where every server shows the empty record or
        nothing.
    """
    in_time = _after_a_time(
        GONE,
        moment,
        now,
        revoke_for,
        "its empty record stays for dkim:rotation:revoke_for",
        f"rotation: revoked for {in_words(revoke_for)}, no key in DNS any more",
    )
    if in_time.step is None:
        return in_time
    if evidence is None:
        missing = "no server could be asked for its record"
    elif evidence.verdict in PARTLY_SILENT and _is_long_ago(evidence, SILENT_HOLD):
        return in_time
    elif evidence.verdict != RIGHT:
        missing = f"the old record is not known to be gone: {_verdict(evidence)}"
    else:
        return in_time
    return Decision(waits_for=missing, missing=(missing,))


def hold(evidence: Evidence, margin: int, least: int = 0) -> int | None:
    """
    For how many seconds a record has to be seen before every resolver has it: what one may still
    remember is its absence, or another record that was there. None where that can't be told.
    """
    if evidence.negative_ttl is None:
        return None
    remembered = max(evidence.negative_ttl, evidence.other_ttl or 0, least)
    return max(remembered + margin, _LEAST_HOLD)


def _lacking(
    evidence: Evidence | None, margin: int, least: int
) -> tuple[tuple[str, ...], datetime | None]:
    if evidence is None:
        return ("no server could be asked for its record",), None
    missing, until = [], None
    is_partly_silent = evidence.verdict in PARTLY_SILENT
    if evidence.verdict != RIGHT and not is_partly_silent:
        missing.append(f"its record is not at every server: {_verdict(evidence)}")
    seconds = hold(evidence, margin, least)
    if seconds is not None and is_partly_silent:
        seconds += SILENT_HOLD
    if seconds is None:
        missing.append("no server tells for how long an absence is remembered (SOA)")
    elif evidence.seen_since is None:
        if evidence.verdict == RIGHT:
            raise AssertionError("a record that is right has been seen since some moment")
        missing.append(f"then it has to be seen for {in_words(seconds)}")
    elif evidence.looked_at - evidence.seen_since < timedelta(seconds=seconds):
        if evidence.verdict == RIGHT or is_partly_silent:
            until = evidence.seen_since + timedelta(seconds=seconds)
        if is_partly_silent:
            missing.append(
                f"{_verdict(evidence)}: the servers that answer have to show the record for a day "
                "more, since a silent one may show something else to others"
            )
        missing.append(
            f"resolvers may remember what was there before: it has to be seen for "
            f"{in_words(seconds)}, and was first seen at {moment_text(evidence.seen_since)}"
        )
    return tuple(missing), until


def _is_long_ago(evidence: Evidence, seconds: int) -> bool:
    since = evidence.seen_since
    return since is not None and evidence.looked_at - since >= timedelta(seconds=seconds)


def _seen(evidence: Evidence) -> str:
    remembered = f"negative TTL {evidence.negative_ttl} s"
    if evidence.other_ttl:
        remembered += f", TTL of another record before {evidence.other_ttl} s"
    detail = f" {evidence.detail}" if evidence.detail else ""
    return f"rotation: record seen{detail} since {moment_text(evidence.seen_since)}, {remembered}"


def _verdict(evidence: Evidence) -> str:
    return f"{evidence.verdict} ({evidence.detail})" if evidence.detail else evidence.verdict


def _after_a_time(
    step: str, moment: datetime | None, now: datetime, seconds: int, waits_for: str, why: str
) -> Decision:
    if moment is None:
        unknown = "the row does not say since when it is in this state"
        return Decision(waits_for=unknown, missing=(unknown,))
    until = moment + timedelta(seconds=seconds)
    if now < until:
        return Decision(waits_for=waits_for, until=until, missing=(waits_for,))
    return Decision(step, why)


def moment_text(moment: datetime) -> str:
    """A moment as every return of the formula has it: ISO 8601, to the second."""
    return moment.isoformat(timespec="seconds")
