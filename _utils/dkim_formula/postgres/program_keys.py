"""Rows of keys that other programs keep in PostgreSQL. They are only read."""

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

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# Ordinary and partitioned tables: reading one runs no function of its owner's, reading a view may.
_TABLES = ("r", "p")


def read_table(
    database: Database, table: str, wanted: Sequence[str], program: str
) -> list[tuple[str | None, ...]]:
    """
    Return the rows of a program's table, in the order of the first column, as text.

    table
        Its name, in the schema of the table of domains.
    wanted
        The columns.
    program
        For the error.

    Raises DatabaseError where the database has no such table.
    """
    schema = database.domains.schema
    with session(database, setup=True) as connection, connection.cursor() as cursor:
        there = columns(cursor, schema, table)
        lacking = [column for column in wanted if column not in there]
        if lacking or relation_kind(cursor, schema, table) not in _TABLES:
            lacks = f" with the column {lacking[0]!r}" if there and lacking else ""
            raise DatabaseError(
                f"source: {program} has no table {schema}.{table}{lacks} in the database "
                f"{database.name!r}; set dkim:database:name to the database of {program}"
            )
        sql = driver().sql
        listed = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(c)) for c in wanted)
        order = sql.Identifier(wanted[0])
        cursor.execute(
            sql.SQL("SELECT {} FROM {} ORDER BY {}").format(
                listed, sql.Identifier(schema, table), order
            )
        )
        return cursor.fetchall()


def read_data_set(database: Database, dsn: Dsn, where: str) -> list[tuple[str, list[str]]]:
    """
    Return the rows of an OpenDKIM data set: each key and its values, in the order of the keys.

    Where the data set is in the server of the mail database, its user's rights are taken on by the
    set-up session, and the password is not needed; else the data set's own login is used. The
    filter is SQL, so it is run with the rights of that user alone.

    Raises InvalidValue where the data set can't be read; no text shows a password.
    """
    listed = ", ".join(f"coalesce({column}::text, '')" for column in dsn.columns)
    filtered = f" WHERE {dsn.filter}" if dsn.filter else ""
    key = f"coalesce({dsn.key_column}::text, '')"
    with _session(database, dsn, where) as connection, connection.cursor() as cursor:
        # As the daemon's own session has it: the table's name has no schema, mostly.
        cursor.execute('SET LOCAL search_path TO "$user", public; SET TRANSACTION READ ONLY')
        try:
            cursor.execute(f"SELECT {key}, {listed} FROM {dsn.table}{filtered} ORDER BY 1")
        except driver().Error as error:
            problem = f"can't be read: {dsn.place} (SQLSTATE {error.pgcode})"
            raise InvalidValue(where, PREFIX, problem, "correct the data set") from None
        return [(name, values) for name, *values in cursor]


@contextmanager
def _session(database: Database, dsn: Dsn, where: str) -> Iterator[pg.connection]:
    port = dsn.port or 5432
    is_same = port == database.port and (
        dsn.host == database.host if database.host else _is_this_machine(dsn)
    )
    try:
        if is_same and _has_role(database, dsn):
            with session(database, setup=True, dbname=dsn.database, role=dsn.user) as opened:
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
            "see that the data set's login works",
        ) from None


def _is_this_machine(dsn: Dsn) -> bool:
    return dsn.is_on_socket or dsn.host in ("localhost", "127.0.0.1")


def _has_role(database: Database, dsn: Dsn) -> bool:
    """Whether the set-up session may take the user's rights on."""
    with session(database, setup=True) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_has_role(oid, 'MEMBER') FROM pg_roles WHERE rolname = %s", (dsn.user,)
        )
        return cursor.fetchone() == (True,)
