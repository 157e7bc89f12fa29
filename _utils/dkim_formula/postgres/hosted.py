"""
The hosted domains: names in the mail database's own tables, which are only read.

The functions ``dkim_hosted_rows`` and ``dkim_hosted`` contain the query as text. A view on another
program's table prevents that program from altering the table ("cannot alter type of a column used
by a view", measured). A function does not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ..names import MAX_NAME
from ..settings.model import Database, HostedTable
from . import preset_recognition
from .catalog import columns, relation_kind
from .conditions import served_domain
from .connection import report_stand_in, session
from .driver import driver
from .objects import names as known_names
from .sql import compose

if TYPE_CHECKING:
    import psycopg2.extensions as pg
    import psycopg2.sql

# A row of another program's table counts if its name has two labels or more: mail panels use rows
# like 'ALL' and 'admin' for other purposes. A name of one label needs an entry in dkim:domains.
# The first condition holds for most names, so that the second is not evaluated for them: this
# saves a third of the time (measured).
READABLE = (
    """((name ~ '^([a-z0-9_-]+[.])+[a-z]+$' AND length(name) <= 63) OR """
    f"({served_domain('lower(name)')} AND strpos(name, '.') > 0 AND length(name) <= {MAX_NAME}))"
)

# The rows that READABLE is a condition on. With collation "C" lower() gives ASCII for ASCII, where
# a Turkish one gives a dotless i, and a nondeterministic one takes no regular expression.
_ROWS = 'SELECT name COLLATE "C" AS name, is_alias FROM {hosted_rows} ()'
_NO_ROWS = "SELECT NULL::text AS name, false AS is_alias WHERE false"


def tables(database: Database) -> list[tuple[str, HostedTable]]:
    """Return the tables that hosted domains are read from, each with its pillar key."""
    found = [("dkim:database:domains", database.domains)]
    if database.aliases is not None:
        found.append(("dkim:database:aliases", database.aliases))
    return found


def present(cursor: pg.cursor, database: Database) -> list[HostedTable]:
    """Return those of the tables that exist, with the conditions on the rows that count."""
    return [
        with_flags(cursor, database, table)
        for _, table in tables(database)
        if relation_kind(cursor, table.schema, table.table) is not None
    ]


def with_flags(cursor: pg.cursor, database: Database, table: HostedTable) -> HostedTable:
    """
    Return the table with the flags of the known program that made it, if the pillar has no
    condition on the rows.
    """
    if database.only_given or table != database.domains:
        return table
    return preset_recognition.flags(cursor, table)


def rows_query(cursor: pg.cursor, database: Database) -> str:
    """
    Return the text of the query for the ``name`` of each row that counts, with duplicates, and
    whether the row ``is_alias``, one of the table of alias domains.
    """
    sql = driver().sql
    parts = [
        sql.SQL("SELECT name, {} AS is_alias FROM ({}) AS t").format(
            sql.Literal(table == database.aliases), _select(table)
        )
        for table in present(cursor, database)
    ]
    if not parts:
        return _NO_ROWS
    if len(parts) == 2:
        # Aliases need a domain: the query has no rows if the table of domains is empty.
        parts[1] = sql.SQL("SELECT * FROM ({}) AS a WHERE EXISTS ({})").format(*parts[::-1])
    return sql.SQL("\nUNION ALL\n").join(parts).as_string(cursor)


def functions(cursor: pg.cursor, database: Database) -> list[str]:
    """Return the statements that define ``dkim_hosted_rows`` and ``dkim_hosted``."""
    sql = driver().sql
    known = known_names(database)
    rows = rows_query(cursor, database)
    domains = compose(
        f"SELECT DISTINCT lower(name) FROM ({_ROWS}) AS r WHERE {READABLE}", **known
    ).as_string(cursor)
    return [
        (
            compose(f"CREATE OR REPLACE FUNCTION {{{name}}} ()", **known)
            + sql.SQL(
                f" RETURNS TABLE ({returned}) LANGUAGE sql STABLE SECURITY DEFINER ROWS 100000"
                " SET search_path = pg_catalog, pg_temp AS "
            )
            + sql.Literal(body)
        ).as_string(cursor)
        for name, returned, body in (
            ("hosted_rows", "name text, is_alias boolean", rows),
            ("hosted", "domain text", domains),
        )
    ]


def columns_read(
    cursor: pg.cursor, database: Database
) -> list[tuple[HostedTable, tuple[str, ...]]]:
    """Return the columns that the query reads, by table."""
    return [
        (table, tuple(dict.fromkeys((table.name, *(column for column, _ in table.only)))))
        for table in present(cursor, database)
    ]


def hosted(connection: pg.connection, database: Database) -> list[str]:
    """Return the hosted domains' names, in lower case, each once, sorted."""
    with source(connection, database) as (cursor, rows):
        cursor.execute(f"SELECT DISTINCT lower(name) FROM ({rows}) AS r WHERE {READABLE}")
        return sorted(name for (name,) in cursor)


def every_name(
    connection: pg.connection, database: Database
) -> tuple[list[str], list[str], list[str]]:
    """
    Return the result of :func:`hosted`, the unchanged names of rows that it leaves out, and those
    of both that only the table of alias domains has.
    """
    with source(connection, database) as (cursor, rows):
        cursor.execute(
            f"SELECT CASE WHEN is_read THEN lower(name) ELSE name END, is_read, bool_and(is_alias)"
            f"  FROM (SELECT name, is_alias, {READABLE} AS is_read FROM ({rows}) AS r OFFSET 0)"
            "    AS n WHERE name IS NOT NULL GROUP BY 1, 2"
        )
        found = cursor.fetchall()
    others = [name for name, is_read, _ in found if not is_read]
    aliases = [name for name, _, is_alias in found if is_alias]
    return sorted(name for name, is_read, _ in found if is_read), others, aliases


def missing_table(cursor: pg.cursor, database: Database, is_expected: bool) -> str:
    """
    Return the name of a table of domains that is missing and should exist, or ''.

    is_expected
        Whether the table should exist even if the pillar names none.
    """
    absent = [
        f"{table.schema}.{table.table}"
        for _, table in tables(database)
        if relation_kind(cursor, table.schema, table.table) is None
    ]
    if not absent:
        return ""
    if database.assumed and not is_expected:
        schema, keys = known_names(database)["dkim"]
        # The howto's column, or a function that reads a table, shows that a table existed.
        if "domain_id" not in columns(cursor, schema, keys) and _body(cursor, database) == _NO_ROWS:
            return ""
    return absent[0]


def empty_table(connection: pg.connection, database: Database, also_aliases: bool = False) -> str:
    """
    Return the name of the table of domains if no row counts, else ''.

    also_aliases
        Whether the table of alias domains may not be empty either.
    """
    asked = [(database.domains, "true")]
    if also_aliases and database.aliases is not None:
        asked.append((database.aliases, "is_alias"))
    with source(connection, database) as (cursor, rows):
        for table, condition in asked:
            if relation_kind(cursor, table.schema, table.table) is None:
                continue
            cursor.execute(f"SELECT EXISTS (SELECT FROM ({rows}) AS r WHERE {condition})")
            if not cursor.fetchone()[0]:
                return f"{table.schema}.{table.table}"
    return ""


@contextlib.contextmanager
def source(connection: pg.connection, database: Database) -> Iterator[tuple[pg.cursor, str]]:
    """
    Yield the cursor of a session that may read the rows, and the query for them.

    The names have collation "C". The query calls ``dkim_hosted_rows``. Before the first run, and
    before the next run after a change of the pillar or of a table, the query reads the tables
    themselves. A set-up session runs it if the given session may not.
    """
    known = known_names(database)
    with connection.cursor() as cursor:
        by_table = columns_read(cursor, database)
        owner = database.keys_owner
        if is_up_to_date(cursor, database) and not unreadable_columns(cursor, by_table, owner):
            yield cursor, compose(_ROWS, **known).as_string(cursor)
            return
        rows = rows_query(cursor, database)
        if not unreadable_columns(cursor, by_table):
            yield cursor, rows
            return
    with session(database, setup=True) as setup, setup.cursor() as cursor:
        report_stand_in(setup, database, "can't read the tables of domains yet")
        yield cursor, rows


def unreadable_columns(
    cursor: pg.cursor,
    by_table: Iterable[tuple[HostedTable, tuple[str, ...]]],
    role: str | None = None,
) -> list[tuple[str, str, str]]:
    """
    Return the columns, as (schema, table, column), that a role may not read.

    by_table
        The columns to read, as :func:`columns_read` returns them.
    role
        None: the session's role.
    """
    needed = [(table.schema, table.table, column) for table, names in by_table for column in names]
    if not needed:
        return []
    cursor.execute(
        """
        SELECT w.namespace, w.relation, w.attribute
          FROM unnest(%s::text[], %s::text[], %s::text[]) AS w (namespace, relation, attribute)
          JOIN pg_namespace AS n ON n.nspname = w.namespace
          JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.relation
          JOIN pg_roles AS r ON r.rolname = coalesce(%s, current_user)
         WHERE NOT has_column_privilege(r.oid, c.oid, w.attribute, 'SELECT')
            OR NOT has_schema_privilege(r.oid, n.oid, 'USAGE')
        """,
        (*map(list, zip(*needed, strict=True)), role),
    )
    return cursor.fetchall()


def not_hosted(connection: pg.connection, database: Database, names: Iterable[str]) -> list[str]:
    """Return those of ``names`` that are not hosted, sorted."""
    sought = set(names)
    if not sought:
        return []
    with source(connection, database) as (cursor, rows):
        # Not as an argument of execute: a value of the pillar in ``rows`` may contain a %.
        listed = driver().sql.Literal(sorted(sought)).as_string(cursor)
        cursor.execute(
            f"SELECT DISTINCT lower(name) FROM ({rows}) AS r"
            f" WHERE lower(name) = ANY ({listed}) AND {READABLE}"
        )
        return sorted(sought.difference(name for (name,) in cursor))


def count_left_out(connection: pg.connection, database: Database) -> int:
    """Return the number of rows without a domain name."""
    with source(connection, database) as (cursor, rows):
        cursor.execute(f"SELECT count(*) FROM ({rows}) AS r WHERE name IS NULL OR NOT ({READABLE})")
        return cursor.fetchone()[0]


def filter_advice(cursor: pg.cursor, database: Database) -> list[str]:
    """Return a sentence for each table whose ``only`` leaves out rows. Needs a set-up session."""
    found = []
    for table in present(cursor, database):
        if not table.only:
            continue
        every = replace(table, only=())
        cursor.execute(
            driver()
            .sql.SQL("SELECT (SELECT count(*) FROM ({}) AS e) - (SELECT count(*) FROM ({}) AS r)")
            .format(_select(every), _select(table))
        )
        if count := cursor.fetchone()[0]:
            found.append(
                f"{table.schema}.{table.table}: rows that `only` "
                f"({preset_recognition.conditions(table)}) leaves out, so that the formula makes "
                f"no keys for them: {count}"
            )
    return found


def odd_names(connection: pg.connection, database: Database, longest: int) -> list[str]:
    """Return the names of rows that are left out, and names longer than ``longest``, sorted."""
    with source(connection, database) as (cursor, rows):
        cursor.execute(
            f"SELECT DISTINCT name FROM ({rows}) AS r WHERE name IS NOT NULL"
            f" AND (NOT ({READABLE}) OR length(name) > {longest}) ORDER BY 1"
        )
        return [name for (name,) in cursor]


def is_up_to_date(cursor: pg.cursor, database: Database) -> bool:
    """
    Return whether the functions exist and contain the pillar's query.

    They do not before the first run, and before the next run after a change of the pillar.
    """
    return _body(cursor, database) == rows_query(cursor, database)


def _body(cursor: pg.cursor, database: Database) -> str | None:
    """Return the text of the function ``dkim_hosted_rows``, or None if it is missing."""
    schema, function = known_names(database)["hosted_rows"]
    cursor.execute(
        """
        SELECT p.prosrc FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
         WHERE n.nspname = %s AND p.proname = %s AND p.pronargs = 0
        """,
        (schema, function),
    )
    row = cursor.fetchone()
    return None if row is None else row[0]


def problems(cursor: pg.cursor, database: Database) -> list[str]:
    """Return the problems of the tables, columns and values that the pillar names."""
    found = []
    for where, table in tables(database):
        # Only the first kind of problem of a table, because the others follow from it.
        found += _table_problems(cursor, database, where, table)
    return found


def _table_problems(
    cursor: pg.cursor, database: Database, where: str, table: HostedTable
) -> list[str]:
    name = f"{table.schema}.{table.table}"
    if relation_kind(cursor, table.schema, table.table) not in ("r", "p", "v", "m", "f"):
        if database.assumed:
            return []
        return [
            f"{where}:table: there is no table {name} in the database {database.name}; name the "
            "table of domains, or remove preset and domains if the database has none"
        ]
    present_columns = columns(cursor, table.schema, table.table)
    named = [("name", table.name), *((f"only:{column}", column) for column, _ in table.only)]
    unknown = [
        f"{where}:{key}: {name} has no column {column!r}; use one of {', '.join(present_columns)}"
        for key, column in named
        if column not in present_columns
    ]
    if unknown:
        return unknown
    every = HostedTable(table.schema, table.table, table.name)
    if reason := _refusal(cursor, every, "SELECT count(r.name) FROM ({}) AS r"):
        return [f"{where}:table: {name} can't be read: {reason}"]
    return [
        f"{where}:only:{column}: {value!r} can't be compared with the column of {name}, whose type "
        f"is {present_columns[column]} ({reason}); use a value of that type"
        for column, values in table.only
        for value in values
        if (reason := _refusal(cursor, replace(every, only=((column, (value,)),)), "{} LIMIT 0"))
    ]


def _refusal(cursor: pg.cursor, table: HostedTable, query: str) -> str:
    """Return PostgreSQL's error on a query of a table's rows, or ''."""
    cursor.execute("SAVEPOINT dkim_reading")
    try:
        cursor.execute(query.replace("{}", _select(table).as_string(cursor)))
    except driver().Error as error:
        cursor.execute("ROLLBACK TO SAVEPOINT dkim_reading")
        return " ".join((error.diag.message_primary or type(error).__name__).split())
    cursor.execute("RELEASE SAVEPOINT dkim_reading")
    return ""


def _select(table: HostedTable) -> psycopg2.sql.Composed:
    sql = driver().sql
    wheres = [_condition(column, values) for column, values in table.only]
    text = sql.SQL('SELECT {name}::text COLLATE "C" AS name FROM {table}').format(
        name=sql.Identifier(table.name), table=sql.Identifier(table.schema, table.table)
    )
    return text + sql.SQL(" WHERE ") + sql.SQL(" AND ").join(wheres) if wheres else text


def _condition(column: str, values: tuple[str | None, ...]) -> psycopg2.sql.Composed:
    """Return the condition that the column has one of the values."""
    # PostgreSQL gives a quoted literal the type of the column.
    sql = driver().sql
    name = sql.Identifier(column)
    literals = [sql.Literal(value) for value in values if value is not None]
    parts = []
    if literals:
        parts.append(sql.SQL("{} IN ({})").format(name, sql.SQL(", ").join(literals)))
    if None in values:
        parts.append(sql.SQL("{} IS NULL").format(name))
    return sql.SQL("({})").format(sql.SQL(" OR ").join(parts))
