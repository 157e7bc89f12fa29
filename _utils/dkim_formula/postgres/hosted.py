"""
The hosted domains: names that the mail database's own tables hold.

The tables are only read. The query stands in the functions ``dkim_hosted_rows`` and ``dkim_hosted``
as text: a view on another program's table keeps that program from altering it ("cannot alter type
of a column used by a view", measured), a function does not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ..names import MAX_NAME
from ..settings.model import Database, HostedTable
from . import presets
from .catalog import columns, relation_kind
from .conditions import served_domain
from .connection import session, tell_of_stand_in
from .driver import driver
from .objects import names as known_names
from .sql import compose

if TYPE_CHECKING:
    import psycopg2.extensions as pg
    import psycopg2.sql

# A row of another program's table counts where it has two labels or more: 'ALL' and 'admin' stand
# in tables of mail panels for something else. A network's own name of one label can be signed for
# where dkim:domains has it.
# What comes first is so of most names, and spares the rest: a third of the time (measured).
READABLE = (
    """((name COLLATE "C" ~ '^([a-z0-9_-]+[.])+[a-z]+$' AND length(name) <= 63) OR """
    f"({served_domain('lower(name)')} AND strpos(name, '.') > 0 AND length(name) <= {MAX_NAME}))"
)

_NO_ROWS = "SELECT NULL::text AS name WHERE false"


def tables(database: Database) -> list[tuple[str, HostedTable]]:
    """The tables that hosted domains are read from, each with its place in the pillar."""
    found = [("dkim:database:domains", database.domains)]
    if database.aliases is not None:
        found.append(("dkim:database:aliases", database.aliases))
    return found


def present(cursor: pg.cursor, database: Database) -> list[HostedTable]:
    """Those of the tables that the database has, with the rows that count."""
    return [
        with_flags(cursor, database, table)
        for _, table in tables(database)
        if relation_kind(cursor, table.schema, table.table) is not None
    ]


def with_flags(cursor: pg.cursor, database: Database, table: HostedTable) -> HostedTable:
    """
    The table, with the flags of the program that it is known to be of, where the pillar says
    nothing of which rows count.
    """
    if database.only_given or table != database.domains:
        return table
    return presets.flags(cursor, table)


def rows_query(cursor: pg.cursor, database: Database) -> str:
    """The text of the query that gives the ``name`` of each row that counts, doubles too."""
    sql = driver().sql
    parts = [_select(table) for table in present(cursor, database)]
    if not parts:
        return _NO_ROWS
    if len(parts) == 2:
        # An alias of no domain is nothing: the rows are none where the table of domains is empty.
        parts[1] = sql.SQL("SELECT name FROM ({}) AS a WHERE EXISTS ({})").format(*parts[::-1])
    return sql.SQL("\nUNION ALL\n").join(parts).as_string(cursor)


def functions(cursor: pg.cursor, database: Database) -> list[str]:
    """The statements that define ``dkim_hosted_rows`` and ``dkim_hosted``."""
    sql = driver().sql
    known = known_names(database)
    rows = rows_query(cursor, database)
    domains = compose(
        f"SELECT DISTINCT lower(name) FROM {{hosted_rows}} () WHERE {READABLE}", **known
    ).as_string(cursor)
    return [
        (
            compose(f"CREATE OR REPLACE FUNCTION {{{name}}} ()", **known)
            + sql.SQL(
                f" RETURNS TABLE ({column} text) LANGUAGE sql STABLE SECURITY DEFINER ROWS 100000"
                " SET search_path = pg_catalog, pg_temp AS "
            )
            + sql.Literal(body)
        ).as_string(cursor)
        for name, column, body in (("hosted_rows", "name", rows), ("hosted", "domain", domains))
    ]


def columns_read(
    cursor: pg.cursor, database: Database
) -> list[tuple[HostedTable, tuple[str, ...]]]:
    """The columns that the query reads, by table."""
    return [
        (table, tuple(dict.fromkeys((table.name, *(column for column, _ in table.only)))))
        for table in present(cursor, database)
    ]


def hosted(connection: pg.connection, database: Database) -> list[str]:
    """The hosted domains' names, in lower case, each once, sorted."""
    with source(connection, database) as (cursor, rows):
        cursor.execute(f"SELECT DISTINCT lower(name) FROM ({rows}) AS r WHERE {READABLE}")
        return sorted(name for (name,) in cursor)


def every_name(connection: pg.connection, database: Database) -> tuple[list[str], list[str]]:
    """What :func:`hosted` gives, and the names, as they stand there, of rows that it leaves out."""
    with source(connection, database) as (cursor, rows):
        cursor.execute(
            f"SELECT DISTINCT CASE WHEN is_read THEN lower(name) ELSE name END, is_read"
            f"  FROM (SELECT name, {READABLE} AS is_read FROM ({rows}) AS r OFFSET 0) AS n"
            " WHERE name IS NOT NULL"
        )
        names: dict[bool, list[str]] = {True: [], False: []}
        for name, is_read in cursor:
            names[is_read].append(name)
        return sorted(names[True]), names[False]


def gone(cursor: pg.cursor, database: Database, is_expected: bool) -> str:
    """
    A table of domains that should be there and is not, or ''.

    is_expected
        Whether there has to be one even where the pillar names none.
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
        # A column of the howto's, or a function that reads a table, tells that there was one.
        if "domain_id" not in columns(cursor, schema, keys) and _body(cursor, database) == _NO_ROWS:
            return ""
    return absent[0]


def empty(connection: pg.connection, database: Database) -> str:
    """The table of domains where none of its rows counts, or ''. One of aliases may be empty."""
    table = database.domains
    with source(connection, database) as (cursor, rows):
        if relation_kind(cursor, table.schema, table.table) is None:
            return ""
        cursor.execute(f"SELECT EXISTS (SELECT FROM ({rows}) AS r)")
        return "" if cursor.fetchone()[0] else f"{table.schema}.{table.table}"


@contextlib.contextmanager
def source(connection: pg.connection, database: Database) -> Iterator[tuple[pg.cursor, str]]:
    """
    A session that may read the rows, and the query that gives them.

    Before the first run, and before the first one after a change of the pillar or after a table was
    made anew, that is the query itself, by this session where it may read the tables, else by the
    set-up's.
    """
    known = known_names(database)
    with connection.cursor() as cursor:
        read = columns_read(cursor, database)
        if is_current(cursor, database) and not lacking(cursor, read, database.keys_owner):
            yield cursor, compose("SELECT name FROM {hosted_rows} ()", **known).as_string(cursor)
            return
        rows = rows_query(cursor, database)
        if not lacking(cursor, read):
            yield cursor, rows
            return
    with session(database, setup=True) as setup, setup.cursor() as cursor:
        tell_of_stand_in(setup, database, "can't read the tables of domains yet")
        yield cursor, rows


def lacking(
    cursor: pg.cursor,
    read: Iterable[tuple[HostedTable, tuple[str, ...]]],
    role: str | None = None,
) -> list[tuple[str, str, str]]:
    """The columns, as (schema, table, column), that a role may not read; None: the session's."""
    wanted = [(table.schema, table.table, column) for table, names in read for column in names]
    if not wanted:
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
        (*map(list, zip(*wanted, strict=True)), role),
    )
    return cursor.fetchall()


