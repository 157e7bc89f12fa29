"""SQL text: quoted names, composed statements, rows for COPY."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ..errors import DatabaseError
from .driver import driver

if TYPE_CHECKING:
    import psycopg2.extensions as pg
    import psycopg2.sql


def quoted(name: str) -> str:
    """Return a name in SQL's double quotes."""
    return '"' + name.replace('"', '""') + '"'


def compose(template: str, **names: str | tuple[str, ...]) -> psycopg2.sql.Composed:
    """
    Return SQL with each ``{name}`` replaced by a quoted identifier.

    A tuple makes a qualified identifier. Doubled braces are literal, as in :meth:`str.format`.
    """
    sql = driver().sql
    return sql.SQL(template).format(
        **{
            key: sql.Identifier(*name) if isinstance(name, tuple) else sql.Identifier(name)
            for key, name in names.items()
        }
    )


def execute_or_report(
    cursor: pg.cursor,
    statement: psycopg2.sql.Composed | str,
    remedy: psycopg2.sql.Composed | str | None = None,
) -> None:
    """
    Execute a statement that may need a superuser, and that contains no secret.

    remedy
        The statement that the error shows, if that is not the statement itself.

    Raises DatabaseError if the session's role may not execute the statement. The error shows the
    statement that a superuser has to run.
    """
    try:
        cursor.execute(statement)
    except driver().errors.InsufficientPrivilege as error:
        remedy = statement if remedy is None else remedy
        text = remedy if isinstance(remedy, str) else remedy.as_string(cursor)
        info = cursor.connection.info
        raise DatabaseError(
            f"dkim:database:user: role {info.user!r} may not do this (SQLSTATE "
            f"{error.pgcode}); run as a superuser in the database {info.dbname!r}: {text}"
        ) from None


@contextlib.contextmanager
def acting_as(cursor: pg.cursor, role: str | None) -> Iterator[None]:
    """
    Let the statements of the block act as a role; None changes nothing.

    A superuser's REVOKE acts as the owner's, and leaves what another role granted (REVOKE, Notes).
    """
    if role is None:
        yield
        return
    execute_or_report(cursor, compose("SET LOCAL ROLE {role}", role=role))
    yield
    # Not RESET ROLE, which sets the role of ALTER ROLE … SET role.
    cursor.execute("SET LOCAL ROLE NONE")


def is_superuser(connection: pg.connection) -> bool:
    """Return whether the session's current role is a superuser."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('is_superuser') = 'on'")
        return cursor.fetchone()[0]


def copy_rows(
    cursor: pg.cursor, table: str, columns: Iterable[str], rows: Iterable[Iterable[object]]
) -> None:
    """
    Copy rows into a temporary table of this session.

    PostgreSQL's log shows nothing of rows that COPY reads, whatever log_statement is (measured).
    """
    text = io.StringIO()
    for row in map(tuple, rows):
        line = "\t".join(map(str, row))
        if None in row or _ESCAPED.search(line) or line.count("\t") >= len(row):
            line = "\t".join(map(_copy_field, row))
        text.write(line + "\n")
    text.seek(0)
    listed = ", ".join(columns)
    cursor.copy_expert(f"COPY pg_temp.{table} ({listed}) FROM STDIN", text)


# Beside tabs, COPY's text format requires escapes for these characters. Most lines have none.
_ESCAPED = re.compile(r"[\\\n\r]")


def _copy_field(value: object) -> str:
    # The escapes of the text format (COPY, "Text Format").
    if value is None:
        return "\\N"
    text = str(value).replace("\\", "\\\\")
    return text.replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
