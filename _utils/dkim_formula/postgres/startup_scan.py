"""The function by which the signing views know the query that OpenDKIM makes when it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..settings.model import Database
from .driver import driver
from .objects import ALGORITHMS, names, signing_view, view_name
from .sql import compose

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# The daemon asks for every row of its SigningTable when it starts and looks each one's key up
# (measured, log_statement=all: the very text below). Nothing needs the answer, and with a hundred
# thousand domains it takes half a minute, so this one query finds the view empty. A STABLE function
# without arguments is a one-time filter, which spares the reading at any size; current_query()
# by itself is volatile, and a sub-select round it costs each look-up twice as much (measured).
# Everybody may call it: a view's functions are called with the rights of who reads the view.
_STARTUP_SCAN = """
CREATE OR REPLACE FUNCTION {startup_scan} () RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN pg_catalog.current_query() OPERATOR(pg_catalog.=) ANY (ARRAY[%s]);
END
$$
"""


def statement(cursor: pg.cursor, database: Database) -> str:
    """Return the statement for the function that knows the daemon's own query."""
    sql = driver().sql
    texts = [
        sql.Literal(f"SELECT pattern,identifier FROM {table}").as_string(cursor)
        for algorithm in ALGORITHMS
        for table in dict.fromkeys(
            (
                signing_view(algorithm),
                view_name(database, "signing", algorithm),
                f"{database.schema}.{signing_view(algorithm)}",
            )
        )
    ]
    listed = ", ".join(texts).replace("{", "{{").replace("}", "}}")
    return compose(_STARTUP_SCAN % listed, **names(database)).as_string(cursor)
