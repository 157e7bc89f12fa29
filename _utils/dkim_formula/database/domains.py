"""The site's domains: reading them, and adding to a table that the formula made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import DatabaseError
from ..names import SERVED_DOMAIN
from ..settings.model import Database
from .connection import compose, copy_rows
from .inspection import relation_kind
from .migrations.m0001_domains import MARK
from .objects import names as known_names

if TYPE_CHECKING:
    import psycopg2.extensions as pg


def hosted(connection: pg.connection, database: Database) -> dict[str, object]:
    """Every domain of the site's table, if there is one: its name as it stands there, to its id."""
    with connection.cursor() as cursor:
        if not _is_there(cursor, database):
            return {}
        cursor.execute(
            compose(
                """
                SELECT {domain_name}::text, {domain_id} FROM {domains}
                 WHERE {domain_name} IS NOT NULL
                 ORDER BY {domain_name}::text COLLATE "C"
                """,
                **known_names(database),
            )
        )
        return dict(cursor.fetchall())


def odd(connection: pg.connection, database: Database, longest: int) -> list[str]:
    """
    The names of the table that OpenDKIM never looks up, and those longer than ``longest``; sorted.
    Rows without a name are left out.
    """
    with connection.cursor() as cursor:
        if not _is_there(cursor, database):
            return []
        cursor.execute(
            compose(
                """
                SELECT DISTINCT {domain_name}::text FROM {domains}
                 WHERE {domain_name}::text !~ %s OR length({domain_name}::text) > %s
                 ORDER BY 1
                """,
                **known_names(database),
            ),
            (SERVED_DOMAIN, longest),
        )
        return [name for (name,) in cursor]


def missing(connection: pg.connection, database: Database, names: Iterable[str]) -> list[str]:
    """Those of ``names`` that the table has not, sorted."""
    with connection.cursor() as cursor:
        if not _is_there(cursor, database):
            return sorted(set(names))
        cursor.execute(
            compose(
                """
                SELECT w.name FROM unnest(%s::text[]) AS w (name)
                EXCEPT
                SELECT {domain_name}::text FROM {domains}
                ORDER BY 1
                """,
                **known_names(database),
            ),
            (list(names),),
        )
        return [name for (name,) in cursor]


def may_insert(connection: pg.connection, database: Database) -> bool:
    """
    Whether missing domains may be inserted: as ``create_missing`` says, and where that is None,
    whether the formula made the table.
    """
    if database.domains.create_missing is not None:
        return database.domains.create_missing
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT obj_description(c.oid, 'pg_class') = %s
              FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE n.nspname = %s AND c.relname = %s
            """,
            (MARK, database.domains.schema, database.domains.table),
        )
        row = cursor.fetchone()
    # Without a table the formula is about to make one.
    return True if row is None else bool(row[0])


def insert_missing(
    connection: pg.connection, database: Database, names: Iterable[str]
) -> list[str]:
    """
    Inserts the domains that the table has not, and gives those that it inserted, sorted. Does not
    commit.

    Raises DatabaseError where that is not allowed, and where the table wants more than a name.
    """
    absent = missing(connection, database, names)
    if not absent:
        return []
    if not may_insert(connection, database):
        raise DatabaseError(
            f"not in {database.domains.schema}.{database.domains.table}: {', '.join(absent)}; add "
            "them with the site's own tool, or set dkim:database:domains:create_missing to true"
        )
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMPORARY TABLE dkim_new_domains (name text) ON COMMIT DROP",
        )
        copy_rows(cursor, "dkim_new_domains", ("name",), ((name,) for name in absent))
        cursor.execute(
            compose(
                """
                INSERT INTO {domains} ({domain_name})
                SELECT w.name FROM pg_temp.dkim_new_domains AS w
                 WHERE NOT EXISTS
                       (SELECT FROM {domains} AS d WHERE d.{domain_name}::text = w.name)
                 ORDER BY w.name
                ON CONFLICT DO NOTHING
                RETURNING {domain_name}::text
                """,
                **known_names(database),
            )
        )
        inserted = sorted(name for (name,) in cursor)
        cursor.execute("DROP TABLE pg_temp.dkim_new_domains")
    return inserted


def _is_there(cursor: pg.cursor, database: Database) -> bool:
    return relation_kind(cursor, database.domains.schema, database.domains.table) is not None
