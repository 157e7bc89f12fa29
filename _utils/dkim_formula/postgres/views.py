"""The views that OpenDKIM reads, each algorithm by a pair of its own."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ..database.connection import compose, driver
from ..database.objects import ALGORITHMS, VIEWS, key_view, names, signing_view, view_name
from ..settings.model import Database

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

_SIGNING_VIEW = """
CREATE OR REPLACE VIEW {{view}} (pattern, identifier) AS
SELECT s.pattern, s.identifier
  FROM {{signing}} AS s
 WHERE s.algorithm = '{algorithm}' AND NOT {{startup_scan}} ()
"""

# security_barrier: without it, a function of the reader's own in a WHERE could be shown the rows
# that the view leaves out, retired and pending keys among them (CREATE VIEW, notes).
_KEY_VIEW = """
CREATE OR REPLACE VIEW {{view}} (identifier, domain, selector, key) WITH (security_barrier) AS
SELECT k.identifier, k.domain, k.selector::text, k.key::text
  FROM {{dkim}} AS k
 WHERE k.state = 'active' AND k.algorithm = '{algorithm}'
"""

COLUMNS = {
    **{signing_view(algorithm): ("pattern", "identifier") for algorithm in ALGORITHMS},
    **{
        key_view(algorithm): ("identifier", "domain", "selector", "key") for algorithm in ALGORITHMS
    },
}
# Those of the columns of collation "C", as the tables' own are.
LOOKED_UP = ("pattern", "identifier", "domain")


def function(cursor: pg.cursor, database: Database) -> str:
    """The statement for the function that knows the daemon's own query."""
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


def statements(cursor: pg.cursor, database: Database) -> dict[str, str]:
    """The statement for each view. ``OR REPLACE`` leaves owner, grants and dependents be."""
    found = {}
    known = names(database)
    for algorithm in ALGORITHMS:
        for template, view in ((_SIGNING_VIEW, signing_view), (_KEY_VIEW, key_view)):
            name = view(algorithm)
            text = template.format(algorithm=algorithm)
            composed = compose(text, view=(database.schema, name), **known)
            found[name] = composed.as_string(cursor)
    return found


def digest(cursor: pg.cursor, database: Database) -> str | None:
    """A short hash of the views as PostgreSQL has them; None where one is not there."""
    cursor.execute(
        """
        SELECT array_agg(pg_get_viewdef(c.oid) ORDER BY c.relname)
          FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname = %s AND c.relname = ANY (%s) AND c.relkind = 'v'
        """,
        (database.schema, list(VIEWS)),
    )
    found = cursor.fetchone()[0] or []
    if len(found) != len(VIEWS):
        return None
    return hashlib.sha256("".join(found).encode()).hexdigest()[:16]
