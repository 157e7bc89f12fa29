"""
What the worker may do in the database: the daily work, and nothing else.

It owns nothing, is no superuser and can't change a table, a view, a role or an access file. It can
read keys whole, since a key is parsed before it signs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..settings.model import Database
from .objects import names

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# By the names that ``objects.names`` has. The history only grows: nothing changes a line of it.
# ``signing`` is written by triggers, with their owner's rights.
TABLES: dict[str, tuple[str, ...]] = {
    "dkim": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "pattern": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "history": ("SELECT", "INSERT"),
    "published": ("SELECT", "INSERT", "DELETE"),
    "seen": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "disclosure": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "signing": ("SELECT",),
    "migration": ("SELECT",),
}
# By which it reads the tables of domains, whose columns its own role can't.
FUNCTIONS = ("hosted_rows", "hosted")


def sufficient(cursor: pg.cursor, database: Database) -> bool:
    """Whether the session's role can do the daily work: all tables are there, and open to it."""
    known = names(database)
    wants = [(*known[table], right) for table, rights in TABLES.items() for right in rights]
    cursor.execute(
        """
        SELECT coalesce(bool_and(coalesce(has_table_privilege(c.oid, w.privilege), false)), false)
          FROM unnest(%s::text[], %s::text[], %s::text[]) AS w (namespace, relation, privilege)
          LEFT JOIN pg_namespace AS n ON n.nspname = w.namespace
          LEFT JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.relation
        """,
        tuple(map(list, zip(*wants, strict=True))),
    )
    if not cursor.fetchone()[0]:
        return False
    cursor.execute(
        """
        SELECT count(*) = %s
          FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
         WHERE n.nspname = %s AND p.proname = ANY (%s)
           AND has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE')
        """,
        (len(FUNCTIONS), database.schema, [known[name][1] for name in FUNCTIONS]),
    )
    return cursor.fetchone()[0]
