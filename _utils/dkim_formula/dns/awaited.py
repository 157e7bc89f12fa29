"""
Awaited records: those that a person publishes. The table has when somebody was told, and since when
every server is seen to have the record.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ..postgres.objects import LOCK_AWAITED, LOCK_CLASS, names
from ..postgres.sql import compose, copy_rows
from ..records import Record
from ..settings.model import Database

if TYPE_CHECKING:
    import psycopg2.extensions as pg

Called = tuple[str, str, str]
_COLUMNS = (
    "domain",
    "name",
    "type",
    "value",
    "told_at",
    "seen_at",
    "last_seen_at",
    "seen_told",
)


@dataclass(frozen=True)
class Awaited:
    """
    What is known of one awaited record.

    told_at
        When somebody was told last that the record is missing; None where nobody was.
    seen_at, last_seen_at
        The first and the last of the successive looks that found the record at every server.
    seen_told
        Whether somebody was told that the record is there.
    """

    domain: str
    name: str
    type: str
    value: str
    told_at: datetime | None = None
    seen_at: datetime | None = None
    last_seen_at: datetime | None = None
    seen_told: bool = False

    @classmethod
    def of(cls, record: Record) -> Awaited:
        """Return a record of which nothing is known yet."""
        return cls(record.domain, record.name, record.type, record.value)


def called(record: Record | Awaited) -> Called:
    """Return what identifies a record."""
    return record.name, record.type, record.value


@dataclass(frozen=True)
class News:
    """
    What a person is told.

    waiting
        The records that wait, those first that nobody was told of.
    new
        How many of them nobody was told of.
    seen
        The records that a person was told of, and that are there now.
    is_reminder
        Whether all that waits is told again.
    """

    waiting: Sequence[Record] = ()
    new: int = 0
    seen: Sequence[Record] = ()
    is_reminder: bool = False

    def __bool__(self) -> bool:
        """Tell whether there is anything to tell."""
        return bool(self.new or self.is_reminder or (self.seen and not self.waiting))


def news(
    known: Mapping[Called, Awaited],
    records: Mapping[Called, Record],
    waiting: Iterable[Record],
    now: datetime,
    every: int | None,
) -> News:
    """
    Return what a person is to be told: of records that are new, of all that wait where a reminder
    is due, and that nothing waits any more.

    known, records
        What is known after this run's look, and all awaited records.
    waiting
        The records that servers were seen to lack.
    every
        Seconds from a mail to its reminder; None for no reminder.
    """
    waiting = list(waiting)
    told = {called(one): one.told_at for one in known.values() if one.told_at is not None}
    new = [record for record in waiting if called(record) not in told]
    old = [record for record in waiting if called(record) in told]
    is_due = every is not None and any(
        told[called(record)] + timedelta(seconds=every) <= now for record in old
    )
    there = [
        record
        for one, record in records.items()
        if one in told and known[one].seen_at is not None and not known[one].seen_told
    ]
    return News((*new, *old), len(new), there, is_due)


def after_look(
    known: Mapping[Called, Awaited],
    waiting: Iterable[Record],
    seen: Iterable[Record],
    now: datetime,
) -> dict[Called, Awaited]:
    """Return what is known after a look at some records."""
    found = dict(known)
    for record in seen:
        one = found.get(called(record), Awaited.of(record))
        found[called(one)] = replace(one, seen_at=one.seen_at or now, last_seen_at=now)
    for record in waiting:
        one = found.get(called(record), Awaited.of(record))
        found[called(one)] = replace(one, seen_at=None, seen_told=False)
    return found


def after_telling(
    known: Mapping[Called, Awaited], told: News, now: datetime
) -> dict[Called, Awaited]:
    """Return what is known after a person was told."""
    found = dict(known)
    again = told.waiting if told.is_reminder else told.waiting[: told.new]
    for record in again:
        found[called(record)] = replace(found[called(record)], told_at=now)
    for record in told.seen:
        found[called(record)] = replace(found[called(record)], seen_told=True)
    return found


@contextmanager
def telling(connection: pg.connection) -> Iterator[bool]:
    """Let one run tell at a time; yield False where another run is at it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", (LOCK_CLASS, LOCK_AWAITED))
        (is_mine,) = cursor.fetchone()
        try:
            yield is_mine
        finally:
            if is_mine and not connection.closed:
                connection.rollback()
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", (LOCK_CLASS, LOCK_AWAITED))
                connection.commit()


def read(connection: pg.connection, database: Database) -> dict[Called, Awaited]:
    """Return what is known of all awaited records."""
    with connection.cursor() as cursor:
        cursor.execute(compose(f"SELECT {', '.join(_COLUMNS)} FROM {{awaited}}", **names(database)))
        rows = [Awaited(*row) for row in cursor]
    return {called(row): row for row in rows}


def store(
    connection: pg.connection,
    database: Database,
    before: Mapping[Called, Awaited],
    after: Mapping[Called, Awaited],
    forgotten: Collection[Called] = (),
) -> None:
    """
    Store what has changed. Does not commit.

    forgotten
        Records that are awaited no more.
    """
    changed = [one for one in after.values() if before.get(called(one)) != one]
    gone = [*forgotten, *(called(one) for one in changed)]
    if not gone:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMPORARY TABLE dkim_gone (name text, type text, value text) ON COMMIT DROP"
        )
        copy_rows(cursor, "dkim_gone", ("name", "type", "value"), gone)
        cursor.execute(
            compose(
                """
                DELETE FROM {awaited} AS a USING pg_temp.dkim_gone AS g
                 WHERE a.name = g.name AND a.type = g.type AND a.value = g.value
                """,
                **names(database),
            )
        )
        cursor.execute("DROP TABLE pg_temp.dkim_gone")
        cursor.execute(
            compose(
                "CREATE TEMPORARY TABLE dkim_found (LIKE {awaited}) ON COMMIT DROP",
                **names(database),
            )
        )
        rows = (tuple(getattr(one, column) for column in _COLUMNS) for one in changed)
        copy_rows(cursor, "dkim_found", _COLUMNS, rows)
        columns = ", ".join(_COLUMNS)
        cursor.execute(
            compose(
                f"""
                INSERT INTO {{awaited}} ({columns}) SELECT {columns} FROM pg_temp.dkim_found
                    ON CONFLICT (name, type, md5(value)) DO NOTHING
                """,
                **names(database),
            )
        )
        cursor.execute("DROP TABLE pg_temp.dkim_found")
