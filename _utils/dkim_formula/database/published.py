"""
The memory of what was published.

A value is remembered before it is sent: a run that is killed in between leaves a row too many,
which does no harm, and never a record in DNS that nobody owns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..settings.model import Database
from .connection import compose
from .objects import names

if TYPE_CHECKING:
    import psycopg2.extensions as pg


@dataclass(frozen=True)
class Published:
    """One value that the formula has put into DNS. ``name`` is absolute, without a last dot."""

    domain: str
    name: str
    type: str
    value: str


def published(
    connection: pg.connection, database: Database, domains: Collection[str] | None = None
) -> list[Published]:
    """What is remembered, of all domains or of some; nothing where the table is not there yet."""
    known = names(database)
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(format('%%I.%%I', %s, %s))", known["published"])
        if cursor.fetchone()[0] is None:
            return []
        cursor.execute(
            compose(
                """
                SELECT domain, name, type, value FROM {published}
                 WHERE %(domains)s IS NULL OR domain = ANY (%(domains)s)
                 ORDER BY name, type, published_at
                """,
                **known,
            ),
            {"domains": None if domains is None else list(domains)},
        )
        return [Published(*row) for row in cursor.fetchall()]


def remember(connection: pg.connection, database: Database, rows: Iterable[Published]) -> None:
    """Adds values that are about to be published. Does not commit."""
    with connection.cursor() as cursor:
        cursor.executemany(
            compose(
                """
                INSERT INTO {published} (domain, name, type, value) VALUES (%s, %s, %s, %s)
                    ON CONFLICT (name, type, md5(value)) DO NOTHING
                """,
                **names(database),
            ),
            [(row.domain, row.name, row.type, row.value) for row in rows],
        )


def forget(connection: pg.connection, database: Database, rows: Iterable[Published]) -> None:
    """Removes values that are in DNS no more. Does not commit."""
    with connection.cursor() as cursor:
        cursor.executemany(
            compose(
                "DELETE FROM {published} WHERE name = %s AND type = %s AND value = %s",
                **names(database),
            ),
            [(row.name, row.type, row.value) for row in rows],
        )
