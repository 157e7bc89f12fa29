"""Our tables and views in the site's database: looked at, planned, migrated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import DatabaseError
from ..settings.model import Database
from . import adoption, definitions, inspection, signing
from .connection import compose
from .migrations import MIGRATIONS, m0002_keys, m0003_patterns, m0004_history
from .migrations.m0001_domains import MARK
from .objects import FUNCTIONS, LOCK_CLASS, LOCK_SCHEMA, VIEWS, names
from .plan import Plan, change

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# A reader that waits behind us waits no longer than this for whoever we wait for: with
# milter_default_action=accept a milter that does not answer means unsigned mail.
_LOCK_TIMEOUT = "10s"

NEWEST = MIGRATIONS[-1].NUMBER
# The migrations that make what keys are kept in: a formula that is newer than the database can
# still compare, and so foresee under test=True.
_FOR_KEYS = {m0002_keys.NUMBER, m0003_patterns.NUMBER, m0004_history.NUMBER}
DEFINITIONS = "views and triggers"
ADOPTED = "adopted keys"


@dataclass(frozen=True)
class Snapshot:
    """
    What the database holds of ours, of the howto's and of the site's.

    domains
        The site's table is there; ``domains_ours``: the formula made it.
    domain_id_type
        The type of its id column.
    dkim
        A table of keys is there; ``selector_unique``: with its unique (domain_id, selector).
    applied
        The numbers of the migrations that it has had.
    definitions
        ``None`` (none of our views is there), ``foreign`` (views that are not ours, or not as we
        made them) or ``current``.
    owner
        Who is to own what is new.
    adopted
        The keys of the howto's table, decided upon, while it waits for its adoption.
    problems
        Why nothing can be done, a sentence each.
    """

    domains: bool = False
    domains_ours: bool = False
    domain_id_type: str = "integer"
    dkim: bool = False
    selector_unique: bool = False
    applied: tuple[int, ...] = ()
    definitions: str | None = None
    owner: str | None = None
    adopted: tuple[adoption.Adopted, ...] = ()
    problems: tuple[str, ...] = ()


ABSENT = Snapshot()


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
    if not problems and snapshot.dkim and m0002_keys.NUMBER not in snapshot.applied:
        snapshot = replace(snapshot, adopted=adoption.decide(connection, database, known))
    return snapshot


def plan(snapshot: Snapshot, database: Database) -> Plan:
    """
    Which migrations and definitions are due.

    Raises DatabaseError, with every reason, where the schema can't be brought there.
    """
    problems = list(snapshot.problems)
    newest = max(snapshot.applied, default=0)
    if newest > NEWEST:
        problems.append(
            f"the database has migration {newest}, this formula knows {NEWEST} at most: update "
            "the formula"
        )
    if not snapshot.domains and not database.manage:
        site = database.domains
        problems.append(
            f"dkim:database:domains:table: there is no table {site.schema}.{site.table} in the "
            f"database {database.name}; name the site's own table, or set dkim:database:manage "
            "to true to have one made"
        )
    if problems:
        raise DatabaseError("\n".join(problems))
    changes = {
        f"migration {step.NUMBER}": change(None, step.TITLE)
        for step in MIGRATIONS
        if step.NUMBER not in snapshot.applied
    }
    if snapshot.adopted:
        counts = {"active": 0, "retired": 0, "pending": 0, "revoked": 0}
        for row in snapshot.adopted:
            counts[row.state] += 1
        changes[ADOPTED] = change(
            {"keys": len(snapshot.adopted)}, {state: n for state, n in counts.items() if n}
        )
    if snapshot.definitions != "current":
        changes[DEFINITIONS] = change(snapshot.definitions, "current")
    return Plan(changes, adoption.notes(snapshot.adopted))


def is_migrated(snapshot: Snapshot) -> bool:
    """Whether the tables are there that keys are compared with and stored in."""
    return _is_complete(snapshot.applied)


def has_tables(connection: pg.connection, database: Database) -> bool:
    """What :func:`is_migrated` says, without the rest of a look."""
    with connection.cursor() as cursor:
        return _is_complete(_applied(cursor, database))


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
            _migrate(cursor, database, snapshot)
    connection.commit()
    return planned


def _migrate(cursor: pg.cursor, database: Database, snapshot: Snapshot) -> None:
    known = names(database)
    cursor.execute("SELECT set_config('client_min_messages', 'warning', true)")
    due = [step for step in MIGRATIONS if step.NUMBER not in snapshot.applied]
    # Readers wait from here on. Where no table changes, only for the views themselves.
    before = due or not signing.follows(cursor, database)
    acls = _set_aside_views(cursor, database) if before else None
    cursor.execute(
        compose(
            """
            CREATE TABLE IF NOT EXISTS {migration} (
                number integer PRIMARY KEY,
                title text NOT NULL,
                applied_at timestamptz NOT NULL DEFAULT now(),
                applied_by text NOT NULL DEFAULT session_user
            )
            """,
            **known,
        )
    )
    for step in due:
        step.run(cursor, database, snapshot)
        cursor.execute(
            compose("INSERT INTO {migration} (number, title) VALUES (%s, %s)", **known),
            (step.NUMBER, step.TITLE),
        )
    id_type = _domain_id_type(cursor, database) or snapshot.domain_id_type
    flat = signing.wanted(cursor, database)
    for statement in definitions.functions(cursor, database, id_type, flat):
        cursor.execute(statement)
    signing.fill(cursor, database)
    if acls is None:
        acls = _set_aside_views(cursor, database)
    for statement in definitions.views(cursor, database, flat).values():
        cursor.execute(statement)
    _give_to_owner(cursor, database, snapshot)
    _leave_mark(cursor, database, id_type)
    _restore_grants(cursor, database, acls)


def _leave_mark(cursor: pg.cursor, database: Database, id_type: str) -> None:
    """What :func:`_definitions` reads: whether what we made is as it has to be."""
    mark = (
        f"{definitions.fingerprint(cursor, database, id_type)} "
        f"{definitions.views_digest(cursor, database)}"
    )
    schema = database.domains.schema
    cursor.execute(
        compose("COMMENT ON VIEW {view} IS %s", view=(schema, VIEWS[0])),
        (f"Made by the dkim formula: {mark}",),
    )


def _read_catalogue(cursor: pg.cursor, database: Database) -> Snapshot:
    site = database.domains
    cursor.execute(
        """
        SELECT obj_description(c.oid, 'pg_class') = %s
          FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname = %s AND c.relname = %s
        """,
        (MARK, site.schema, site.table),
    )
    row = cursor.fetchone()
    return Snapshot(
        domains=row is not None,
        domains_ours=row is not None and bool(row[0]),
        domain_id_type=_domain_id_type(cursor, database) or "integer",
        dkim=inspection.relation_kind(cursor, site.schema, "dkim") is not None,
        selector_unique=_selector_is_unique(cursor, database),
        applied=_applied(cursor, database),
        definitions=_definitions(cursor, database),
        owner=_owner(cursor, database),
    )


def _is_complete(applied: tuple[int, ...]) -> bool:
    return set(applied) >= _FOR_KEYS


def _applied(cursor: pg.cursor, database: Database) -> tuple[int, ...]:
    if not inspection.relation_kind(cursor, database.domains.schema, "dkim_migration"):
        return ()
    cursor.execute(compose("SELECT number FROM {migration} ORDER BY 1", **names(database)))
    return tuple(number for (number,) in cursor)


def _domain_id_type(cursor: pg.cursor, database: Database) -> str | None:
    site = database.domains
    return inspection.columns(cursor, site.schema, site.table).get(site.id)


def _selector_is_unique(cursor: pg.cursor, database: Database) -> bool:
    cursor.execute(
        """
        SELECT count(*) > 0
          FROM pg_index AS i
          JOIN pg_class AS c ON c.oid = i.indrelid
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname = %s AND c.relname = 'dkim' AND i.indisunique AND i.indpred IS NULL
           AND (SELECT array_agg(a.attname::text ORDER BY a.attname)
                  FROM pg_attribute AS a
                 WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey))
               = ARRAY['domain_id', 'selector']
        """,
        (database.domains.schema,),
    )
    return cursor.fetchone()[0]


def _definitions(cursor: pg.cursor, database: Database) -> str | None:
    cursor.execute(
        """
        SELECT obj_description(c.oid, 'pg_class')
          FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname = %s AND c.relname = ANY (%s)
         ORDER BY c.relname <> %s
        """,
        (database.domains.schema, list(VIEWS), VIEWS[0]),
    )
    row = cursor.fetchone()
    if row is None:
        return None
    id_type = _domain_id_type(cursor, database)
    digest = definitions.views_digest(cursor, database)
    followed = signing.follows(cursor, database) == signing.wanted(cursor, database)
    if id_type is None or digest is None or not followed:
        return "foreign"
    wanted = f"{definitions.fingerprint(cursor, database, id_type)} {digest}"
    return "current" if (row[0] or "").endswith(wanted) else "foreign"


def _owner(cursor: pg.cursor, database: Database) -> str:
    """The owner of the howto's table, else of the site's, else of the database."""
    site = database.domains
    cursor.execute(
        """
        SELECT pg_get_userbyid(coalesce(
            (SELECT c.relowner FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
              WHERE n.nspname = %(schema)s AND c.relname = 'dkim'),
            (SELECT c.relowner FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
              WHERE n.nspname = %(schema)s AND c.relname = %(table)s),
            (SELECT d.datdba FROM pg_database AS d WHERE d.datname = current_database())
        ))
        """,
        {"schema": site.schema, "table": site.table},
    )
    return cursor.fetchone()[0]


def _has_our_columns(cursor: pg.cursor, database: Database, view: str) -> bool:
    found = inspection.columns(cursor, database.domains.schema, view)
    return tuple(found) == definitions.COLUMNS[view] and set(found.values()) == {"text"}


def _foreign_dependents(
    cursor: pg.cursor, database: Database, snapshot: Snapshot
) -> tuple[str, ...]:
    """A sentence for each view of the site's that stands on one that has to be made anew."""
    schema = database.domains.schema
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
    """A view's owner and grants: (grantee, None for PUBLIC; privilege, column, grantable)."""

    view: tuple[str, str]
    owner: str
    grants: tuple[tuple[str | None, str, str | None, bool], ...]


