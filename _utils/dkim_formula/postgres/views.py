"""The views that OpenDKIM reads, a pair for each algorithm, and the grants on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..settings.model import Database
from .catalog import relation_kind
from .objects import ALGORITHMS, VIEWS, key_view, names, signing_view
from .sql import compose

if TYPE_CHECKING:
    import psycopg2.extensions as pg

_SIGNING_VIEW = """
CREATE OR REPLACE VIEW {{view}} (pattern, identifier) AS
SELECT s.pattern, s.identifier
  FROM {{signing}} AS s
 WHERE s.algorithm = '{algorithm}' AND NOT {{startup_scan}} ()
"""

# Without security_barrier, the reader could pass rows that the view leaves out, such as retired and
# pending keys, to a function of its own in a WHERE clause (CREATE VIEW, Notes).
_KEY_VIEW = """
CREATE OR REPLACE VIEW {{view}} (identifier, domain, selector, key) WITH (security_barrier) AS
SELECT k.identifier, k.domain, k.selector::text, k.key::text
  FROM {{dkim}} AS k
 WHERE k.signs_with = '{algorithm}'
"""

COLUMNS = {
    **{signing_view(algorithm): ("pattern", "identifier") for algorithm in ALGORITHMS},
    **{
        key_view(algorithm): ("identifier", "domain", "selector", "key") for algorithm in ALGORITHMS
    },
}
# The columns with collation "C", like those of the tables.
LOOKED_UP = ("pattern", "identifier", "domain")


def statements(cursor: pg.cursor, database: Database) -> dict[str, str]:
    """Return the statement for each view. ``OR REPLACE`` keeps owner, grants and dependents."""
    found = {}
    known = names(database)
    for algorithm in ALGORITHMS:
        for template, view in ((_SIGNING_VIEW, signing_view), (_KEY_VIEW, key_view)):
            name = view(algorithm)
            text = template.format(algorithm=algorithm)
            composed = compose(text, view=(database.schema, name), **known)
            found[name] = composed.as_string(cursor)
    return found


def _has_current_columns(cursor: pg.cursor, database: Database, view: str) -> bool:
    """Return whether CREATE OR REPLACE VIEW can replace a view by the formula's."""
    cursor.execute(
        """
        SELECT a.attname::text, a.atttypid = 'text'::regtype, a.attcollation = '"C"'::regcollation
          FROM pg_attribute AS a
          JOIN pg_class AS c ON c.oid = a.attrelid
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname = %s AND c.relname = %s AND a.attnum > 0
         ORDER BY a.attnum
        """,
        (database.schema, view),
    )
    # CREATE OR REPLACE VIEW changes neither a column's type nor its collation.
    return cursor.fetchall() == [(name, True, name in LOOKED_UP) for name in COLUMNS[view]]


def other_dependents(cursor: pg.cursor, database: Database) -> tuple[str, ...]:
    """Return a sentence for each other view that depends on a view that has to be dropped."""
    schema = database.schema
    problems = []
    for view in VIEWS:
        if _has_current_columns(cursor, database, view):
            continue
        for dependent in _dependents(cursor, schema, view):
            problems.append(
                f"{dependent} is built on the view {schema}.{view}, which has to be created again "
                f"with other columns: drop {dependent}, run again, and create it again"
            )
    return tuple(problems)


def _dependents(cursor: pg.cursor, schema: str, view: str) -> list[str]:
    cursor.execute(
        """
        SELECT DISTINCT pg_describe_object('pg_class'::regclass, r.ev_class, 0)
          FROM pg_depend AS d
          JOIN pg_rewrite AS r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
          JOIN pg_class AS c ON c.oid = d.refobjid AND d.refclassid = 'pg_class'::regclass
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname = %s AND c.relname = %s AND r.ev_class <> c.oid
         ORDER BY 1
        """,
        (schema, view),
    )
    return [text for (text,) in cursor]


@dataclass(frozen=True)
class Grants:
    """Grants on a view: (grantee or None for PUBLIC, privilege, column, grantable)."""

    view: tuple[str, str]
    grants: tuple[tuple[str | None, str, str | None, bool], ...]


def drop(cursor: pg.cursor, database: Database) -> list[Grants]:
    """
    Drop the formula's views, and return the grants on them.

    A view stays if it has the current columns and another view depends on it.

    The views are dropped before the tables are changed. A reader locks views and tables in the same
    order, so it waits and there is no deadlock. After the wait it finds the new view by name.
    """
    schema = database.schema
    kept = []
    for view in VIEWS:
        if relation_kind(cursor, schema, view) != "v":
            continue
        if _has_current_columns(cursor, database, view) and _dependents(cursor, schema, view):
            continue
        kept.append(_grants(cursor, schema, view))
        cursor.execute(compose("DROP VIEW {view}", view=(schema, view)))
    return kept


def _grants(cursor: pg.cursor, schema: str, view: str) -> Grants:
    cursor.execute(
        """
        SELECT c.oid
          FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname = %s AND c.relname = %s
        """,
        (schema, view),
    )
    (oid,) = cursor.fetchone()
    cursor.execute(
        """
        SELECT r.rolname, g.privilege_type, g.attname, g.is_grantable
          FROM (
                SELECT x.grantee, x.privilege_type, NULL::name AS attname, x.is_grantable
                  FROM pg_class AS c, aclexplode(c.relacl) AS x
                 WHERE c.oid = %(oid)s AND x.grantee <> c.relowner
                UNION ALL
                SELECT x.grantee, x.privilege_type, a.attname, x.is_grantable
                  FROM pg_attribute AS a, aclexplode(a.attacl) AS x
                 WHERE a.attrelid = %(oid)s AND NOT a.attisdropped
               ) AS g
          LEFT JOIN pg_roles AS r ON r.oid = g.grantee
         ORDER BY 1, 2, 3
        """,
        {"oid": oid},
    )
    return Grants((schema, view), tuple(cursor.fetchall()))


def restore_grants(cursor: pg.cursor, kept: list[Grants]) -> None:
    """Grant the rights of the dropped views again on the new ones."""
    for view in kept:
        for grantee, privilege, column, grantable in view.grants:
            # The privilege is one of PostgreSQL's own words, from aclexplode.
            what = privilege if column is None else f"{privilege} ({{column}})"
            cursor.execute(
                compose(
                    f"GRANT {what} ON {{view}} TO {'PUBLIC' if grantee is None else '{grantee}'}"
                    f"{' WITH GRANT OPTION' if grantable else ''}",
                    view=view.view,
                    grantee=grantee or "",
                    column=column or "",
                )
            )
