"""A login role with exactly the rights that it is to have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..postgres import marks
from ..secret import Secret
from . import scram
from .connection import compose, copy_rows, execute_or_tell, is_superuser
from .objects import LOCK_CLASS, LOCK_ROLES, quoted
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

# What aclexplode gives of each catalogue: the kind of object for REVOKE, its qualified name, and
# who granted it, where that is not the owner. Names are quoted always: PostgreSQL's format('%I')
# leaves the quotes out by a list of words that is its own.
_GRANTS = """
    SELECT kind, name, privilege_type, is_grantable,
           CASE WHEN grantor <> owner THEN pg_get_userbyid(grantor) END
    FROM (
        SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind,
               {schema} || '.' || {relation} AS name, a.*, c.relowner AS owner
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
             aclexplode(c.relacl) a
        UNION ALL
        SELECT 'COLUMN', {schema} || '.' || {relation} || '(' || {column} || ')', a.*, c.relowner
        FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid
             JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(t.attacl) a
        UNION ALL
        SELECT CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END,
               {schema} || '.' || {function} || '('
                   || pg_get_function_identity_arguments(p.oid) || ')',
               a.*, p.proowner
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace, aclexplode(p.proacl) a
        UNION ALL
        SELECT 'SCHEMA', {schema}, a.*, n.nspowner
        FROM pg_namespace n, aclexplode(n.nspacl) a
        UNION ALL
        SELECT 'DATABASE', {database}, a.*, d.datdba
        FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = current_database()
        UNION ALL
        SELECT 'LANGUAGE', {language}, a.*, l.lanowner
        FROM pg_language l, aclexplode(l.lanacl) a
        UNION ALL
        SELECT 'TYPE', {schema} || '.' || {type}, a.*, t.typowner
        FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace, aclexplode(t.typacl) a
        UNION ALL
        SELECT CASE f.defaclobjtype WHEN 'r' THEN 'DEFAULT TABLES' WHEN 'S' THEN 'DEFAULT SEQUENCES'
                    WHEN 'f' THEN 'DEFAULT FUNCTIONS' WHEN 'T' THEN 'DEFAULT TYPES'
                    ELSE 'DEFAULT SCHEMAS' END,
               'FOR ROLE ' || {maker} || coalesce(' IN SCHEMA ' || {schema}, ''),
               a.*, f.defaclrole
        FROM pg_default_acl f JOIN pg_roles r ON r.oid = f.defaclrole
             LEFT JOIN pg_namespace n ON n.oid = f.defaclnamespace, aclexplode(f.defaclacl) a
    ) AS granted
    WHERE grantee = %s
    ORDER BY 1, 2, 3, 4, 5 NULLS FIRST
""".format(
    **{
        what: f"""'"' || replace({column}::text, '"', '""') || '"'"""
        for what, column in (
            ("schema", "n.nspname"),
            ("relation", "c.relname"),
            ("column", "t.attname"),
            ("function", "p.proname"),
            ("database", "d.datname"),
            ("language", "l.lanname"),
            ("type", "t.typname"),
            ("maker", "r.rolname"),
        )
    }
)

_PLAIN_NAME = re.compile(r'"([a-z_][a-z0-9_]*)"')
_GRANTABLE = " WITH GRANT OPTION"

# Objects of this database, and databases, that are the role's own.
_POSSESSIONS = """
    SELECT pg_describe_object(classid, objid, objsubid)
    FROM pg_shdepend
    WHERE refclassid = 'pg_authid'::regclass AND refobjid = %s AND deptype = 'o'
      AND dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    ORDER BY 1
"""

# log_statement, log_min_duration_statement and pg_stat_activity show ALTER ROLE and its verifier,
# but not what a block executes; an error's CONTEXT would, so it is raised anew (measured).
_SET_PASSWORD = """
DO $$
BEGIN
    EXECUTE (SELECT format('ALTER ROLE %I PASSWORD %L', name, verifier) FROM pg_temp.dkim_password);
EXCEPTION WHEN OTHERS THEN
    RAISE EXCEPTION USING MESSAGE = SQLERRM, ERRCODE = SQLSTATE;
