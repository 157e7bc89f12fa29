"""What is left for a person to publish: the desired records that servers do not show."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from ..errors import NoLibrary
from ..records import Record
from ..settings.model import Dns
from ..text import counted
from . import verdict
from .check import check
from .checked import Checked
from .published import Published
from .query import run
from .zones import is_by_hand

# The end of a run waits so many seconds for name servers, where dkim:dns:deadline is longer.
_LONGEST = 20

# What servers say of a record. Any other verdict is about the servers, or the way to them.
_SEEN = verdict.AMISS | {verdict.OK}


@dataclass(frozen=True)
class Left:
    """
    records
        The records to publish.
    unseen
        A sentence on records that no server was able to tell of, '' without any.
    """

    records: Sequence[Record]
    unseen: str = ""


def left_to_publish(
    records: Sequence[Record],
    dns: Dns,
    published: Collection[Published],
    revoked: Collection[tuple[str, str | None]] = (),
) -> Left:
    """
    Ask the authoritative servers for records, and return those that are not as desired. Of a record
    that no server was able to tell of, the published values decide.

    published
        The values that the formula has published.
    revoked
        Domain and selector of revoked keys: an absent record of theirs is right too.
    """
    known = {(one.name, one.type, one.value) for one in published}

    def is_known(record: Record) -> bool:
        was_sent = (record.name, record.type, record.value) in known
        return was_sent and not is_by_hand(dns, record.name)

    try:
        found = run(check(records, replace(dns, deadline=min(dns.deadline, _LONGEST))))
    except NoLibrary as error:
        return Left([one for one in records if not is_known(one)], str(error))
    unseen = [one for one in found if one.verdict not in _SEEN]
    left = [one.record for one in found if not is_known(one.record) and not _is_right(one, revoked)]
    return Left(left, _why(unseen))


def _is_right(checked: Checked, revoked: Collection[tuple[str, str | None]]) -> bool:
    if checked.verdict == verdict.OK:
        return True
    record = checked.record
    return checked.verdict == verdict.MISSING and (record.domain, record.selector) in revoked


def _why(unseen: Sequence[Checked]) -> str:
    if not unseen:
        return ""
    first = unseen[0]
    return (
        f"DNS could not tell of {counted(len(unseen), 'record')}: {first.record.name} "
        f"{first.record.type}: {first.detail or first.verdict}"
    )
