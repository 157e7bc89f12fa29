"""
The roles beside the formula's own that can read private keys, and the revocation of their rights.

The owner of a table of keys that was made with the howto can read the keys, and so can each role
with SELECT. The formula reports these rights and does not change them, unless
``dkim:database:close_keys`` is true. Then the formula's owner role owns the table, no other role
can read the column of the keys, and scripts can still insert keys.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..plan import Plan, change
from ..settings.model import Database
from . import marks, owners
from .catalog import columns, relation_kind
from .objects import ALGORITHMS, FUNCTIONS, key_view, names
from .schema import LOCK_TIMEOUT
from .sql import acting_as, compose, quoted
from .writer_rights import sequences

if TYPE_CHECKING:
    import psycopg2.extensions as pg

KEY = "key"  # the column with the private key, in each of the relations
# The rights that the former owner of the table keeps.
KEPT = f"SELECT but of {KEY}, INSERT, UPDATE, DELETE"

# A role's rights from every source: grants, memberships, ownership. A member of the owner's role
# can read keys too.
_READERS = """
SELECT r.rolname
  FROM pg_roles AS r, pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname = %(schema)s AND c.relname = %(relation)s AND NOT r.rolsuper
   AND r.rolname <> ALL (%(managed)s) AND r.rolname <> session_user AND r.rolname !~ '^pg_'
   AND (has_column_privilege(r.oid, c.oid, 'key', 'SELECT')
        OR pg_has_role(r.oid, c.relowner, 'MEMBER'))
   AND has_schema_privilege(r.oid, n.oid, 'USAGE')
 ORDER BY 1
"""
# TRIGGER lets a role have its own function called with each key (CREATE TRIGGER, Notes).
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
    A right by which a role can read private keys.

    column
        The column that the right is granted on; None: on the whole relation.
    by_owner
        Whether the owner of the relation granted it.
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
    The roles and triggers that have access to private keys.

    owner
        The owner of the table of keys; '' if the table is missing.
    is_superuser
        Whether the owner is a superuser.
    grants
        The rights of roles other than the formula's.
    readers
        The roles that can read keys by any right, each with the relation.
    triggers
        Other programs' triggers on the table of keys, which receive each key.
    managed_roles
        The formula's own roles, also those of former settings.
    """

    owner: str = ""
    is_superuser: bool = False
    grants: tuple[Grant, ...] = ()
    readers: tuple[tuple[str, str], ...] = ()
    triggers: tuple[str, ...] = ()
    managed_roles: frozenset[str] = frozenset()


def read(connection: pg.connection, database: Database) -> Snapshot:
    """Read from the catalogue which roles can read private keys."""
    with connection.cursor() as cursor:
        return _read(cursor, database)


def plan(snapshot: Snapshot, database: Database) -> Plan:
    """
    Plan the revocation of other roles' rights to read private keys if ``close_keys`` is true.

    Notes name the other roles that can read private keys after the change.
    """
    if not database.close_keys:
        return Plan(notes=_notes(snapshot, database))
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
    return Plan(changes, () if changes else _notes(snapshot, database))


def apply(connection: pg.connection, database: Database) -> Plan:
    """Plan, carry the plan out, commit it and return it."""
    with connection.cursor() as cursor:
        snapshot = _read(cursor, database)
        planned = plan(snapshot, database)
        if planned:
            _close(cursor, database, snapshot)
            planned = Plan(planned.changes, _notes(_read(cursor, database), database))
    connection.commit()
    return planned


def _relations(database: Database) -> list[str]:
    """Return the formula's relations that show private keys."""
    disclosure = names(database)["disclosure"][1]
    return [database.keys_table, disclosure, *map(key_view, ALGORITHMS)]


