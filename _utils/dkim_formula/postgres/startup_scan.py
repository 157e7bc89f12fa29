"""The SQL function by which the SigningTable views recognise OpenDKIM's query at its start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..settings.model import Database
from .driver import driver
from .objects import ALGORITHMS, names, signing_view, view_name
from .sql import compose

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# When the daemon starts, it reads every row of its SigningTable and looks up each row's key
# (measured with log_statement=all: exactly the text below). The daemon does not need the rows, and
# with 100,000 domains the query takes half a minute, so the view returns no rows to it. A STABLE
# function without arguments is a one-time filter: PostgreSQL then reads no row, at any size.
# current_query() itself is volatile, and a sub-select around it doubles the cost of each look-up
# (measured). Every role may call the function, because a view calls functions with the rights of
# the role that reads the view.
_STARTUP_SCAN = """
CREATE OR REPLACE FUNCTION {startup_scan} () RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN pg_catalog.current_query() OPERATOR(pg_catalog.=) ANY (ARRAY[%s]);
END
$$
"""


def statement(cursor: pg.cursor, database: Database) -> str:
    """Return the statement that defines the function."""
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
