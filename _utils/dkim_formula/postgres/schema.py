"""The formula's tables, functions and views in the mail database: read, planned, applied."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import DatabaseError
from ..plan import Plan, change
from ..settings.model import Database
from . import (
    adoption,
    hosted,
    inspection,
    owners,
    replica_function,
    schema_number,
    signing_table_triggers,
    startup_scan,
    tables,
    triggers,
    views,
)
from .catalog import relation_kind
from .objects import FUNCTIONS, LOCK_CLASS, LOCK_SCHEMA, OPEN_FUNCTION, TABLES, VIEWS, names
from .sql import compose

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# The longest wait for a lock. Readers queue behind the waiting session, and OpenDKIM is a reader:
# with milter_default_action=accept, mail leaves unsigned while the milter does not answer.
LOCK_TIMEOUT = "10s"

DEFINITIONS = "views and triggers"
ADOPTED = "adopted keys"
NEW_TABLES = "tables"


# The definitions as PostgreSQL has them. A trigger may also be disabled (ALTER TABLE).
_DEFINED = """
SELECT string_agg(text, chr(10) ORDER BY text COLLATE "C")
  FROM (
        SELECT c.relname || pg_get_viewdef(c.oid) AS text
          FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname = %(schema)s AND c.relname = ANY (%(views)s) AND c.relkind = 'v'
        UNION ALL
        SELECT pg_get_functiondef(p.oid) || pg_get_userbyid(p.proowner)::text
          FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
         WHERE n.nspname = %(schema)s AND p.proname = ANY (%(functions)s)
           AND p.pronargs = 0 AND p.prokind = 'f'
        UNION ALL
        SELECT pg_get_triggerdef(t.oid) || t.tgenabled::text
          FROM pg_trigger AS t
          JOIN pg_proc AS p ON p.oid = t.tgfoid
          JOIN pg_namespace AS n ON n.oid = p.pronamespace
         WHERE n.nspname = %(schema)s AND p.proname = ANY (%(functions)s)
       ) AS defined
"""


@dataclass(frozen=True)
class Snapshot:
    """
    The formula's objects in the database, and the howto's table of keys.

    owner
        The state of the role that owns the formula's objects.
    schema
        Whether the schema for the formula's objects exists.
    dkim
        Whether a table of keys exists.
    applied
        The numbers of the migrations that were applied.
    site_id
        The column of the table of domains that the howto's ``domain_id`` refers to.
    definitions
        ``None`` if none of the views exists, ``other`` if views, functions, triggers or owners
        differ from the formula's, else ``current``.
    adopted
        The keys of a howto's table that is not adopted yet, with the decision for each.
    problems
        Reasons that rule out every change, a sentence each.
    """

    owner: owners.Snapshot = owners.MISSING
    schema: bool = False
    dkim: bool = False
    applied: tuple[int, ...] = ()
    site_id: str | None = None
    definitions: str | None = None
    adopted: tuple[adoption.Adopted, ...] = ()
    problems: tuple[str, ...] = ()


def absent(database: Database, owner: owners.Snapshot) -> Snapshot:
    """Return the snapshot of a database that is not created yet. It will have a schema public."""
    return Snapshot(owner=owner, schema=database.schema == "public")


def read(
    connection: pg.connection, database: Database, known: tuple[adoption.Adopted, ...] = ()
) -> Snapshot:
    """
    Read the catalogue, and the keys of a howto's table that is not adopted yet.

    known
        The ``adopted`` of an earlier snapshot. Its unchanged keys are not parsed again.
    """
    with connection.cursor() as cursor:
        snapshot = _read_catalogue(cursor, database)
        problems = inspection.problems(cursor, database)
        if not problems:
            problems = views.other_dependents(cursor, database)
        snapshot = replace(snapshot, problems=problems)
        if not problems:
            snapshot = replace(snapshot, definitions=_definitions(cursor, database, snapshot))
    if not problems and snapshot.dkim and not is_migrated(snapshot):
        adopted = adoption.decide(connection, database, snapshot.site_id, known)
        snapshot = replace(snapshot, adopted=adopted)
    return snapshot


def plan(snapshot: Snapshot, database: Database) -> Plan:
    """
    Plan the missing tables and the definitions that differ.

    Raises DatabaseError, with every reason, if the schema can't be changed.
    """
    problems = list(snapshot.problems)
    if problem := schema_number.newer(snapshot.applied):
        problems.append(problem)
    if problems:
        raise DatabaseError("\n".join(problems))
    changes = {}
    if not snapshot.schema:
        changes[f"schema {database.schema}"] = change(None, "made")
    if not is_migrated(snapshot):
        changes[NEW_TABLES] = change(None, tables.TITLE)
    if snapshot.adopted:
        counts = {"active": 0, "retired": 0, "pending": 0, "revoked": 0}
        for row in snapshot.adopted:
            counts[row.state] += 1
        changes[ADOPTED] = change(
            {"keys": len(snapshot.adopted)}, {state: n for state, n in counts.items() if n}
        )
    if snapshot.definitions != "current":
        changes[DEFINITIONS] = change(snapshot.definitions, "current")
    if changes:
        changes = {**owners.changes(snapshot.owner, database.keys_owner), **changes}
    notes = adoption.notes(snapshot.adopted)
    if snapshot.dkim and not is_migrated(snapshot):
        notes = (adoption.FREED.format(table=f"{database.schema}.{database.keys_table}"), *notes)
    return Plan(changes, notes)


def is_migrated(snapshot: Snapshot) -> bool:
    """Return whether the database has the tables of this formula's schema number."""
    return schema_number.NUMBER in snapshot.applied


