"""The urgency of keys: those that need a person, are in progress, or are at rest."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from ..dns import verdict

AT_REST, IN_PROGRESS, NEEDS_A_PERSON = range(3)

# ``next`` of a standby key whose record is in DNS.
ACTIVE_BY_ROTATION = "active at the next rotation"

BAD_VERDICTS = verdict.AMISS | {
    verdict.NO_ANSWER,
    verdict.LAME,
    verdict.BOGUS,
    verdict.NO_ZONE,
}


def urgency(line: Mapping[str, object], now: datetime) -> int:
    """
    Return a key's urgency: NEEDS_A_PERSON, IN_PROGRESS or AT_REST.

    line
        The key's line in ``dkim.status``.
    now
        The present time in UTC.
    """
    if line["problem"] or line["dns"] in BAD_VERDICTS or is_held(line):
        return NEEDS_A_PERSON
    if line["next"] == ACTIVE_BY_ROTATION:
        return AT_REST
    if line["state"] != "active" or line["next"] != "rotation":
        return IN_PROGRESS
    is_due = line["when"] and datetime.fromisoformat(line["when"]) <= now
    return IN_PROGRESS if is_due else AT_REST


def is_held(line: Mapping[str, object]) -> bool:
    """
    Return whether a key signs until a person decides, because its domain disappeared suddenly.

    line
        The key's line in ``dkim.status``.
    """
    return "signs on until" in str(line["next"])