END
$$
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
    grants
        Other rights, as (kind, name, privilege).
    memberships
        Roles to be a member of; any other membership is taken back.
    marked_for
        The database for which a comment says that the role is the formula's; None: no comment.
    """

    name: str
    password: Secret | str = "keep"
    connection_limit: int | None = None
    relations: tuple[tuple[str, str], ...] = ()
    grants: frozenset[Grant] = frozenset()
    memberships: tuple[str, ...] = ()
    marked_for: str | None = None


@dataclass(frozen=True)
class Snapshot:
    """
    The role as it is.

    exists
        It is there; the rest is empty where it is not.
    attributes
        pg_roles' columns by name.
    has_password
        Something is stored; None where only a superuser can tell. ``password_matches``: it is for
        the wanted one.
    comment
        Its comment; ``may_comment``: the session may give it another.
    given
        Rights that the role has by PUBLIC, on things that are not the session's to grant.
    grants
        What is granted to it in this database, as (kind, name, privilege); ``grantors``: by whom,
        None for the object's owner.
    possessions
        Descriptions of what it owns.
    """

    exists: bool = False
    attributes: dict[str, object] = field(default_factory=dict)
    has_password: bool | None = False
    password_matches: bool = False
    comment: str | None = None
    may_comment: bool = True
    given: frozenset[Grant] = frozenset()
    memberships: tuple[str, ...] = ()
    grants: frozenset[Grant] = frozenset()
    grantors: Mapping[Grant, tuple[str | None, ...]] = field(default_factory=dict)
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
            return replace(ABSENT, given=_given(cursor, wanted))
        oid, limit, *values = row
        known, stored = _stored_password(cursor, oid)
        comment, may_comment = marks.read(cursor, oid)
        cursor.execute(
            "SELECT DISTINCT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid"
            " WHERE m.member = %s ORDER BY 1",
            (oid,),
        )
        memberships = tuple(name for (name,) in cursor)
        cursor.execute(_GRANTS, (oid,))
        grantors: dict[Grant, tuple[str | None, ...]] = {}
        for kind, name, privilege, grantable, grantor in cursor:
            for what in (privilege, privilege + _GRANTABLE) if grantable else (privilege,):
                grant = (kind, name, what)
                grantors[grant] = (*grantors.get(grant, ()), grantor)
        cursor.execute(_POSSESSIONS, (oid,))
        possessions = tuple(name for (name,) in cursor)
        given = _given(cursor, wanted)
    return Snapshot(
        exists=True,
        attributes={**dict(zip(_ATTRIBUTES, values, strict=True)), "rolconnlimit": limit},
        has_password=(stored is not None) if known else None,
        password_matches=isinstance(wanted.password, Secret)
        and scram.matches(stored, wanted.password),
        comment=comment,
        may_comment=may_comment,
        memberships=memberships,
        grants=frozenset(grantors),
        grantors=grantors,
        possessions=possessions,
        given=given,
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
    comment = _new_comment(snapshot, wanted)
    if snapshot.exists and comment is not None:
        changes["comment"] = change(snapshot.comment, comment)
    changes.update(_password_change(snapshot, wanted))
    for name in sorted({*snapshot.memberships, *wanted.memberships}):
        if (name in snapshot.memberships) != (name in wanted.memberships):
            had = name in snapshot.memberships
            changes[f"member of {name}"] = change(had, not had)
    needed = _needed(snapshot, wanted, dbname)
    for grant in sorted({*snapshot.grants, *needed}):
        had = grant in snapshot.grants
        if had != (grant in needed):
            kind, name, privilege = grant
            what = f"{privilege} on {kind.lower()} {_shown(name)} of {dbname}"
            changes[what] = change(had, not had)
    notes = tuple(
        f"role {wanted.name} owns {thing}; it is left alone: give it to another role"
        for thing in snapshot.possessions
    )
    return Plan(changes, (*notes, *_password_notes(snapshot, wanted)))


def apply(connection: pg.connection, wanted: Wanted) -> Plan:
    """Makes the role so, in one transaction; gives the plan that was carried out."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        (dbname,) = cursor.fetchone()
        _one_at_a_time(cursor)
        snapshot = look(connection, wanted)
        planned = plan(snapshot, wanted, dbname)
        if planned:
            _make(cursor, snapshot, wanted)
            _set_password(cursor, snapshot, wanted)
            _set_memberships(cursor, snapshot, wanted)
            _set_grants(cursor, snapshot, wanted, dbname)
    connection.commit()
    return planned


def take_everything(cursor: pg.cursor, name: str) -> None:
    """Take a role's rights in this database and its memberships from it."""
    wanted = Wanted(name)
    snapshot = look(cursor.connection, wanted)
    _set_memberships(cursor, snapshot, wanted)
    _set_grants(cursor, snapshot, wanted, "")


def password_plan(snapshot: Snapshot, wanted: Wanted) -> Plan:
    """The password's part of :func:`plan` alone; nothing for a role that is not there."""
    return Plan(_password_change(snapshot, wanted) if snapshot.exists else {})


def apply_password(connection: pg.connection, wanted: Wanted) -> Plan:
    """Carries out :func:`password_plan`."""
    with connection.cursor() as cursor:
        _one_at_a_time(cursor)
        snapshot = look(connection, wanted)
        planned = password_plan(snapshot, wanted)
        if planned:
            _set_password(cursor, snapshot, wanted)
    connection.commit()
    return planned


