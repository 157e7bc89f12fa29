"""A login role with exactly the rights that it is to have."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..secret import Secret
from . import scram
from .connection import compose
from .plan import Plan, change

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# pg_roles' columns, and the word of ALTER ROLE for each as it is to be.
_ATTRIBUTES = {
    "rolcanlogin": (True, "LOGIN"),
    "rolsuper": (False, "NOSUPERUSER"),
    "rolcreatedb": (False, "NOCREATEDB"),
    "rolcreaterole": (False, "NOCREATEROLE"),
    "rolreplication": (False, "NOREPLICATION"),
    "rolbypassrls": (False, "NOBYPASSRLS"),
}

# What aclexplode gives of one catalogue: the kind of object for REVOKE, its qualified name, its id.
_GRANTS = """
    SELECT kind, name, privilege_type FROM (
        SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind,
               format('%%I.%%I', n.nspname, c.relname) AS name, a.privilege_type, a.grantee
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
             aclexplode(c.relacl) a
        UNION ALL
        SELECT 'COLUMN', format('%%I.%%I(%%I)', n.nspname, c.relname, t.attname),
               a.privilege_type, a.grantee
        FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid
             JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(t.attacl) a
        UNION ALL
        SELECT CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END,
               format('%%I.%%I(%%s)', n.nspname, p.proname,
                      pg_get_function_identity_arguments(p.oid)),
               a.privilege_type, a.grantee
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace, aclexplode(p.proacl) a
        UNION ALL
        SELECT 'SCHEMA', format('%%I', n.nspname), a.privilege_type, a.grantee
        FROM pg_namespace n, aclexplode(n.nspacl) a
        UNION ALL
        SELECT 'DATABASE', format('%%I', d.datname), a.privilege_type, a.grantee
        FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = current_database()
        UNION ALL
        SELECT 'LANGUAGE', format('%%I', l.lanname), a.privilege_type, a.grantee
        FROM pg_language l, aclexplode(l.lanacl) a
        UNION ALL
        SELECT 'TYPE', format('%%I.%%I', n.nspname, t.typname), a.privilege_type, a.grantee
        FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace, aclexplode(t.typacl) a
    ) AS granted
    WHERE grantee = %s
    ORDER BY 1, 2, 3
"""

# Objects of this database, and databases, that are the role's own.
_POSSESSIONS = """
    SELECT pg_describe_object(classid, objid, objsubid)
    FROM pg_shdepend
    WHERE refclassid = 'pg_authid'::regclass AND refobjid = %s AND deptype = 'o'
      AND dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    ORDER BY 1
"""

Grant = tuple[str, str, str]  # kind, name as SQL writes it, privilege


@dataclass(frozen=True)
class Wanted:
    """
    The role as it is to be: LOGIN, and no other attribute.

    password
        ``keep`` leaves it alone, ``absent`` takes it away, a Secret sets it.
    connection_limit
        None leaves it alone; -1 is PostgreSQL's word for none.
    relations
        (schema, relation) pairs to SELECT from.
    memberships
        Roles to be a member of; any other membership is taken back.
    """

    name: str
    password: Secret | str = "keep"
    connection_limit: int | None = None
    relations: tuple[tuple[str, str], ...] = ()
    memberships: tuple[str, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """
    The role as it is.

    exists
        It is there; the rest is empty where it is not.
    attributes
        pg_roles' columns by name.
    has_password
        Something is stored; ``password_matches``: it is for the wanted one.
    grants
        What is granted to it in this database, as (kind, name, privilege).
    possessions
        Descriptions of what it owns.
    """

    exists: bool = False
    attributes: dict[str, object] = field(default_factory=dict)
    has_password: bool = False
    password_matches: bool = False
    memberships: tuple[str, ...] = ()
    grants: frozenset[Grant] = frozenset()
    possessions: tuple[str, ...] = ()


ABSENT = Snapshot()


def look(connection: pg.connection, wanted: Wanted) -> Snapshot:
    """Reads the role's attributes, memberships, grants (in this database) and possessions."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT oid, rolconnlimit, {', '.join(_ATTRIBUTES)} FROM pg_roles WHERE rolname = %s",
            (wanted.name,),
        )
        row = cursor.fetchone()
        if row is None:
            return ABSENT
        oid, limit, *values = row
        stored = _stored_password(cursor, oid)
        cursor.execute(
            "SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid"
            " WHERE m.member = %s ORDER BY 1",
            (oid,),
        )
        memberships = tuple(name for (name,) in cursor)
        cursor.execute(_GRANTS, (oid,))
        grants = frozenset(cursor.fetchall())
        cursor.execute(_POSSESSIONS, (oid,))
        possessions = tuple(name for (name,) in cursor)
    return Snapshot(
        exists=True,
        attributes={**dict(zip(_ATTRIBUTES, values, strict=True)), "rolconnlimit": limit},
        has_password=stored is not None,
        password_matches=isinstance(wanted.password, Secret)
        and scram.matches(stored, wanted.password),
        memberships=memberships,
        grants=grants,
        possessions=possessions,
    )


