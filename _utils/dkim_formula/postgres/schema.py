"""The formula's tables, functions and views in the mail database: looked at, planned, made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..database.connection import compose
from ..database.objects import (
    FUNCTIONS,
    LOCK_CLASS,
    LOCK_SCHEMA,
    OPEN_FUNCTION,
    TABLES,
    VIEWS,
    names,
)
from ..database.plan import Plan, change
from ..errors import DatabaseError
from ..settings.model import Database
from . import adoption, hosted, inspection, owners, signing_table, tables, triggers, views
from .catalog import relation_kind

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# A reader that waits behind us waits no longer than this for whoever we wait for: with
# milter_default_action=accept a milter that does not answer means unsigned mail.
_LOCK_TIMEOUT = "10s"

NEWEST = tables.NUMBER
DEFINITIONS = "views and triggers"
ADOPTED = "adopted keys"


@dataclass(frozen=True)
class Snapshot:
    """
    What the database holds of the formula's and of the howto's.

    schema
        The schema of the formula's objects is there.
    dkim
        A table of keys is there.
    applied
        The numbers of the migrations that it has had.
    site_id
        The column of the table of domains that the howto's ``domain_id`` refers to.
    definitions
        ``None`` (none of our views is there), ``foreign`` (views that are not ours, or not as we
        made them) or ``current``.
    adopted
        The keys of the howto's table, decided upon, while it waits for its adoption.
    problems
        Why nothing can be done, a sentence each.
    """

    schema: bool = False
    dkim: bool = False
    applied: tuple[int, ...] = ()
    site_id: str | None = None
    definitions: str | None = None
    adopted: tuple[adoption.Adopted, ...] = ()
    problems: tuple[str, ...] = ()


ABSENT = Snapshot(schema=True)


def look(
    connection: pg.connection, database: Database, known: tuple[adoption.Adopted, ...] = ()
) -> Snapshot:
    """
    Reads the catalogue, and the keys of a howto's table that waits to be adopted.

    known
        An earlier snapshot's ``adopted``, to spare the parsing of what has not changed.
    """
    with connection.cursor() as cursor:
        snapshot = _read_catalogue(cursor, database)
        problems = inspection.problems(cursor, database)
        if not problems:
            problems = _foreign_dependents(cursor, database, snapshot)
        snapshot = replace(snapshot, problems=problems)
        if not problems:
            snapshot = replace(snapshot, definitions=_definitions(cursor, database, snapshot))
    if not problems and snapshot.dkim and not is_migrated(snapshot):
        adopted = adoption.decide(connection, database, snapshot.site_id, known)
        snapshot = replace(snapshot, adopted=adopted)
    return snapshot


def plan(snapshot: Snapshot, database: Database) -> Plan:
    """
    Which tables and definitions are due.

    Raises DatabaseError, with every reason, where the schema can't be brought there.
    """
    problems = list(snapshot.problems)
    newest = max(snapshot.applied, default=0)
    if newest > NEWEST:
        problems.append(
            f"the database has migration {newest}, this formula knows {NEWEST} at most: update "
            "the formula"
        )
    if problems:
        raise DatabaseError("\n".join(problems))
    changes = {}
    if not snapshot.schema:
        changes[f"schema {database.schema}"] = change(None, "made")
    if not is_migrated(snapshot):
        changes[f"migration {tables.NUMBER}"] = change(None, tables.TITLE)
    if snapshot.adopted:
        counts = {"active": 0, "retired": 0, "pending": 0, "revoked": 0}
        for row in snapshot.adopted:
            counts[row.state] += 1
        changes[ADOPTED] = change(
            {"keys": len(snapshot.adopted)}, {state: n for state, n in counts.items() if n}
        )
    if snapshot.definitions != "current":
        changes[DEFINITIONS] = change(snapshot.definitions, "current")
    notes = adoption.notes(snapshot.adopted)
    if snapshot.dkim and not is_migrated(snapshot):
        notes = (adoption.FREED.format(table=f"{database.schema}.{database.keys_table}"), *notes)
    return Plan(changes, notes)


def is_migrated(snapshot: Snapshot) -> bool:
    """Whether the tables are there that keys are compared with and stored in."""
    return tables.NUMBER in snapshot.applied


def has_tables(connection: pg.connection, database: Database) -> bool:
    """What :func:`is_migrated` says, without the rest of a look."""
    with connection.cursor() as cursor:
        return tables.NUMBER in _applied(cursor, database)


def apply(connection: pg.connection, database: Database) -> Plan:
    """
    Carries the plan out in one transaction, under an advisory lock, and commits it.

    Keys are read before anything is locked; writers then wait for the table, readers only for the
    last moment, and get the old views or the new. Gives the plan that was carried out.

    Raises DatabaseError, with nothing changed.
    """
    before = look(connection, database)
    planned = plan(before, database)
    if not planned:
        return planned
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", (_LOCK_TIMEOUT,))
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK_CLASS, LOCK_SCHEMA))
        if before.dkim:
            cursor.execute(
                compose("LOCK TABLE {dkim} IN SHARE ROW EXCLUSIVE MODE", **names(database))
            )
        snapshot = look(connection, database, before.adopted)
        planned = plan(snapshot, database)
        if planned:
            _make(cursor, database, snapshot)
    connection.commit()
    return planned


def _make(cursor: pg.cursor, database: Database, snapshot: Snapshot) -> None:
    cursor.execute("SELECT set_config('client_min_messages', 'warning', true)")
    owners.make(cursor, database.keys_owner)
    if not snapshot.schema:
        cursor.execute(compose("CREATE SCHEMA {schema}", **names(database)))
    due = not is_migrated(snapshot)
    # Readers wait from here on. Where no table changes, only for the views themselves.
    acls = _set_aside_views(cursor, database) if due else None
    if due:
        adopted = snapshot.adopted if snapshot.dkim else None
        tables.make(cursor, database, adopted, snapshot.site_id)
    for statement in _functions(cursor, database, snapshot.site_id):
        cursor.execute(statement)
    signing_table.fill(cursor, database)
    if acls is None:
        acls = _set_aside_views(cursor, database)
    for statement in views.statements(cursor, database).values():
        cursor.execute(statement)
    with owners.may_create(cursor, database.keys_owner, database.schema):
        _give_to_owner(cursor, database, snapshot)
    _let_owner_read(cursor, database)
    _leave_mark(cursor, database, snapshot.site_id)
    _restore_grants(cursor, database, acls)


def _functions(cursor: pg.cursor, database: Database, site_id: str | None) -> list[str]:
    return [
        *hosted.functions(cursor, database),
        views.function(cursor, database),
        *triggers.functions(cursor, database, site_id),
    ]


def _leave_mark(cursor: pg.cursor, database: Database, site_id: str | None) -> None:
    """What :func:`_definitions` reads: whether what we made is as it has to be."""
    mark = f"{_fingerprint(cursor, database, site_id)} {views.digest(cursor, database)}"
    cursor.execute(
        compose("COMMENT ON VIEW {view} IS %s", view=(database.schema, VIEWS[0])),
        (f"Made by the dkim formula: {mark}",),
    )


def _fingerprint(cursor: pg.cursor, database: Database, site_id: str | None) -> str:
    """A short hash of all definitions as they should be, given the pillar's names."""
    statements = _functions(cursor, database, site_id)
    text = "\n".join([*statements, *views.statements(cursor, database).values()])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read_catalogue(cursor: pg.cursor, database: Database) -> Snapshot:
    cursor.execute("SELECT count(*) FROM pg_namespace WHERE nspname = %s", (database.schema,))
    (count,) = cursor.fetchone()
    kind = relation_kind(cursor, database.schema, database.keys_table)
    return Snapshot(
        schema=bool(count),
        dkim=kind is not None,
        applied=_applied(cursor, database),
        site_id=adoption.site_id(cursor, database),
    )