def _one_at_a_time(cursor: pg.cursor) -> None:
    """Of two runs at once the second looks when the first is done, until commit."""
    cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK_CLASS, LOCK_ROLES))


def _needed(snapshot: Snapshot, wanted: Wanted, dbname: str) -> frozenset[Grant]:
    return _all_needed(wanted, dbname) - (snapshot.given - snapshot.grants)


# What is not the session's to grant and is PUBLIC's: then the role has it as it is.
_GIVEN = {
    "DATABASE": "has_database_privilege(%(name)s, %(right)s || ' WITH GRANT OPTION')"
    " OR NOT has_database_privilege('public', %(name)s, %(right)s)",
    "SCHEMA": "has_schema_privilege(%(name)s, %(right)s || ' WITH GRANT OPTION')"
    " OR NOT has_schema_privilege('public', %(name)s, %(right)s)",
}


def _given(cursor: pg.cursor, wanted: Wanted) -> frozenset[Grant]:
    """The wanted rights that PUBLIC has, on databases and schemas that are not the session's."""
    cursor.execute("SELECT current_database()")
    found = set()
    for grant in _all_needed(wanted, cursor.fetchone()[0]):
        kind, name, right = grant
        if kind in _GIVEN:
            plain = name[1:-1].replace('""', '"')
            cursor.execute(f"SELECT {_GIVEN[kind]}", {"name": plain, "right": right})
            if cursor.fetchone()[0] is False:
                found.add(grant)
    return frozenset(found)


def _all_needed(wanted: Wanted, dbname: str) -> frozenset[Grant]:
    schemas = {schema for schema, _ in wanted.relations}
    tables = {
        ("TABLE", f"{quoted(schema)}.{quoted(relation)}", "SELECT")
        for schema, relation in wanted.relations
    }
    # A site may have taken it from PUBLIC, and a role that reads nothing has no need of it.
    login = {("DATABASE", quoted(dbname), "CONNECT")} if wanted.relations else set()
    uses = {("SCHEMA", quoted(schema), "USAGE") for schema in schemas}
    return frozenset(tables | uses | login | wanted.grants)


def _shown(name: str) -> str:
    return _PLAIN_NAME.sub(r"\1", name)


def _password_change(snapshot: Snapshot, wanted: Wanted) -> dict[str, dict[str, object]]:
    if isinstance(wanted.password, Secret) and not snapshot.password_matches:
        # Where it can't be seen it is set once: with the role, or with the comment on it.
        if snapshot.has_password is None and _new_comment(snapshot, wanted) is None:
            return {}
        return {"password": change("another" if snapshot.has_password else None, "set")}
    if wanted.password == "absent" and snapshot.has_password:
        return {"password": change("set", None)}
    return {}


def _password_notes(snapshot: Snapshot, wanted: Wanted) -> list[str]:
    if not snapshot.exists or snapshot.has_password is not None or wanted.password == "keep":
        return []
    if wanted.password == "absent":
        if marks.is_made(snapshot.comment):
            return []
        return [
            f"only a superuser can see whether role {wanted.name} has a password; it needs none: "
            f"run as one: ALTER ROLE {quoted(wanted.name)} PASSWORD NULL"
        ]
    return [
        f"only a superuser can see which password role {wanted.name} has: it was set when the role "
        "was made, and is not set again; where the settings have another since, run in psql: "
        f"\\password {quoted(wanted.name)}"
    ]


def _stored_password(cursor: pg.cursor, oid: int) -> tuple[bool, str | None]:
    """Whether the session may see it (pg_authid is the superuser's), and what is stored."""
    cursor.execute("SELECT has_table_privilege('pg_authid', 'SELECT')")
    if not cursor.fetchone()[0]:
        return False, None
    cursor.execute("SELECT rolpassword FROM pg_authid WHERE oid = %s", (oid,))
    return True, cursor.fetchone()[0]


def _new_comment(snapshot: Snapshot, wanted: Wanted) -> str | None:
    """The comment that the role is to get; None where it keeps its own or has it already."""
    if wanted.marked_for is None or not snapshot.may_comment:
        return None
    return marks.due(snapshot.comment, wanted.marked_for, made=not snapshot.exists)


def _make(cursor: pg.cursor, snapshot: Snapshot, wanted: Wanted) -> None:
    verb = "ALTER" if snapshot.exists else "CREATE"
    # A role that is no superuser is refused what it names, be it as it is already (ALTER ROLE).
    words = [
        word
        for column, (right, word) in _ATTRIBUTES.items()
        if snapshot.attributes.get(column, column != "rolcanlogin" and right) != right
    ]
    if wanted.connection_limit not in (None, snapshot.attributes.get("rolconnlimit", -1)):
        words.append(f"CONNECTION LIMIT {wanted.connection_limit:d}")
    if words or not snapshot.exists:
        execute_or_tell(
            cursor, compose(f"{verb} ROLE {{name}} {' '.join(words)}", name=wanted.name)
        )
    comment = _new_comment(snapshot, wanted)
    if comment is not None:
        cursor.execute(compose("COMMENT ON ROLE {name} IS %s", name=wanted.name), (comment,))


