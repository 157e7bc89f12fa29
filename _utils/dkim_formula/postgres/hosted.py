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

from ..database.connection import compose, copy_rows, driver, session
from ..database.objects import names as known_names
from ..names import MAX_NAME, SERVED_DOMAIN
from ..settings.model import Database, HostedTable
from . import presets
from .catalog import columns, relation_kind

if TYPE_CHECKING:
    import psycopg2.extensions as pg
    import psycopg2.sql

# A row of another program's table counts where it has two labels or more: 'ALL' and 'admin' stand
# in tables of mail panels for something else. A network's own name of one label can be signed for
# where dkim:domains has it.
_READABLE = (
    f"lower(name) ~ '{SERVED_DOMAIN}' AND strpos(name, '.') > 0 AND length(name) <= {MAX_NAME}"
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
    return sql.SQL("\nUNION ALL\n").join(parts).as_string(cursor)


def functions(cursor: pg.cursor, database: Database) -> list[str]:
    """The statements that define ``dkim_hosted_rows`` and ``dkim_hosted``."""
    sql = driver().sql
    known = known_names(database)
    rows = rows_query(cursor, database)
    domains = compose(
        f"SELECT DISTINCT lower(name) FROM {{hosted_rows}} () WHERE {_escaped(_READABLE)}", **known
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
    with _source(connection, database) as (cursor, rows):
        cursor.execute(f"SELECT DISTINCT lower(name) FROM ({rows}) AS r WHERE {_READABLE}")
        return sorted(name for (name,) in cursor)


def row_names(connection: pg.connection, database: Database) -> list[str]:
    """The names of all rows as they stand there, those too that hold no domain name."""
    with _source(connection, database) as (cursor, rows):
        cursor.execute(f"SELECT DISTINCT name FROM ({rows}) AS r WHERE name IS NOT NULL")
        return [name for (name,) in cursor]


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


def empty(cursor: pg.cursor, database: Database) -> str:
    """The table of domains where none of its rows counts, or ''. One of aliases may be empty."""
    table = with_flags(cursor, database, database.domains)
    if relation_kind(cursor, table.schema, table.table) is None:
        return ""
    exists = driver().sql.SQL("SELECT EXISTS ({})").format(_select(table))
    cursor.execute(exists)
    return "" if cursor.fetchone()[0] else f"{table.schema}.{table.table}"


@contextlib.contextmanager
def _source(connection: pg.connection, database: Database) -> Iterator[tuple[pg.cursor, str]]:
    """
    A session that may read the rows, and the query that gives them.

    Before the first run, and before the first one after a change of the pillar, that is the query
    itself, by this session where it may read the tables, else by the set-up's.
    """
    known = known_names(database)
    with connection.cursor() as cursor:
        if is_current(cursor, database):
            yield cursor, compose("SELECT name FROM {hosted_rows} ()", **known).as_string(cursor)
            return
        rows = rows_query(cursor, database)
        if not lacking(cursor, columns_read(cursor, database)):
            yield cursor, rows
            return
    with session(database, setup=True) as setup, setup.cursor() as cursor:
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
    return sorted(set(names) - set(hosted(connection, database)))


def left_out(connection: pg.connection, database: Database) -> int:
    """How many rows hold no domain name."""
    with _source(connection, database) as (cursor, rows):
        cursor.execute(
            f"SELECT count(*) FROM ({rows}) AS r WHERE name IS NULL OR NOT ({_READABLE})"
        )
        return cursor.fetchone()[0]


def odd(connection: pg.connection, database: Database, longest: int) -> list[str]:
    """The names of rows that are left out, and those longer than ``longest``; sorted."""
    with _source(connection, database) as (cursor, rows):
        cursor.execute(
            f"SELECT DISTINCT name FROM ({rows}) AS r WHERE name IS NOT NULL"
            f" AND (NOT ({_READABLE}) OR length(name) > {longest}) ORDER BY 1"
        )
        return [name for (name,) in cursor]


def copy_hosted(cursor: pg.cursor, database: Database) -> None:
    """Puts the hosted domains into the temporary table ``dkim_now_hosted (domain)``."""
    cursor.execute(
        'CREATE TEMPORARY TABLE dkim_now_hosted (domain text COLLATE "C") ON COMMIT DROP'
    )
    with _source(cursor.connection, database) as (source, rows):
        # A session of its own has no such table; its rows come through this process.
        if source.connection is cursor.connection:
            source.execute(
                "INSERT INTO pg_temp.dkim_now_hosted"
                f" SELECT DISTINCT lower(name) FROM ({rows}) AS r WHERE {_READABLE}"
            )
        else:
            source.execute(f"SELECT DISTINCT lower(name) FROM ({rows}) AS r WHERE {_READABLE}")
            copy_rows(cursor, "dkim_now_hosted", ("domain",), source)
    cursor.execute("ANALYZE pg_temp.dkim_now_hosted")


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


def _escaped(text: str) -> str:
    """Text of ours inside a template of :func:`compose`."""
    return text.replace("{", "{{").replace("}", "}}")
