"""
Who can read private keys beside the formula's own roles, and the closing of that.

Where the howto made the table of keys, its owner reads them, and whoever was given SELECT. That
stays as it is, and is told, until ``dkim:database:close_keys`` closes it: the table is then the
formula's owner's, nobody else reads the column of the keys, and scripts go on inserting.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..plan import Plan, change
from ..settings.model import Database
from . import marks, owners
from .catalog import columns, relation_kind
from .objects import ALGORITHMS, FUNCTIONS, key_view, names
from .rights import sequences
from .schema import LOCK_TIMEOUT
from .sql import compose, quoted

if TYPE_CHECKING:
    import psycopg2.extensions as pg

KEY = "key"  # the column, in each of the relations
# What the former owner of the table keeps.
KEPT = f"SELECT but of {KEY}, INSERT, UPDATE, DELETE"

# A role's rights by whatever way: its own, a membership's, the ownership's. Who may take on the
# owner's role reads keys too.
_READERS = """
SELECT r.rolname
  FROM pg_roles AS r, pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname = %(schema)s AND c.relname = %(relation)s AND NOT r.rolsuper
   AND r.rolname <> ALL (%(ours)s) AND r.rolname <> session_user AND r.rolname !~ '^pg_'
   AND (has_column_privilege(r.oid, c.oid, 'key', 'SELECT')
        OR pg_has_role(r.oid, c.relowner, 'MEMBER'))
   AND has_schema_privilege(r.oid, n.oid, 'USAGE')
 ORDER BY 1
"""
# With TRIGGER a role has a function of its own called with each key (CREATE TRIGGER, Notes).
_GRANTS = """
SELECT c.relname::text, x.privilege_type, x.attname,
       pg_get_userbyid(x.grantee), pg_get_userbyid(x.grantor), x.grantor = c.relowner
  FROM (
        SELECT c.oid, a.grantee, a.grantor, a.privilege_type, NULL::text AS attname
          FROM pg_class AS c, aclexplode(c.relacl) AS a
        UNION ALL
        SELECT t.attrelid, a.grantee, a.grantor, a.privilege_type, t.attname::text
          FROM pg_attribute AS t, aclexplode(t.attacl) AS a
         WHERE t.attname = 'key'
       ) AS x
  JOIN pg_class AS c ON c.oid = x.oid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname = %(schema)s AND c.relname = ANY (%(relations)s)
   AND x.privilege_type IN ('SELECT', 'TRIGGER') AND x.grantee NOT IN (0, c.relowner)
 ORDER BY 1, 4, 2, 3
"""
_TRIGGERS = """
SELECT t.tgname::text, format('%%I.%%I', fn.nspname, p.proname)
  FROM pg_trigger AS t
  JOIN pg_class AS c ON c.oid = t.tgrelid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_proc AS p ON p.oid = t.tgfoid
  JOIN pg_namespace AS fn ON fn.oid = p.pronamespace
 WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND NOT t.tgisinternal
   AND NOT (fn.nspname = %(schema)s AND p.proname = ANY (%(functions)s))
 ORDER BY 1