def _read(cursor: pg.cursor, database: Database) -> Snapshot:
    schema, table = database.schema, database.keys_table
    if relation_kind(cursor, schema, table) is None:
        return Snapshot()
    relations = _relations(database)
    managed_roles = {database.keys_owner, database.writer.name, database.reader.name}
    cursor.execute(
        "SELECT rolname, shobj_description(oid, 'pg_authid') FROM pg_roles WHERE NOT rolsuper"
    )
    # Readers and writers of former settings lose their rights when their last session ends.
    managed_roles |= {role for role, comment in cursor if marks.database_of(comment) is not None}
    cursor.execute(_GRANTS, {"schema": schema, "relations": relations})
    grants = tuple(one for one in (Grant(*row) for row in cursor) if one.role not in managed_roles)
    readers = []
    for relation in relations:
        given = {"schema": schema, "relation": relation, "managed": [*managed_roles]}
        cursor.execute(_READERS, given)
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
    return Snapshot(*cursor.fetchone(), grants, tuple(readers), triggers, frozenset(managed_roles))


def _notes(snapshot: Snapshot, database: Database) -> tuple[str, ...]:
    by_relation: dict[str, list[str]] = {}
    for role, relation in snapshot.readers:
        by_relation.setdefault(relation, []).append(role)
    listed = "; ".join(f"in {name} by {', '.join(roles)}" for name, roles in by_relation.items())
    if not database.close_keys:
        if not by_relation:
            return ()
        return (
            f"dkim:database:close_keys: private keys can be read {listed}, and the formula does "
            "not change this; set it to true to revoke these rights: the table of keys then "
            f"belongs to {database.keys_owner}, and scripts can still insert keys",
        )
    notes = []
    if by_relation:
        notes.append(
            f"dkim:database:close_keys: private keys can still be read {listed}, by membership in "
            "a role that has the right; REVOKE the membership"
        )
    table = f"{database.schema}.{database.keys_table}"
    notes += [
        f"dkim:database:close_keys: the trigger {trigger} of {table} receives each private key; "
        "drop the trigger if this is not intended"
        for trigger in snapshot.triggers
    ]
    return tuple(notes)


def _close(cursor: pg.cursor, database: Database, snapshot: Snapshot) -> None:
    cursor.execute("SELECT set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
    # The owner's role exists: schema.apply made it with the tables.
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
        _grant_other_columns(cursor, database, relation, role)


def _revoke(cursor: pg.cursor, database: Database, snapshot: Snapshot) -> None:
    """
    Revoke the rights that roles have, and first the rights that they granted to others.

    REVOKE on a table with CASCADE leaves rights that were granted on one column (measured, 15).
    """
    granted_on = [one for one in snapshot.grants if not one.by_owner]
    for one in granted_on:
        # A grantor that has lost the grant option can't revoke its grants.
        statement = f"GRANT {one.privilege} ON {{relation}} TO {{role}} WITH GRANT OPTION"
        cursor.execute(compose(statement, **_named(database, one.relation, one.grantor)))
    for one in granted_on:
        with acting_as(cursor, one.grantor):
            _revoke_one(cursor, database, one, one.role)
    for one in snapshot.grants:
        _revoke_one(cursor, database, one, one.role)
        if not one.by_owner and one.grantor not in snapshot.managed_roles:
            _revoke_one(cursor, database, replace(one, column=None), one.grantor)


def _revoke_one(cursor: pg.cursor, database: Database, grant: Grant, role: str) -> None:
    what = grant.privilege if grant.column is None else f"{grant.privilege} ({{column}})"
    statement = f"REVOKE {what} ON {{relation}} FROM {{role}} CASCADE"
    cursor.execute(compose(statement, **_named(database, grant.relation, role)))


def _take_over(cursor: pg.cursor, database: Database, snapshot: Snapshot) -> None:
    """Give the table of keys to the formula's owner, and let its former owner write to it."""
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
    _grant_other_columns(cursor, database, table, former)


def _grant_other_columns(cursor: pg.cursor, database: Database, relation: str, role: str) -> None:
    """Grant SELECT on every column except the key."""
    present = columns(cursor, database.schema, relation)
    others = ", ".join(quoted(column) for column in present if column != KEY)
    statement = f"GRANT SELECT ({others}) ON {{relation}} TO {{role}}"
    cursor.execute(compose(statement, **_named(database, relation, role)))


def _named(database: Database, relation: str, role: str) -> dict[str, str | tuple[str, str]]:
    return {"relation": (database.schema, relation), "role": role, "column": KEY}
