"""PostgreSQL's errors without the contents of a row, safe to show."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..errors import DatabaseError, done_before
from .driver import driver

_LACKS_SCHEMA = "the database lacks a part of the formula's schema: apply the state dkim.database"
# Hints that PostgreSQL can't give, by SQLSTATE: undefined_table, undefined_column,
# undefined_function, lock_not_available.
_HINTS = {
    "42P01": _LACKS_SCHEMA,
    "42703": _LACKS_SCHEMA,
    "42883": _LACKS_SCHEMA,
    "55P03": "another session holds the table, perhaps pg_dump (see pg_stat_activity): run again",
}


@contextlib.contextmanager
def errors_translated() -> Iterator[None]:
    """
    Turn psycopg2's errors into DatabaseError.

    The text has the error's message, SQLSTATE and hint. DETAIL shows the failing row, and with it
    a private key (measured: a CHECK or NOT NULL violation), so the cause is not chained.
    """
    errors = driver().Error
    try:
        yield
    except errors as error:
        translated = DatabaseError(safe_text(error))
        translated.done = done_before(error)
        raise translated from None


def safe_text(error) -> str:
    """Return an error's message, SQLSTATE and hint."""
    message = error.diag.message_primary if error.diag is not None else None
    if message is None:
        # An error of libpq itself, such as a lost connection, has no DETAIL.
        message = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    code = f" (SQLSTATE {error.pgcode})" if error.pgcode else ""
    hint = error.diag.message_hint if error.diag is not None else None
    hint = _HINTS.get(error.pgcode, hint)
    return f"PostgreSQL: {message}{code}" + (f"; {hint}" if hint else "")
