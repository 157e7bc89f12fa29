"""Changes of rows with private keys, such that a failed change logs nothing of the row."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg2.extensions as pg
    import psycopg2.sql

# PostgreSQL does not log an error that a block catches, and the new error that the block raises has
# no DETAIL. The DETAIL of a violated CHECK or NOT NULL shows 64 octets of each column (measured):
# half of an Ed25519 key. The block needs no superuser, unlike log_error_verbosity.
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
    Execute an INSERT, UPDATE, DELETE or another change of data. There is no result to fetch.

    statement, arguments
        As for ``cursor.execute``.

    Raises the statement's error, without DETAIL and CONTEXT.
    """
    # mogrify returns octets, in the session's encoding.
    text = cursor.mogrify(statement, arguments)
    tag = b"$dkim$"
    while tag in text:
        tag = tag[:-1] + b"_$"
    cursor.execute(_BLOCK.replace(b"{tag}", tag).replace(b"{statement}", text))