def plan(snapshot: Snapshot, wanted: Wanted, dbname: str) -> Plan:
    """
    What differs, an entry for each attribute, membership and grant. Objects that the role owns are
    notes: they are somebody's, and giving them away is not ours to decide.

    dbname
        The database in which the grants are, for the entries' text.
    """
    changes: dict[str, dict[str, object]] = {}
    if not snapshot.exists:
        changes[f"role {wanted.name}"] = change(None, "login")
    else:
        for column, (right, _) in _ATTRIBUTES.items():
            if snapshot.attributes[column] != right:
                changes[column.removeprefix("rol")] = change(not right, right)
    limit = snapshot.attributes.get("rolconnlimit", -1)
    if wanted.connection_limit not in (None, limit):
        changes["connection limit"] = change(limit, wanted.connection_limit)
    changes.update(_password_change(snapshot, wanted))
    for name in sorted({*snapshot.memberships, *wanted.memberships}):
        if (name in snapshot.memberships) != (name in wanted.memberships):
            had = name in snapshot.memberships
            changes[f"member of {name}"] = change(had, not had)
    needed = _needed(wanted)
    for grant in sorted({*snapshot.grants, *needed}):
        had = grant in snapshot.grants
        if had != (grant in needed):
            kind, name, privilege = grant
            what = f"{privilege} on {kind.lower()} {name} of {dbname}"
            changes[what] = change(had, not had)
    notes = tuple(
        f"role {wanted.name} owns {thing}; it is left alone: give it to another role"
        for thing in snapshot.possessions
    )
    return Plan(changes, notes)


def apply(connection: pg.connection, wanted: Wanted) -> Plan:
    """Makes the role so, in one transaction; gives the plan that was carried out."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        (dbname,) = cursor.fetchone()
        snapshot = look(connection, wanted)
        planned = plan(snapshot, wanted, dbname)
        if planned:
            _make(cursor, snapshot, wanted)
            _set_password(cursor, snapshot, wanted)
            _set_memberships(cursor, snapshot, wanted)
            _set_grants(cursor, snapshot, wanted)
    connection.commit()
    return planned


def password_plan(snapshot: Snapshot, wanted: Wanted) -> Plan:
    """The password's part of :func:`plan` alone; nothing for a role that is not there."""
    return Plan(_password_change(snapshot, wanted) if snapshot.exists else {})


def apply_password(connection: pg.connection, wanted: Wanted) -> Plan:
    """Carries out :func:`password_plan`."""
    with connection.cursor() as cursor:
        snapshot = look(connection, wanted)
        planned = password_plan(snapshot, wanted)
        if planned:
            _set_password(cursor, snapshot, wanted)
    connection.commit()
    return planned


