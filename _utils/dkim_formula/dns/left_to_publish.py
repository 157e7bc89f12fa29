"""Records that a person still has to publish: desired records that servers do not show."""

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
from .zones import has_manual_zone

# The end of a run waits at most this many seconds for name servers, even if dkim:dns:deadline is
# longer.
_LONGEST = 20

# Verdicts about the record. Any other verdict is about the servers or the network.
_ABOUT_RECORD = verdict.AMISS | {verdict.OK}


@dataclass(frozen=True)
class Left:
    """
    The records to publish, and the records in an unknown state.

    unknown
        A sentence on records whose check failed; empty if there are none.
    """

    records: Sequence[Record]
    unknown: str = ""


def left_to_publish(
    records: Sequence[Record],
    dns: Dns,
    published: Collection[Published],
    revoked: Collection[tuple[str, str | None]] = (),
) -> Left:
    """
    Ask the authoritative servers for records, and return the records that are not as desired. If
    the check of a record fails, the published values decide.

    published
        The values that the formula has published.
    revoked
        Domain and selector of revoked keys: their records may also be missing.
    """
    known = {(one.name, one.type, one.value) for one in published}

    def is_known(record: Record) -> bool:
        was_sent = (record.name, record.type, record.value) in known
        return was_sent and not has_manual_zone(dns, record.name)

    try:
        found = run(check(records, replace(dns, deadline=min(dns.deadline, _LONGEST))))
    except NoLibrary as error:
        return Left([one for one in records if not is_known(one)], str(error))
    unknown = [one for one in found if one.verdict not in _ABOUT_RECORD]
    left = [one.record for one in found if not is_known(one.record) and not _is_right(one, revoked)]
    return Left(left, _failure_text(unknown))


def _is_right(checked: Checked, revoked: Collection[tuple[str, str | None]]) -> bool:
    if checked.verdict == verdict.OK:
        return True
    record = checked.record
    return checked.verdict == verdict.MISSING and (record.domain, record.selector) in revoked


def _failure_text(unknown: Sequence[Checked]) -> str:
    if not unknown:
        return ""
    first = unknown[0]
    return (
        f"DNS check failed for {counted(len(unknown), 'record')}: {first.record.name} "
        f"{first.record.type}: {first.detail or first.verdict}"
    )