"""


@dataclass(frozen=True)
class Grant:
    """
    A right by which a role reads private keys.

    column
        Where it is granted on the column alone.
    by_owner
        Its grantor is the owner of the relation.
    """

    relation: str
    privilege: str
    column: str | None
    role: str
    grantor: str
    by_owner: bool


@dataclass(frozen=True)
class Snapshot:
    """
    What is known of those who read private keys.

    owner
        The owner of the table of keys; '' where there is none. ``is_superuser``: it is one.
    grants
        What other roles than the formula's were given.
    readers
        Who reads, by whatever way, with the relations.
    ours
        The formula's own roles, those of former settings too.
    triggers
        Triggers of the site's on the table of keys, which are handed each key.
    """

    owner: str = ""
    is_superuser: bool = False
    grants: tuple[Grant, ...] = ()
    readers: tuple[tuple[str, str], ...] = ()
    triggers: tuple[str, ...] = ()
    ours: frozenset[str] = frozenset()


def look(connection: pg.connection, database: Database) -> Snapshot:
    """Read the catalogue."""
    with connection.cursor() as cursor:
        return _read(cursor, database)


def plan(snapshot: Snapshot, database: Database) -> Plan:
    """
    What closing the keys changes, where ``close_keys`` asks for that; notes name who reads them
    beside the formula, after that.
    """
    if not database.close_keys:
        return Plan(notes=_told(snapshot, database))
    table = f"{database.schema}.{database.keys_table}"
    changes = {}
    if snapshot.owner not in ("", database.keys_owner):
        changes[f"owner of {table}"] = change(snapshot.owner, database.keys_owner)
        if not snapshot.is_superuser:
            changes[f"rights of {snapshot.owner} on {table}"] = change("the owner's", KEPT)
    for grant in snapshot.grants:
        on = f"{database.schema}.{grant.relation}"
        what = f"private keys in {on}" if grant.privilege == "SELECT" else on
        changes[f"{grant.privilege} on {what} for {grant.role}"] = change(True, False)
    return Plan(changes, () if changes else _told(snapshot, database))


def apply(connection: pg.connection, database: Database) -> Plan:
    """Carry the plan out, and commit it."""
    with connection.cursor() as cursor:
        snapshot = _read(cursor, database)
        planned = plan(snapshot, database)
        if planned:
            _close(cursor, database, snapshot)
            planned = Plan(planned.changes, _told(_read(cursor, database), database))
    connection.commit()
    return planned


def _relations(database: Database) -> list[str]:
    """The relations of ours that show private keys."""
    disclosure = names(database)["disclosure"][1]
    return [database.keys_table, disclosure, *map(key_view, ALGORITHMS)]


def _read(cursor: pg.cursor, database: Database) -> Snapshot:
    schema, table = database.schema, database.keys_table
    if relation_kind(cursor, schema, table) is None:
        return Snapshot()
    relations = _relations(database)
    ours = {database.keys_owner, database.writer.name, database.reader.name}
    cursor.execute(
        "SELECT rolname, shobj_description(oid, 'pg_authid') FROM pg_roles WHERE NOT rolsuper"
    )
    # Readers and writers of former settings lose their rights when nobody has a session as one.
    ours |= {role for role, comment in cursor if marks.database_of(comment) is not None}
    cursor.execute(_GRANTS, {"schema": schema, "relations": relations})
    grants = tuple(one for one in (Grant(*row) for row in cursor) if one.role not in ours)
    readers = []
    for relation in relations:
        cursor.execute(_READERS, {"schema": schema, "relation": relation, "ours": [*ours]})
        readers += [(role, f"{schema}.{relation}") for (role,) in cursor]
    known = names(database)
    functions = [known[function][1] for function in FUNCTIONS]
    cursor.execute(_TRIGGERS, {"schema": schema, "table": table, "functions": functions})
    triggers = tuple(f"{trigger} (function {function})" for trigger, function in cursor)
    cursor.execute(
        "SELECT r.rolname, r.rolsuper FROM pg_class AS c JOIN pg_roles AS r ON r.oid = c.relowner"
        " JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s",
        (schema, table),
    )
    return Snapshot(*cursor.fetchone(), grants, tuple(readers), triggers, frozenset(ours))


def _told(snapshot: Snapshot, database: Database) -> tuple[str, ...]:
    places: dict[str, list[str]] = {}
    for role, relation in snapshot.readers:
        places.setdefault(relation, []).append(role)
    listed = "; ".join(f"in {place} by {', '.join(roles)}" for place, roles in places.items())
    if not database.close_keys:
        if not places:
            return ()
        return (
            f"dkim:database:close_keys: private keys can be read {listed}, and that is left as it "
            f"is; set it to true where that is not meant: the keys are then {database.keys_owner}'s"
            ", and scripts go on inserting",
        )
    said = []
    if places:
        said.append(
            f"dkim:database:close_keys: private keys can still be read {listed}, by membership in "
            "a role that may: REVOKE that"
        )
    table = f"{database.schema}.{database.keys_table}"
    said += [
        f"dkim:database:close_keys: the trigger {trigger} of {table} is handed each private key; "
        "drop it where that is not meant"
        for trigger in snapshot.triggers
    ]
    return tuple(said)


def _close(cursor: pg.cursor, database: Database, snapshot: Snapshot) -> None:
    cursor.execute("SELECT set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
    # The owner's role came with the tables (schema.apply).
    if snapshot.owner != database.keys_owner:
        _take_over(cursor, database, snapshot)
    _revoke(cursor, database, snapshot)
    for relation, role in sorted(
        {
            (one.relation, one.role)
            for one in snapshot.grants
            if one.privilege == "SELECT" and one.column is None
        }
    ):
        _let_read_the_rest(cursor, database, relation, role)


def _revoke(cursor: pg.cursor, database: Database, snapshot: Snapshot) -> None:
    """
    Revoke what roles were given, and first what they handed on: REVOKE on a table with CASCADE
    leaves what was handed on of one column (measured, 15).
    """
    handed_on = [one for one in snapshot.grants if not one.by_owner]
    for one in handed_on:
        # Who has lost the grant option since can't take back what was handed on by it.
        statement = f"GRANT {one.privilege} ON {{relation}} TO {{role}} WITH GRANT OPTION"
        cursor.execute(compose(statement, **_named(database, one.relation, one.grantor)))
    for one in handed_on:
        cursor.execute(compose("SET LOCAL ROLE {role}", role=one.grantor))
        _revoke_one(cursor, database, one, one.role)
        cursor.execute("RESET ROLE")
    for one in snapshot.grants:
        _revoke_one(cursor, database, one, one.role)
        if not one.by_owner and one.grantor not in snapshot.ours:
            _revoke_one(cursor, database, replace(one, column=None), one.grantor)


def _revoke_one(cursor: pg.cursor, database: Database, grant: Grant, role: str) -> None:
    what = grant.privilege if grant.column is None else f"{grant.privilege} ({{column}})"
    statement = f"REVOKE {what} ON {{relation}} FROM {{role}} CASCADE"
    cursor.execute(compose(statement, **_named(database, grant.relation, role)))


def _take_over(cursor: pg.cursor, database: Database, snapshot: Snapshot) -> None:
    """Make the table of keys the formula's owner's, and let its former owner go on writing."""
    table, former = database.keys_table, snapshot.owner
    named = _named(database, table, former)
    with owners.may_create(cursor, database.keys_owner, database.schema):
        cursor.execute(
            compose("ALTER TABLE {relation} OWNER TO {owner}", **named, owner=database.keys_owner)
        )
    if snapshot.is_superuser:
        return
    cursor.execute(compose("GRANT INSERT, UPDATE, DELETE ON {relation} TO {role}", **named))
    for sequence in sequences(cursor, [(database.schema, table, "id")]):
        cursor.execute(f"GRANT USAGE ON SEQUENCE {sequence} TO {quoted(former)}")
    _let_read_the_rest(cursor, database, table, former)


def _let_read_the_rest(cursor: pg.cursor, database: Database, relation: str, role: str) -> None:
    """Grant SELECT of every column but the key's."""
    there = columns(cursor, database.schema, relation)
    rest = ", ".join(quoted(column) for column in there if column != KEY)
    statement = f"GRANT SELECT ({rest}) ON {{relation}} TO {{role}}"
    cursor.execute(compose(statement, **_named(database, relation, role)))


def _named(database: Database, relation: str, role: str) -> dict[str, str | tuple[str, str]]:
    return {"relation": (database.schema, relation), "role": role, "column": KEY}