def _applied(cursor: pg.cursor, database: Database) -> tuple[int, ...]:
    if not relation_kind(cursor, database.schema, "dkim_migration"):
        return ()
    cursor.execute(compose("SELECT number FROM {migration} ORDER BY 1", **names(database)))
    return tuple(number for (number,) in cursor)


def _definitions(cursor: pg.cursor, database: Database, snapshot: Snapshot) -> str | None:
    cursor.execute(
        """
        SELECT obj_description(c.oid, 'pg_class')
          FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname = %s AND c.relname = ANY (%s)
         ORDER BY c.relname <> %s
        """,
        (database.schema, list(VIEWS), VIEWS[0]),
    )
    row = cursor.fetchone()
    if row is None:
        return None
    digest = views.digest(cursor, database)
    if digest is None or not _is_owners(cursor, database) or _lacking(cursor, database):
        return "foreign"
    wanted = f"{_fingerprint(cursor, database, snapshot.site_id)} {digest}"
    return "current" if (row[0] or "").endswith(wanted) else "foreign"


def _is_owners(cursor: pg.cursor, database: Database) -> bool:
    """Whether every object is the owner's, and an adopted table of keys open to it."""
    known = names(database)
    cursor.execute(
        """
        SELECT count(*) = 0
          FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname = %s AND c.relname = ANY (%s)
           AND CASE WHEN c.relname = %s
                    THEN NOT coalesce(
                        (SELECT has_table_privilege(r.oid, c.oid, 'SELECT')
                           FROM pg_roles AS r WHERE r.rolname = %s), false)
                    ELSE pg_get_userbyid(c.relowner) <> %s END
        """,
        (
            database.schema,
            [*(known[table][1] for table in TABLES), *VIEWS],
            database.keys_table,
            database.keys_owner,
            database.keys_owner,
        ),
    )
    return cursor.fetchone()[0]