def missing(connection: pg.connection, database: Database, names: Iterable[str]) -> list[str]:
    """Those of ``names`` that are not hosted, sorted."""
    sought = set(names)
    if not sought:
        return []
    with source(connection, database) as (cursor, rows):
        # Not as an argument of the driver's: a value of the pillar in ``rows`` may have a % in it.
        listed = driver().sql.Literal(sorted(sought)).as_string(cursor)
        cursor.execute(
            f"SELECT DISTINCT lower(name) FROM ({rows}) AS r"
            f" WHERE lower(name) = ANY ({listed}) AND {READABLE}"
        )
        return sorted(sought.difference(name for (name,) in cursor))


def left_out(connection: pg.connection, database: Database) -> int:
    """How many rows hold no domain name."""
    with source(connection, database) as (cursor, rows):
        cursor.execute(f"SELECT count(*) FROM ({rows}) AS r WHERE name IS NULL OR NOT ({READABLE})")
        return cursor.fetchone()[0]


def not_counted(cursor: pg.cursor, database: Database) -> list[str]:
    """Say of each table how many rows ``only`` leaves out. The session reads the table itself."""
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
                f"{table.schema}.{table.table}: rows that `only` ({presets.conditions(table)}) "
                f"leaves out, so that the formula makes no key for them: {count}"
            )
    return found


