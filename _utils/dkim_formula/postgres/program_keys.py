"""Keys that other programs store in PostgreSQL. The formula only reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import DatabaseError, DatabaseUnavailable, InvalidValue
from ..settings.model import Database
from .catalog import columns, relation_kind
from .connection import session
from .driver import driver
from .dsn import PREFIX, Dsn
from .sql import is_superuser

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# The search path of the daemon's own session. Most data sets name a table without a schema.
_PATH = '"$user", public'
# SQL can undo SET ROLE, but can't leave the rights of a function's owner. PostgreSQL also refuses
# COMMIT there, after which a second statement could write.
_FUNCTION = f"""
SET LOCAL check_function_bodies TO off;
CREATE FUNCTION pg_temp.dkim_data_set () RETURNS TABLE ({{columns}})
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path TO {_PATH} AS {{query}};
ALTER FUNCTION pg_temp.dkim_data_set () OWNER TO {{user}}
"""
# Ordinary and partitioned tables. Reading one runs no function of its owner; reading a view may.
_TABLES = ("r", "p")


def read_table(
    database: Database, table: str, required: Sequence[str], program: str
) -> list[tuple[str | None, ...]]:
    """
    Return the rows of a program's table as text, ordered by the first column.

    table
        The table's name, in the schema of the table of domains.
    required
        The columns to read.
    program
        The program's name, for the error.

    Raises DatabaseError if the table or one of the columns is missing.
    """
    schema = database.domains.schema
    with session(database, setup=True) as connection, connection.cursor() as cursor:
        present = columns(cursor, schema, table)
        lacking = [column for column in required if column not in present]
        if lacking or relation_kind(cursor, schema, table) not in _TABLES:
            lacks = f" with the column {lacking[0]!r}" if present and lacking else ""
            raise DatabaseError(
                f"source: {program} has no table {schema}.{table}{lacks} in the database "
                f"{database.name!r}; set dkim:database:name to the database of {program}"
            )
        sql = driver().sql
        listed = sql.SQL(", ").join(
            sql.SQL("{}::text").format(sql.Identifier(column)) for column in required
        )
        order = sql.Identifier(required[0])
        cursor.execute(
            sql.SQL("SELECT {} FROM {} ORDER BY {}").format(
                listed, sql.Identifier(schema, table), order
            )
        )
        return cursor.fetchall()


def read_data_set(database: Database, dsn: Dsn, where: str) -> list[tuple[str, list[str]]]:
    """
    Return the rows of an OpenDKIM data set: each key and its values, ordered by key.

    If the data set is on the server of the mail database, a superuser's session reads it as the
    data set's user and needs no password. Otherwise the session logs in with the data set's own
    user and password. The filter is SQL, so it runs with that user's rights only.

    Raises InvalidValue if the data set can't be read. No text shows a password.
    """
    names = (dsn.key_column, *dsn.columns)
    listed = ", ".join(f"coalesce({name}::text, '')" for name in names)
    filtered = f" WHERE {dsn.filter}" if dsn.filter else ""
    query = f"SELECT {listed} FROM {dsn.table}{filtered} ORDER BY 1"
    with _session(database, dsn, where) as connection, connection.cursor() as cursor:
        try:
            if connection.info.user != dsn.user:
                query = _as_user(cursor, dsn.user, query, len(names))
            cursor.execute(f"SET LOCAL search_path TO {_PATH}; SET TRANSACTION READ ONLY")
            cursor.execute(query)
        except driver().Error as error:
            problem = f"can't be read: {dsn.location} (SQLSTATE {error.pgcode})"
            raise InvalidValue(where, PREFIX, problem, "correct the data set") from None
        return [(name, values) for name, *values in cursor]


def _as_user(cursor: pg.cursor, user: str, query: str, width: int) -> str:
    """
    Return a query for the rows of another query, which runs with a user's rights.

    width
        The number of the columns, which are text.
    """
    sql = driver().sql
    columns = ", ".join(f"c{number} text" for number in range(width))
    statement = sql.SQL(_FUNCTION).format(
        columns=sql.SQL(columns), query=sql.Literal(query), user=sql.Identifier(user)
    )
    cursor.execute(statement)
    return "SELECT * FROM pg_temp.dkim_data_set()"


@contextmanager
def _session(database: Database, dsn: Dsn, where: str) -> Iterator[pg.connection]:
    port = dsn.port or 5432
    is_same = port == database.port and (
        dsn.host == database.host if database.host else _is_this_machine(dsn)
    )
    try:
        if is_same and _can_act_as(database, dsn.user):
            with session(database, setup=True, dbname=dsn.database) as opened:
                yield opened
            return
        elsewhere = replace(
            database,
            name=dsn.database,
            host="localhost" if dsn.is_on_socket else dsn.host,
            port=port,
            user=dsn.user,
            password=dsn.password,
            sslmode="prefer",
            sslcert=None,
            sslkey=None,
        )
        with session(elsewhere, setup=True) as opened:
            yield opened
    except DatabaseUnavailable as error:
        raise InvalidValue(
            where,
            PREFIX,
            f"can't be read: no session with {dsn.database!r} as {dsn.user!r} ({error.reason})",
            "correct the data set's login",
        ) from None


def _is_this_machine(dsn: Dsn) -> bool:
    return dsn.is_on_socket or dsn.host in ("localhost", "127.0.0.1")


def _can_act_as(database: Database, user: str) -> bool:
    """Return whether the user exists and the set-up session is a superuser's."""
    with session(database, setup=True) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", (user,))
        return bool(cursor.rowcount) and is_superuser(connection)