def _set_aside_views(cursor: pg.cursor, database: Database) -> list[_Grants]:
    """
    Drops the views that can't be replaced, or that a migration has to have out of the way, and
    gives their owners and grants.

    A view goes before its tables are touched: a reader locks in that order too, so it waits for
    us, and never we for it and it for us. After the wait it finds the new view by its name.
    """
    schema = database.domains.schema
    kept = []
    for view in VIEWS:
        if inspection.relation_kind(cursor, schema, view) != "v":
            continue
        if _has_our_columns(cursor, database, view) and _dependents(cursor, schema, view):
            continue
        kept.append(_grants(cursor, schema, view))
        cursor.execute(compose("DROP VIEW {view}", view=(schema, view)))
    return kept


def _grants(cursor: pg.cursor, schema: str, view: str) -> _Grants:
    cursor.execute(
        """
        SELECT pg_get_userbyid(c.relowner), c.oid
          FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname = %s AND c.relname = %s
        """,
        (schema, view),
    )
    owner, oid = cursor.fetchone()
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
    return _Grants((schema, view), owner, tuple(cursor.fetchall()))


def _restore_grants(cursor: pg.cursor, database: Database, kept: list[_Grants]) -> None:
    for view in kept:
        cursor.execute(
            compose("ALTER VIEW {view} OWNER TO {owner}", view=view.view, owner=view.owner)
        )
        # The owner's rights are those that the view reads with, and these tables are new to them.
        cursor.execute(
            compose(
                "GRANT SELECT ON {pattern}, {signing} TO {owner}",
                owner=view.owner,
                **names(database),
            )
        )
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
    """What is new belongs to whom the site's tables belong to, and PUBLIC gets nothing of it."""
    known = {**names(database), "owner": snapshot.owner}
    schema = database.domains.schema
    tables = ["migration", "pattern", "signing", "history", "published", "seen", "disclosure"]
    tables += [] if snapshot.dkim else ["dkim"]
    tables += [] if snapshot.domains else ["domains"]
    for table in tables:
        cursor.execute(compose(f"ALTER TABLE {{{table}}} OWNER TO {{owner}}", **known))
        cursor.execute(compose(f"REVOKE ALL ON {{{table}}} FROM PUBLIC", **known))
    for view in VIEWS:
        cursor.execute(
            compose("ALTER VIEW {view} OWNER TO {owner}", view=(schema, view), owner=snapshot.owner)
        )
        cursor.execute(compose("REVOKE ALL ON {view} FROM PUBLIC", view=(schema, view)))
    cursor.execute(
        """
        SELECT p.oid::regprocedure::text
          FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
         WHERE n.nspname = %s AND p.proname = ANY (%s)
        """,
        (schema, [known[name][1] for name in FUNCTIONS]),
    )
    # regprocedure's text is quoted and qualified, for the session's search_path is pg_catalog.
    for (function,) in cursor.fetchall():
        named = function.replace("{", "{{").replace("}", "}}")
        cursor.execute(compose(f"ALTER FUNCTION {named} OWNER TO {{owner}}", **known))
        cursor.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
