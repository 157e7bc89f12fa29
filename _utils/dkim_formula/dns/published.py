"""
Published values: the table of what the formula has put into DNS.

A value is added before it is sent. A run that is killed in between leaves a row too many, which
does no harm, and never a record in DNS that the formula does not know.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..postgres.objects import names
from ..postgres.sql import compose
from ..settings.model import Database
from .steps import Made

if TYPE_CHECKING:
    import psycopg2.extensions as pg


@dataclass(frozen=True)
class Published:
    """
    One published value.

    name
        Absolute, without a trailing dot.
    made
        What the provider made of the value; None where it shows the very value and TTL.
    """

    domain: str
    name: str
    type: str
    value: str
    made: Made | None = None


def read(
    connection: pg.connection, database: Database, domains: Collection[str] | None = None
) -> list[Published]:
    """Return the published values of all domains or of some; none where the table is missing."""
    known = names(database)
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(format('%%I.%%I', %s, %s))", known["published"])
        if cursor.fetchone()[0] is None:
            return []
        cursor.execute(
            compose(
                """
                SELECT domain, name, type, value, ttl, shown, shown_ttl FROM {published}
                 WHERE %(domains)s IS NULL OR domain = ANY (%(domains)s)
                 ORDER BY name, type, published_at
                """,
                **known,
            ),
            {"domains": None if domains is None else list(domains)},
        )
        return [_published(*row) for row in cursor.fetchall()]


def add(connection: pg.connection, database: Database, rows: Iterable[Published]) -> None:
    """Add values that are about to be published. Does not commit."""
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


def remember(connection: pg.connection, database: Database, rows: Iterable[Published]) -> None:
    """Store what a provider made of published values. Does not commit."""
    with connection.cursor() as cursor:
        cursor.executemany(
            compose(
                """
                UPDATE {published} SET ttl = %s, shown = %s, shown_ttl = %s
                 WHERE name = %s AND type = %s AND value = %s
                """,
                **names(database),
            ),
            [(*_columns(row.made), row.name, row.type, row.value) for row in rows],
        )


def remove(connection: pg.connection, database: Database, rows: Iterable[Published]) -> None:
    """Remove values that are no longer in DNS. Does not commit."""
    with connection.cursor() as cursor:
        cursor.executemany(
            compose(
                "DELETE FROM {published} WHERE name = %s AND type = %s AND value = %s",
                **names(database),
            ),
            [(row.name, row.type, row.value) for row in rows],
        )


def _published(
    domain: str,
    name: str,
    rtype: str,
    value: str,
    ttl: int | None,
    shown: memoryview | None,
    shown_ttl: int | None,
) -> Published:
    made = None if ttl is None else Made(value, ttl, bytes(shown), shown_ttl)
    return Published(domain, name, rtype, value, made)


def _columns(made: Made | None) -> tuple[int | None, bytes | None, int | None]:
    return (None, None, None) if made is None else (made.ttl, made.shown, made.shown_ttl)