def _lacking(cursor: pg.cursor, database: Database) -> list[tuple[str, str, str]]:
    """The columns, as (schema, table, column), that the functions read and their owner may not."""
    read = hosted.columns_read(cursor, database)
    site_id = adoption.site_id(cursor, database)
    if site_id is not None:
        read.append((database.domains, (site_id,)))
    return hosted.lacking(cursor, read, database.keys_owner)


def _let_owner_read(cursor: pg.cursor, database: Database) -> None:
    """All that is asked of the mail database's own tables: SELECT of the columns that are read."""
    owner = database.keys_owner
    for schema, table, column in _lacking(cursor, database):
        known = {"schema": schema, "table": (schema, table), "column": column, "owner": owner}
        cursor.execute(compose("GRANT USAGE ON SCHEMA {schema} TO {owner}", **known))
        cursor.execute(compose("GRANT SELECT ({column}) ON {table} TO {owner}", **known))


def _has_our_columns(cursor: pg.cursor, database: Database, view: str) -> bool:
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
    return cursor.fetchall() == [
        (name, True, name in views.LOOKED_UP) for name in views.COLUMNS[view]
    ]


def _foreign_dependents(
    cursor: pg.cursor, database: Database, snapshot: Snapshot
) -> tuple[str, ...]:
    """A sentence for each view of the site's that stands on one that has to be made anew."""
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
class _Grants:
    """A view's grants: (grantee, None for PUBLIC; privilege, column, grantable)."""

    view: tuple[str, str]
    grants: tuple[tuple[str | None, str, str | None, bool], ...]


def _set_aside_views(cursor: pg.cursor, database: Database) -> list[_Grants]:
    """
    Drops the views that can't be replaced, or that a migration has to have out of the way, and
    gives their owners and grants.

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


def _grants(cursor: pg.cursor, schema: str, view: str) -> _Grants:
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
    return _Grants((schema, view), tuple(cursor.fetchall()))


def _restore_grants(cursor: pg.cursor, database: Database, kept: list[_Grants]) -> None:
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


def _give_to_owner(cursor: pg.cursor, database: Database, snapshot: Snapshot) -> None:
    """What is new belongs to the owner, and PUBLIC gets nothing of it but what does no harm."""
    known = {**names(database), "owner": database.keys_owner}
    if snapshot.schema:
        cursor.execute(compose("GRANT USAGE ON SCHEMA {schema} TO {owner}", **known))
    else:
        cursor.execute(compose("ALTER SCHEMA {schema} OWNER TO {owner}", **known))
    for table in TABLES:
        if table == "dkim" and snapshot.site_id is not None:
            # The howto's: its owner's own tool goes on writing to it.
            cursor.execute(compose("GRANT SELECT ON {dkim} TO {owner}", **known))
            continue
        cursor.execute(compose(f"ALTER TABLE {{{table}}} OWNER TO {{owner}}", **known))
        cursor.execute(compose(f"REVOKE ALL ON {{{table}}} FROM PUBLIC", **known))
    for view in VIEWS:
        named = {"view": (database.schema, view), "owner": database.keys_owner}
        cursor.execute(compose("ALTER VIEW {view} OWNER TO {owner}", **named))
        cursor.execute(compose("REVOKE ALL ON {view} FROM PUBLIC", **named))
    for function in FUNCTIONS:
        cursor.execute(compose(f"ALTER FUNCTION {{{function}}} () OWNER TO {{owner}}", **known))
        if function != OPEN_FUNCTION:
            cursor.execute(
                compose(f"REVOKE ALL ON FUNCTION {{{function}}} () FROM PUBLIC", **known)
            )
