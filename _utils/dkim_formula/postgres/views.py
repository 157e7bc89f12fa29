"""The views that OpenDKIM reads, a pair for each algorithm; their grants, kept when they go."""

from __future__ import annotations

import hashlib
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

# security_barrier: without it, a function of the reader's own in a WHERE could be shown the rows
# that the view leaves out, retired and pending keys among them (CREATE VIEW, notes).
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
# Those of the columns of collation "C", as the tables' own are.
LOOKED_UP = ("pattern", "identifier", "domain")


def statements(cursor: pg.cursor, database: Database) -> dict[str, str]:
    """Return the statement for each view. ``OR REPLACE`` leaves owner, grants and dependents be."""
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
    """Return a short hash of the views as PostgreSQL has them; None where one is not there."""
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


def _has_our_columns(cursor: pg.cursor, database: Database, view: str) -> bool:
    """Tell whether a view can be replaced by ours."""
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


def foreign_dependents(cursor: pg.cursor, database: Database) -> tuple[str, ...]:
    """Return a sentence for each view of the site's that is built on one which has to go."""
    schema = database.schema
    problems = []
    for view in VIEWS:
        if _has_our_columns(cursor, database, view):
            continue
        for dependent in _dependents(cursor, schema, view):
            problems.append(
                f"{dependent} is built on the view {schema}.{view}, which has to be made anew with "
                "other columns: drop it, run again, and make it again"
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
    """A view's grants: (grantee, None for PUBLIC; privilege, column, grantable)."""

    view: tuple[str, str]
    grants: tuple[tuple[str | None, str, str | None, bool], ...]


def set_aside(cursor: pg.cursor, database: Database) -> list[Grants]:
    """
    Drop the views that can't be replaced, or that a migration has to have out of the way, and
    return their grants.

    A view goes before its tables are touched: a reader locks in that order too, so it waits for
    us, and never we for it and it for us. After the wait it finds the new view by its name.
    """
    schema = database.schema
    kept = []
    for view in VIEWS:
        if relation_kind(cursor, schema, view) != "v":
            continue
        if _has_our_columns(cursor, database, view) and _dependents(cursor, schema, view):
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
    """Grant again what the views that were set aside had granted."""
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
