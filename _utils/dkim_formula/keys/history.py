"""The history of keys, with a line for each new, moved or deleted key; the database's clock."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING

from ..postgres.objects import names
from ..postgres.sql import compose
from ..record_names import selector_in_record
from ..settings.model import Database
from .model import Slot

if TYPE_CHECKING:
    import psycopg2.extensions as pg


def clock(connection: pg.connection) -> datetime:
    """Return the time of the database's clock, the only clock in the formula's comparisons."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]


def newest_line(connection: pg.connection, database: Database) -> int:
    """Return the number of the history's newest line."""
    with connection.cursor() as cursor:
        cursor.execute(compose("SELECT coalesce(max(id), 0) FROM {history}", **names(database)))
        return cursor.fetchone()[0]


def activated_after(connection: pg.connection, database: Database, line: int) -> dict[Slot, str]:
    """
    Return the slots in which a key became active after a line, each with that key's selector.

    The query compares line numbers and no times: someone may set the clock in the meantime.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            compose(
                """
                SELECT domain, address, algorithm, selector FROM {history}
                 WHERE id > %s AND to_state = 'active' AND domain IS NOT NULL
                 ORDER BY id
                """,
                **names(database),
            ),
            (line,),
        )
        return {Slot(*slot): selector for *slot, selector in cursor}


def used_selectors(
    connection: pg.connection, database: Database, domains: Collection[str]
) -> dict[str, set[str]]:
    """
    Return all selectors that each domain ever had, including those of deleted keys, by the names of
    their records: in lower case, without blanks around them.
    """
    used: dict[str, set[str]] = {domain: set() for domain in domains}
    with connection.cursor() as cursor:
        cursor.execute(
            compose(
                "SELECT DISTINCT domain, selector FROM {history} WHERE domain = ANY (%s)",
                **names(database),
            ),
            (list(domains),),
        )
        for domain, selector in cursor:
            used[domain].add(selector_in_record(selector))
    return used


def selector_used(
    connection: pg.connection, database: Database, domain: str, selector: str
) -> bool:
    """
    Return whether a domain ever had a key with a selector, including deleted keys.

    The formula never uses a selector twice: a resolver may still cache its old record. Case and
    blanks around a selector make no difference in DNS.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            compose(
                "SELECT EXISTS (SELECT FROM {history}"
                ' WHERE domain = %s AND lower(trim(selector) COLLATE "C") = %s)',
                **names(database),
            ),
            (domain, selector_in_record(selector)),
        )
        return cursor.fetchone()[0]
