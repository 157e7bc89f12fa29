"""
Awaited records: records that a person has to publish.

Their table holds when the person was notified, and since when every server has the record.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from ..postgres.objects import LOCK_AWAITED, LOCK_CLASS, names
from ..postgres.sql import compose, copy_rows
from ..records import Record
from ..settings.model import Database

if TYPE_CHECKING:
    import psycopg2.extensions as pg

RecordId = tuple[str, str, str]
_COLUMNS = (
    "domain",
    "name",
    "type",
    "value",
    "reported_at",
    "visible_since",
    "last_visible_at",
    "visible_reported",
)


@dataclass(frozen=True)
class Awaited:
    """
    The stored state of one awaited record.

    reported_at
        The time of the last notification that the record is missing; None without a notification.
    visible_since, last_visible_at
        The first and the last of the successive checks that found the record at every server.
    visible_reported
        Whether a notification reported that the record is visible.
    """

    domain: str
    name: str
    type: str
    value: str
    reported_at: datetime | None = None
    visible_since: datetime | None = None
    last_visible_at: datetime | None = None
    visible_reported: bool = False

    @classmethod
    def of(cls, record: Record) -> Awaited:
        """Return the state of a record without checks and notifications."""
        return cls(record.domain, record.name, record.type, record.value)


def record_id(record: Record | Awaited) -> RecordId:
    """Return the name, type and value, which identify a record."""
    return record.name, record.type, record.value


def after_check(
    known: Mapping[RecordId, Awaited],
    waiting: Iterable[Record],
    visible: Iterable[Record],
    now: datetime,
) -> dict[RecordId, Awaited]:
    """Return the states of records after a check of some of them."""
    found = dict(known)
    for record in visible:
        one = found.get(record_id(record), Awaited.of(record))
        found[record_id(one)] = replace(
            one, visible_since=one.visible_since or now, last_visible_at=now
        )
    for record in waiting:
        one = found.get(record_id(record), Awaited.of(record))
        found[record_id(one)] = replace(one, visible_since=None, visible_reported=False)
    return found


@contextmanager
def lock(connection: pg.connection) -> Iterator[bool]:
    """Lock the table of awaited records; yield False where another run holds the lock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", (LOCK_CLASS, LOCK_AWAITED))
        (has_lock,) = cursor.fetchone()
        try:
            yield has_lock
        finally:
            if has_lock and not connection.closed:
                connection.rollback()
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", (LOCK_CLASS, LOCK_AWAITED))
                connection.commit()


def read(connection: pg.connection, database: Database) -> dict[RecordId, Awaited]:
    """Return the stored states of all awaited records."""
    with connection.cursor() as cursor:
        cursor.execute(compose(f"SELECT {', '.join(_COLUMNS)} FROM {{awaited}}", **names(database)))
        rows = [Awaited(*row) for row in cursor]
    return {record_id(row): row for row in rows}


def store(
    connection: pg.connection,
    database: Database,
    before: Mapping[RecordId, Awaited],
    after: Mapping[RecordId, Awaited],
    removed: Collection[RecordId] = (),
) -> None:
    """
    Store the states that changed. Does not commit.

    removed
        Records that are no longer awaited.
    """
    changed = [one for one in after.values() if before.get(record_id(one)) != one]
    gone = [*removed, *(record_id(one) for one in changed)]
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
