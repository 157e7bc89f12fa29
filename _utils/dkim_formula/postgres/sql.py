"""SQL text: names in quotes, statements composed, rows by COPY."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import DatabaseError
from .driver import driver

if TYPE_CHECKING:
    import psycopg2.extensions as pg
    import psycopg2.sql


def quoted(name: str) -> str:
    """Return a name as SQL writes it, always in quotes."""
    return '"' + name.replace('"', '""') + '"'


def compose(template: str, **names: str | tuple[str, ...]) -> psycopg2.sql.Composed:
    """
    Return SQL with ``{name}`` replaced by quoted identifiers; a tuple gives a qualified one.

    Doubled braces are literal ones, as in :meth:`str.format`.
    """
    sql = driver().sql
    return sql.SQL(template).format(
        **{
            key: sql.Identifier(*name) if isinstance(name, tuple) else sql.Identifier(name)
            for key, name in names.items()
        }
    )


def execute_or_tell(
    cursor: pg.cursor,
    statement: psycopg2.sql.Composed | str,
    remedy: psycopg2.sql.Composed | str | None = None,
) -> None:
    """
    Execute a statement that may be a superuser's. Raise DatabaseError with what to type as one
    where the session's role may not. For statements without a secret.

    remedy
        What to type, where that is not the statement itself.
    """
    try:
        cursor.execute(statement)
    except driver().errors.InsufficientPrivilege as error:
        remedy = statement if remedy is None else remedy
        text = remedy if isinstance(remedy, str) else remedy.as_string(cursor)
        session_of = cursor.connection.info
        raise DatabaseError(
            f"dkim:database:user: role {session_of.user!r} may not do this (SQLSTATE "
            f"{error.pgcode}); run as a superuser in the database {session_of.dbname!r}: {text}"
        ) from None


def is_superuser(connection: pg.connection) -> bool:
    """Tell whether the session's current role is a superuser."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('is_superuser') = 'on'")
        return cursor.fetchone()[0]


def copy_rows(
    cursor: pg.cursor, table: str, columns: Iterable[str], rows: Iterable[Iterable[object]]
) -> None:
    """
    COPY into a temporary table of this session. Nothing of the rows shows in PostgreSQL's log,
    whatever log_statement is (measured).
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


# A line without any of these stands for itself, tabs apart; most do.
_ESCAPED = re.compile(r"[\\\n\r]")


def _copy_field(value: object) -> str:
    # The text format's own escapes (COPY, "Text Format").
    if value is None:
        return "\\N"
    text = str(value).replace("\\", "\\\\")
    return text.replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