def _needed(wanted: Wanted) -> frozenset[Grant]:
    schemas = {schema for schema, _ in wanted.relations}
    tables = {
        ("TABLE", f"{_quoted(schema)}.{_quoted(relation)}", "SELECT")
        for schema, relation in wanted.relations
    }
    return frozenset(tables | {("SCHEMA", _quoted(schema), "USAGE") for schema in schemas})


def _quoted(name: str) -> str:
    """As format('%I') writes it for the names that the settings let through."""
    plain = name.isascii() and name.replace("_", "a").isalnum() and name == name.lower()
    return name if plain and not name[0].isdigit() else '"' + name.replace('"', '""') + '"'


def _password_change(snapshot: Snapshot, wanted: Wanted) -> dict[str, dict[str, object]]:
    if isinstance(wanted.password, Secret) and not snapshot.password_matches:
        return {"password": change("another" if snapshot.has_password else None, "set")}
    if wanted.password == "absent" and snapshot.has_password:
        return {"password": change("set", None)}
    return {}


def _stored_password(cursor: pg.cursor, oid: int) -> str | None:
    # pg_authid is the superuser's; for anybody else a password counts as unknown, so unset.
    cursor.execute("SELECT has_table_privilege('pg_authid', 'SELECT')")
    if not cursor.fetchone()[0]:
        return None
    cursor.execute("SELECT rolpassword FROM pg_authid WHERE oid = %s", (oid,))
    return cursor.fetchone()[0]


def _make(cursor: pg.cursor, snapshot: Snapshot, wanted: Wanted) -> None:
    verb = "ALTER" if snapshot.exists else "CREATE"
    words = " ".join(word for _, word in _ATTRIBUTES.values())
    limit = "" if wanted.connection_limit is None else " CONNECTION LIMIT %s"
    arguments = () if wanted.connection_limit is None else (wanted.connection_limit,)
    cursor.execute(compose(f"{verb} ROLE {{name}} {words}{limit}", name=wanted.name), arguments)


def _set_password(cursor: pg.cursor, snapshot: Snapshot, wanted: Wanted) -> None:
    if "password" not in _password_change(snapshot, wanted):
        return
    stored = None
    if isinstance(wanted.password, Secret):
        stored = scram.verifier(wanted.name, wanted.password, cursor.connection)
    cursor.execute(compose("ALTER ROLE {name} PASSWORD %s", name=wanted.name), (stored,))


def _set_memberships(cursor: pg.cursor, snapshot: Snapshot, wanted: Wanted) -> None:
    for group in set(snapshot.memberships) - set(wanted.memberships):
        cursor.execute(compose("REVOKE {group} FROM {name}", group=group, name=wanted.name))
    for group in set(wanted.memberships) - set(snapshot.memberships):
        cursor.execute(compose("GRANT {group} TO {name}", group=group, name=wanted.name))


def _set_grants(cursor: pg.cursor, snapshot: Snapshot, wanted: Wanted) -> None:
    needed = _needed(wanted)
    # Names in these tuples are quoted already: PostgreSQL's own format('%I'), or _quoted.
    for grant in sorted(snapshot.grants - needed):
        _grant(cursor, f"REVOKE {_clause(grant)} FROM {{name}} CASCADE", wanted)
    for grant in sorted(needed - snapshot.grants):
        _grant(cursor, f"GRANT {_clause(grant)} TO {{name}}", wanted)


def _clause(grant: Grant) -> str:
    kind, name, privilege = grant
    if kind != "COLUMN":
        return f"{privilege} ON {kind} {name}"
    table, _, column = name.rstrip(")").rpartition("(")
    return f"{privilege} ({column}) ON TABLE {table}"


def _grant(cursor: pg.cursor, statement: str, wanted: Wanted) -> None:
    from psycopg2 import sql

    head, _, tail = statement.rpartition("{name}")
    cursor.execute(sql.SQL(head) + sql.Identifier(wanted.name) + sql.SQL(tail))