def odd(connection: pg.connection, database: Database, longest: int) -> list[str]:
    """The names of rows that are left out, and those longer than ``longest``; sorted."""
    with source(connection, database) as (cursor, rows):
        cursor.execute(
            f"SELECT DISTINCT name FROM ({rows}) AS r WHERE name IS NOT NULL"
            f" AND (NOT ({READABLE}) OR length(name) > {longest}) ORDER BY 1"
        )
        return [name for (name,) in cursor]


def is_current(cursor: pg.cursor, database: Database) -> bool:
    """
    Whether the functions are there and read what the pillar says. They are not before the first
    run, nor before the first one after a change of the pillar.
    """
    return _body(cursor, database) == rows_query(cursor, database)


def _body(cursor: pg.cursor, database: Database) -> str | None:
    """The text of the function ``dkim_hosted_rows``; None where there is none."""
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
    """What is wrong with the tables, columns and values that the pillar names; one a line."""
    found = []
    for where, table in tables(database):
        # A first mistake in a table hides what follows from it.
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
            "table of domains, or leave preset and domains out where there is none"
        ]
    there = columns(cursor, table.schema, table.table)
    named = [("name", table.name), *((f"only:{column}", column) for column, _ in table.only)]
    unknown = [
        f"{where}:{key}: {name} has no column {column!r}; use one of {', '.join(there)}"
        for key, column in named
        if column not in there
    ]
    if unknown:
        return unknown
    whole = HostedTable(table.schema, table.table, table.name)
    if reason := _refusal(cursor, whole, "SELECT count(r.name) FROM ({}) AS r"):
        return [f"{where}:table: {name} can't be read: {reason}"]
    return [
        f"{where}:only:{column}: {value!r} can't be compared with the column of {name}, whose type "
        f"is {there[column]} ({reason}); use a value of that type"
        for column, values in table.only
        for value in values
        if (reason := _refusal(cursor, replace(whole, only=((column, (value,)),)), "{} LIMIT 0"))
    ]


def _refusal(cursor: pg.cursor, table: HostedTable, query: str) -> str:
    """Why PostgreSQL refuses a query of the rows of a table, or ''."""
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
    text = sql.SQL("SELECT {name}::text AS name FROM {table}").format(
        name=sql.Identifier(table.name), table=sql.Identifier(table.schema, table.table)
    )
    return text + sql.SQL(" WHERE ") + sql.SQL(" AND ").join(wheres) if wheres else text


def _condition(column: str, values: tuple[str | None, ...]) -> psycopg2.sql.Composed:
    """The column has one of the values. A quoted literal takes the column's type."""
    sql = driver().sql
    name = sql.Identifier(column)
    literals = [sql.Literal(value) for value in values if value is not None]
    parts = []
    if literals:
        parts.append(sql.SQL("{} IN ({})").format(name, sql.SQL(", ").join(literals)))
    if None in values:
        parts.append(sql.SQL("{} IS NULL").format(name))
    return sql.SQL("({})").format(sql.SQL(" OR ").join(parts))
