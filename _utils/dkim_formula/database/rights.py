"""Every right of the worker, as GRANT names it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..settings.model import Database
from .connection import is_superuser
from .objects import names, quoted
from .worker import FUNCTIONS, TABLES

if TYPE_CHECKING:
    import psycopg2.extensions as pg

    from .roles import Grant


def wanted(cursor: pg.cursor | None, database: Database) -> frozenset[Grant]:
    """
    The worker's rights.

    cursor
        A set-up session's; None where there is no database yet, for what it will be.
    """
    known = names(database)
    found: set[Grant] = {
        ("DATABASE", quoted(database.name), "CONNECT"),
        ("DATABASE", quoted(database.name), "TEMPORARY"),
        ("SCHEMA", quoted(database.schema), "USAGE"),
    }
    if cursor is None or is_superuser(cursor.connection):
        # For quiet.change, where a site has taken it from PUBLIC.
        found.add(("LANGUAGE", quoted("plpgsql"), "USAGE"))
    found |= {("FUNCTION", f"{_qualified(*known[name])}()", "EXECUTE") for name in FUNCTIONS}
    for table, privileges in TABLES.items():
        found |= {("TABLE", _qualified(*known[table]), privilege) for privilege in privileges}
    if cursor is not None:
        numbered = [(*known["dkim"], "id")]
        found |= {("SEQUENCE", one, "USAGE") for one in _sequences(cursor, numbered)}
    return frozenset(found)


def _qualified(schema: str, name: str) -> str:
    return f"{quoted(schema)}.{quoted(name)}"


def _sequences(cursor: pg.cursor, numbered: list[tuple[str, str, str]]) -> list[str]:
    """
    The sequences that number these columns by a default, as ``serial`` makes them; an identity
    column needs no right on its own.
    """
    cursor.execute(
        """
        SELECT sn.nspname, s.relname
          FROM unnest(%s::text[], %s::text[], %s::text[]) AS w (namespace, relation, attribute)
          JOIN pg_namespace AS n ON n.nspname = w.namespace
          JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.relation
          JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = w.attribute
          JOIN pg_attrdef AS f ON f.adrelid = c.oid AND f.adnum = a.attnum
          JOIN pg_depend AS d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
               AND d.refclassid = 'pg_class'::regclass
          JOIN pg_class AS s ON s.oid = d.refobjid AND s.relkind = 'S'
          JOIN pg_namespace AS sn ON sn.oid = s.relnamespace
        """,
        tuple(map(list, zip(*numbered, strict=True))),
    )
    return [_qualified(*row) for row in cursor]