def _set_password(cursor: pg.cursor, snapshot: Snapshot, wanted: Wanted) -> None:
    if "password" not in _password_change(snapshot, wanted):
        return
    stored = None
    if isinstance(wanted.password, Secret):
        stored = scram.verifier(wanted.name, wanted.password, cursor.connection)
    cursor.execute("CREATE TEMPORARY TABLE dkim_password (name text, verifier text) ON COMMIT DROP")
    copy_rows(cursor, "dkim_password", ("name", "verifier"), [(wanted.name, stored)])
    if is_superuser(cursor.connection):
        # With track = all it would keep what the block executes.
        cursor.execute("SELECT set_config('pg_stat_statements.track_utility', 'off', true)")
    cursor.execute(_SET_PASSWORD)
    cursor.execute("DROP TABLE pg_temp.dkim_password")


def _set_memberships(cursor: pg.cursor, snapshot: Snapshot, wanted: Wanted) -> None:
    for group in set(snapshot.memberships) - set(wanted.memberships):
        _revoke_membership(cursor, group, wanted.name)
    for group in set(wanted.memberships) - set(snapshot.memberships):
        execute_or_tell(cursor, compose("GRANT {group} TO {name}", group=group, name=wanted.name))


def _revoke_membership(cursor: pg.cursor, group: str, name: str) -> None:
    # From PostgreSQL 16 on each grantor's grant of a role is one by itself.
    if cursor.connection.server_version < 160000:
        execute_or_tell(cursor, compose("REVOKE {group} FROM {name}", group=group, name=name))
        return
    cursor.execute(
        "SELECT pg_get_userbyid(grantor) FROM pg_auth_members"
        " WHERE pg_get_userbyid(roleid) = %s AND pg_get_userbyid(member) = %s",
        (group, name),
    )
    for (grantor,) in cursor.fetchall():
        execute_or_tell(
            cursor,
            compose(
                "REVOKE {group} FROM {name} GRANTED BY {grantor} CASCADE",
                group=group,
                name=name,
                grantor=grantor,
            ),
        )


def _set_grants(cursor: pg.cursor, snapshot: Snapshot, wanted: Wanted, dbname: str) -> None:
    needed = _needed(snapshot, wanted, dbname)
    # Names in these tuples are quoted already.
    unwanted = sorted(snapshot.grants - needed)
    for grant in unwanted:
        for grantor in snapshot.grantors.get(grant, (None,)):
            _revoke(cursor, grant, grantor, wanted)
    # What is taken of a table is taken of its columns too (REVOKE, Notes).
    for grant in sorted(needed if unwanted else needed - snapshot.grants):
        _grant(cursor, f"GRANT {_clause(grant)} TO {{name}}", wanted)


def _revoke(cursor: pg.cursor, grant: Grant, grantor: str | None, wanted: Wanted) -> None:
    # A superuser's REVOKE is the owner's, and leaves what somebody else granted (REVOKE, Notes).
    if grantor is not None:
        execute_or_tell(cursor, compose("SET LOCAL ROLE {grantor}", grantor=grantor))
    _grant(cursor, _revocation(grant), wanted)
    if grantor is not None:
        # Not RESET ROLE, which gives what ALTER ROLE … SET role has.
        cursor.execute("SET LOCAL ROLE NONE")


def _revocation(grant: Grant) -> str:
    kind, name, privilege = grant
    option = "GRANT OPTION FOR " if privilege.endswith(_GRANTABLE) else ""
    privilege = privilege.removesuffix(_GRANTABLE)
    if kind.startswith("DEFAULT "):
        objects = kind.removeprefix("DEFAULT ")
        revoke = f"REVOKE {option}{privilege} ON {objects} FROM {{name}}"
        return f"ALTER DEFAULT PRIVILEGES {name} {revoke}"
    return f"REVOKE {option}{_clause((kind, name, privilege))} FROM {{name}} CASCADE"


def _clause(grant: Grant) -> str:
    kind, name, privilege = grant
    if kind != "COLUMN":
        return f"{privilege} ON {kind} {name}"
    table, _, column = name.rstrip(")").rpartition("(")
    return f"{privilege} ({column}) ON TABLE {table}"


def _grant(cursor: pg.cursor, statement: str, wanted: Wanted) -> None:
    from psycopg2 import sql

    head, _, tail = statement.rpartition("{name}")
    execute_or_tell(cursor, sql.SQL(head) + sql.Identifier(wanted.name) + sql.SQL(tail))
