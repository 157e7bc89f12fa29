"""
The table of values that the formula has published in DNS.

A value is added before it is sent. A run that is killed in between leaves a superfluous row, which
is harmless. It never leaves a record in DNS without a row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..postgres.objects import names
from ..postgres.sql import compose
from ..settings.model import Database
from .steps import Rewritten

if TYPE_CHECKING:
    import psycopg2.extensions as pg


@dataclass(frozen=True)
class Published:
    """
    One published value.

    name
        Absolute, without a trailing dot.
    rewritten
        The form in which the provider rewrote the value; None for the same value and TTL.
    """

    domain: str
    name: str
    type: str
    value: str
    rewritten: Rewritten | None = None


def read(
    connection: pg.connection, database: Database, domains: Collection[str] | None = None
) -> list[Published]:
    """Return the published values of all domains or of some; none if the table is missing."""
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


def store_rewritten(
    connection: pg.connection, database: Database, rows: Iterable[Published]
) -> None:
    """Store the forms in which a provider rewrote published values. Does not commit."""
    with connection.cursor() as cursor:
        cursor.executemany(
            compose(
                """
                UPDATE {published} SET ttl = %s, shown = %s, shown_ttl = %s
                 WHERE name = %s AND type = %s AND value = %s
                """,
                **names(database),
            ),
            [(*_columns(row.rewritten), row.name, row.type, row.value) for row in rows],
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
    rewritten = None if ttl is None else Rewritten(value, ttl, bytes(shown), shown_ttl)
    return Published(domain, name, rtype, value, rewritten)


def _columns(rewritten: Rewritten | None) -> tuple[int | None, bytes | None, int | None]:
    if rewritten is None:
        return None, None, None
    return rewritten.ttl, rewritten.shown, rewritten.shown_ttl
