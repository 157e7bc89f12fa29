"""The evidence of rotations: what DNS was seen to show, and private keys to be disclosed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import astuple, dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING

from ..postgres.catalog import relation_kind
from ..rotation.evidence import Evidence
from ..secret import Secret
from ..settings.model import Database
from . import quiet
from .connection import compose, copy_rows
from .objects import names

if TYPE_CHECKING:
    import psycopg2.extensions as pg

_COLUMNS = tuple(one.name for one in fields(Evidence))


def clock(connection: pg.connection) -> datetime:
    """The database's clock: the only one that moments are taken from and compared with."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]


def history_mark(connection: pg.connection, database: Database) -> int:
    """The newest line of the history: what comes after it has happened since."""
    with connection.cursor() as cursor:
        cursor.execute(compose("SELECT coalesce(max(id), 0) FROM {history}", **names(database)))
        return cursor.fetchone()[0]


def switched_since(
    connection: pg.connection, database: Database, mark: int
) -> dict[tuple[str, str, str], str]:
    """
    The slots (domain, address, algorithm) in which a key became active since a mark, each with
    that key's selector. No clock is asked, which might have been set meanwhile.
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
            (mark,),
        )
        return {(domain, address, alg): selector for domain, address, alg, selector in cursor}


def used_selectors(
    connection: pg.connection, database: Database, domains: Collection[str]
) -> dict[str, set[str]]:
    """Every selector that each domain ever had, deleted keys included."""
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
            used[domain].add(selector)
    return used


def read(
    connection: pg.connection, database: Database, numbers: Collection[int]
) -> dict[int, Evidence]:
    """The evidence of keys, by their ids."""
    with connection.cursor() as cursor:
        cursor.execute(
            compose(
                f"SELECT dkim_id, {', '.join(_COLUMNS)} FROM {{seen}} WHERE dkim_id = ANY (%s)",
                **names(database),
            ),
            (list(numbers),),
        )
        return {number: Evidence(*row) for number, *row in cursor}


def write(connection: pg.connection, database: Database, rows: Mapping[int, Evidence]) -> None:
    """Stores evidence by the keys' ids; that of a key which is gone is passed over. No commit."""
    if not rows:
        return
    columns = ("dkim_id", *_COLUMNS)
    with connection.cursor() as cursor:
        cursor.execute(
            compose(
                "CREATE TEMPORARY TABLE dkim_looked (LIKE {seen}) ON COMMIT DROP", **names(database)
            )
        )
        copy_rows(
            cursor,
            "dkim_looked",
            columns,
            ((number, *astuple(evidence)) for number, evidence in rows.items()),
        )
        listed = ", ".join(columns)
        updated = ", ".join(f"{column} = excluded.{column}" for column in _COLUMNS)
        cursor.execute(
            compose(
                f"""
                INSERT INTO {{seen}} ({listed})
                SELECT {", ".join(f"l.{column}" for column in columns)}
                  FROM pg_temp.dkim_looked AS l JOIN {{dkim}} AS k ON k.id = l.dkim_id
                ON CONFLICT (dkim_id) DO UPDATE SET {updated}
                """,
                **names(database),
            )
        )
        cursor.execute("DROP TABLE pg_temp.dkim_looked")


@dataclass(frozen=True)
class Disclosure:
    """
    A revoked key whose private half is to be made public. ``repr`` does not show it.

    ttl
        The longest of the records that were seen at its name, in seconds; None where none was.
    seen_since
        Since when every look has found the key gone from DNS; None where the last one did not.
    """

    id: int
    domain: str
    selector: str
    algorithm: str
    public: str
    ttl: int | None
    seen_since: datetime | None
    key: Secret = field(repr=False)


def keep_for_disclosure(
    connection: pg.connection, database: Database, numbers: Collection[int]
) -> None:
    """Before their revocation: copies private keys to where they wait. Does not commit."""
    with connection.cursor() as cursor:
        quiet.change(
            cursor,
            compose(
                """
                INSERT INTO {disclosure}
                       (dkim_id, domain, selector, algorithm, public_key, key, ttl)
                SELECT k.id, coalesce(k.domain, ''), k.selector, k.algorithm, k.public_key, k.key,
                       greatest(s.ttl, s.other_ttl)
                  FROM {dkim} AS k
                  LEFT JOIN {seen} AS s ON s.dkim_id = k.id
                 WHERE k.id = ANY (%s) AND k.key IS NOT NULL AND k.public_key IS NOT NULL
                ON CONFLICT (dkim_id) DO NOTHING
                """,
                **names(database),
            ),
            (list(numbers),),
        )


def disclosures(connection: pg.connection, database: Database) -> list[Disclosure]:
    """What waits for its disclosure; nothing before the migration that makes the table."""
    with connection.cursor() as cursor:
        if not relation_kind(cursor, database.schema, "dkim_disclosure"):
            return []
        cursor.execute(
            compose(
                """
                SELECT dkim_id, domain, selector, algorithm, public_key, ttl, seen_since, key
                  FROM {disclosure} ORDER BY domain, dkim_id
                """,
                **names(database),
            )
        )
        return [Disclosure(*row, Secret(key)) for *row, key in cursor]


def see_disclosures(
    connection: pg.connection,
    database: Database,
    gone: Collection[int],
    there: Collection[int],
    at: datetime,
) -> None:
    """
    Stores what a look found of keys that wait for their disclosure. Does not commit.

    gone, there
        Those that no server shows any more, and those that one does, or may.
    at
        The moment of the look.
    """
    statement = """
        UPDATE {disclosure}
           SET seen_since = CASE WHEN dkim_id = ANY (%s) THEN coalesce(seen_since, %s) END
         WHERE dkim_id = ANY (%s)
    """
    with connection.cursor() as cursor:
        quiet.change(
            cursor,
            compose(statement, **names(database)),
            (list(gone), at, [*gone, *there]),
        )


def forget_disclosures(
    connection: pg.connection, database: Database, numbers: Collection[int]
) -> None:
    """Erases private keys that waited. Does not commit."""
    with connection.cursor() as cursor:
        cursor.execute(
            compose("DELETE FROM {disclosure} WHERE dkim_id = ANY (%s)", **names(database)),
            (list(numbers),),
        )
