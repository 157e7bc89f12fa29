"""Changes of rows that hold private keys, of which nothing is logged when they fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg2.extensions as pg
    import psycopg2.sql

# An error that is caught is not logged, and one that is raised anew has no DETAIL: of a violated
# CHECK or NOT NULL that shows the row, with 64 octets of each column (measured), which is half of
# an Ed25519 key. Needs no right that a superuser alone has, unlike log_error_verbosity.
_BLOCK = b"""
DO {tag}
DECLARE
    dkim_hint text;
BEGIN
    {statement};
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS dkim_hint = PG_EXCEPTION_HINT;
    RAISE EXCEPTION USING MESSAGE = SQLERRM, ERRCODE = SQLSTATE, HINT = dkim_hint;
END
{tag}
"""


def change(
    cursor: pg.cursor,
    statement: str | psycopg2.sql.Composable,
    arguments: object = None,
) -> None:
    """
    Executes an INSERT, UPDATE or DELETE, or what else changes data; there is no result to fetch.

    statement, arguments
        As for ``cursor.execute``.

    Raises what the statement does, without DETAIL and CONTEXT.
    """
    # Octets: the session's encoding is the database's.
    text = cursor.mogrify(statement, arguments)
    tag = b"$dkim$"
    while tag in text:
        tag = tag[:-1] + b"_$"
    cursor.execute(_BLOCK.replace(b"{tag}", tag).replace(b"{statement}", text))
