"""The decision whether a person is notified of awaited records now, and reminded of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ..records import Record
from .awaited import Awaited, RecordId, record_id


@dataclass(frozen=True)
class Notice:
    """
    The content of one notification.

    waiting
        The missing records. New ones come first.
    new
        The number of missing records that no earlier notification reported.
    visible
        The reported records that every server has now.
    is_reminder
        Whether the notification reports all missing records again.
    """

    waiting: Sequence[Record] = ()
    new: int = 0
    visible: Sequence[Record] = ()
    is_reminder: bool = False

    def __bool__(self) -> bool:
        """Return whether a notification is due."""
        return bool(self.new or self.is_reminder or (self.visible and not self.waiting))


def due_notice(
    known: Mapping[RecordId, Awaited],
    records: Mapping[RecordId, Record],
    waiting: Iterable[Record],
    now: datetime,
    every: int | None,
) -> Notice:
    """
    Return the notification that is due. It covers new missing records, or all missing records if a
    reminder is due. It also covers earlier reported records that are visible now.

    known, records
        The stored states, updated by this run's check, and all awaited records.
    waiting
        The records that servers lack, by this run's check.
    every
        Seconds from a notification to its reminder; None for no reminder.
    """
    waiting = list(waiting)
    reported = {
        record_id(one): one.reported_at for one in known.values() if one.reported_at is not None
    }
    new = [record for record in waiting if record_id(record) not in reported]
    old = [record for record in waiting if record_id(record) in reported]
    is_due = every is not None and any(
        reported[record_id(record)] + timedelta(seconds=every) <= now for record in old
    )
    visible = [
        record
        for one, record in records.items()
        if one in reported
        and known[one].visible_since is not None
        and not known[one].visible_reported
    ]
    return Notice((*new, *old), len(new), visible, is_due)


def after_notice(
    known: Mapping[RecordId, Awaited], notice: Notice, now: datetime
) -> dict[RecordId, Awaited]:
    """Return the states of records after a notification was sent."""
    found = dict(known)
    missing = notice.waiting if notice.is_reminder else notice.waiting[: notice.new]
    for record in missing:
        found[record_id(record)] = replace(found[record_id(record)], reported_at=now)
    for record in notice.visible:
        found[record_id(record)] = replace(found[record_id(record)], visible_reported=True)
    return found