def has_tables(connection: pg.connection, database: Database) -> bool:
    """Return :func:`is_migrated` of a database without a complete snapshot."""
    with connection.cursor() as cursor:
        return schema_number.NUMBER in schema_number.applied(cursor, database)


def apply(connection: pg.connection, database: Database) -> Plan:
    """
    Carry out the plan in one transaction, under an advisory lock, and commit it.

    Keys are read before anything is locked. Then writers wait for the table. Readers wait only at
    the end, and see either the old views or the new ones. Return the plan that was carried out.

    Raises DatabaseError and changes nothing.
    """
    before = read(connection, database)
    planned = plan(before, database)
    if not planned:
        return planned
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK_CLASS, LOCK_SCHEMA))
        if before.dkim:
            cursor.execute(
                compose("LOCK TABLE {dkim} IN SHARE ROW EXCLUSIVE MODE", **names(database))
            )
        snapshot = read(connection, database, before.adopted)
        planned = plan(snapshot, database)
        if planned:
            _make(cursor, database, snapshot)
    connection.commit()
    return planned


def _make(cursor: pg.cursor, database: Database, snapshot: Snapshot) -> None:
    cursor.execute("SELECT set_config('client_min_messages', 'warning', true)")
    owners.make(cursor, snapshot.owner, database.keys_owner, {})
    if not snapshot.schema:
        cursor.execute(compose("CREATE SCHEMA {schema}", **names(database)))
    due = not is_migrated(snapshot)
    # Readers wait from here on; if no table changes, they wait only while the views are replaced.
    acls = views.drop(cursor, database) if due else None
    if due:
        adopted = snapshot.adopted if snapshot.dkim else None
        tables.make(cursor, database, adopted, snapshot.site_id)
    for statement in _functions(cursor, database, snapshot.site_id):
        cursor.execute(statement)
    signing_table_triggers.fill(cursor, database)
    if acls is None:
        acls = views.drop(cursor, database)
    for statement in views.statements(cursor, database).values():
        cursor.execute(statement)
    with owners.may_create(cursor, database.keys_owner, database.schema):
        _give_to_owner(cursor, database, snapshot)
    _let_owner_read(cursor, database)
    replica_function.let_owner_see(cursor, database)
    _leave_mark(cursor, database, snapshot.site_id)
    views.restore_grants(cursor, acls)


def _functions(cursor: pg.cursor, database: Database, site_id: str | None) -> list[str]:
    return [
        *hosted.functions(cursor, database),
        startup_scan.statement(cursor, database),
        replica_function.statement(cursor, database),
        *triggers.functions(cursor, database, site_id),
    ]


def _leave_mark(cursor: pg.cursor, database: Database, site_id: str | None) -> None:
    """Write the fingerprints by which :func:`_definitions` finds changed definitions."""
    mark = f"{_fingerprint(cursor, database, site_id)} {_digest(cursor, database)}"
    cursor.execute(
        compose("COMMENT ON VIEW {view} IS %s", view=(database.schema, VIEWS[0])),
        (f"Made by the dkim formula: {mark}",),
    )


def _fingerprint(cursor: pg.cursor, database: Database, site_id: str | None) -> str:
    """Return a short hash of all desired definitions, with the pillar's names."""
    statements = _functions(cursor, database, site_id)
    return _short_hash("\n".join([*statements, *views.statements(cursor, database).values()]))


def _digest(cursor: pg.cursor, database: Database) -> str:
    """Return a short hash of the present definitions in PostgreSQL."""
    known = names(database)
    functions = [known[function][1] for function in FUNCTIONS]
    given = {"schema": database.schema, "views": list(VIEWS), "functions": functions}
    cursor.execute(_DEFINED, given)
    return _short_hash(cursor.fetchone()[0] or "")


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _read_catalogue(cursor: pg.cursor, database: Database) -> Snapshot:
    cursor.execute("SELECT count(*) FROM pg_namespace WHERE nspname = %s", (database.schema,))
    (count,) = cursor.fetchone()
    kind = relation_kind(cursor, database.schema, database.keys_table)
    return Snapshot(
        owner=owners.read(cursor, database.keys_owner),
        schema=bool(count),
        dkim=kind is not None,
        applied=schema_number.applied(cursor, database),
        site_id=adoption.site_id(cursor, database),
    )


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
    if not _has_owner(cursor, database) or _lacking(cursor, database):
        return "other"
    desired = f"{_fingerprint(cursor, database, snapshot.site_id)} {_digest(cursor, database)}"
    return "current" if (row[0] or "").endswith(desired) else "other"


def _has_owner(cursor: pg.cursor, database: Database) -> bool:
    """Return whether the owner's role owns every object and can read the table of keys."""
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
    """Return the columns that the functions read and the owner can't: (schema, table, column)."""
    columns = hosted.columns_read(cursor, database)
    site_id = adoption.site_id(cursor, database)
    if site_id is not None:
        columns.append((database.domains, (site_id,)))
    return hosted.unreadable_columns(cursor, columns, database.keys_owner)


def _let_owner_read(cursor: pg.cursor, database: Database) -> None:
    """Grant the owner SELECT on the columns of the mail database that it needs, and no others."""
    owner = database.keys_owner
    for schema, table, column in _lacking(cursor, database):
        known = {"schema": schema, "table": (schema, table), "column": column, "owner": owner}
        cursor.execute(compose("GRANT USAGE ON SCHEMA {schema} TO {owner}", **known))
        cursor.execute(compose("GRANT SELECT ({column}) ON {table} TO {owner}", **known))


def _give_to_owner(cursor: pg.cursor, database: Database, snapshot: Snapshot) -> None:
    """Give all objects to the owner's role. Revoke PUBLIC's rights, except on the open function."""
    known = {**names(database), "owner": database.keys_owner}
    if snapshot.schema:
        cursor.execute(compose("GRANT USAGE ON SCHEMA {schema} TO {owner}", **known))
    else:
        cursor.execute(compose("ALTER SCHEMA {schema} OWNER TO {owner}", **known))
    for table in TABLES:
        if table == "dkim" and snapshot.site_id is not None:
            # The howto's table keeps its owner, whose own tool still writes to it.
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
