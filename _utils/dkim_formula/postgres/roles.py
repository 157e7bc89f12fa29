"""A login role with exactly the rights that it is to have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..plan import Plan, change
from ..secret import Secret
from . import grants, marks, scram
from .grants import Grant
from .objects import LOCK_CLASS, LOCK_ROLES
from .sql import compose, copy_rows, execute_or_tell, is_superuser, quoted

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


@dataclass(frozen=True)
class DesiredRole:
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
    granted
        What is granted to it in this database, and by whom: as :func:`grants.read` returns it.
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
    granted: Mapping[Grant, tuple[str | None, ...]] = field(default_factory=dict)
    possessions: tuple[str, ...] = ()


ABSENT = Snapshot()


def look(connection: pg.connection, wanted: DesiredRole) -> Snapshot:
    """Read the role's attributes, memberships, grants (in this database) and possessions."""
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
        granted = grants.read(cursor, oid)
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
        granted=granted,
        possessions=possessions,
        given=given,
    )


def plan(snapshot: Snapshot, wanted: DesiredRole, dbname: str) -> Plan:
    """
    Plan an entry for each attribute, membership and grant that differs. Objects that the role owns
    are notes: they are somebody's, and giving them away is not ours to decide.

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
    for grant in sorted(snapshot.granted.keys() ^ needed):
        had = grant in snapshot.granted
        changes[grants.text(grant, dbname)] = change(had, not had)
    notes = tuple(
        f"role {wanted.name} owns {thing}; it is left alone: give it to another role"
        for thing in snapshot.possessions
    )
    return Plan(changes, (*notes, *_password_notes(snapshot, wanted)))


def apply(connection: pg.connection, wanted: DesiredRole) -> Plan:
    """Make the role so, in one transaction; return the plan that was carried out."""
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
            grants.change(cursor, wanted.name, snapshot.granted, _needed(snapshot, wanted, dbname))
    connection.commit()
    return planned


def take_everything(cursor: pg.cursor, name: str) -> None:
    """Take a role's rights in this database and its memberships from it."""
    wanted = DesiredRole(name)
    snapshot = look(cursor.connection, wanted)
    _set_memberships(cursor, snapshot, wanted)
    grants.change(cursor, wanted.name, snapshot.granted, _needed(snapshot, wanted, ""))


def password_plan(snapshot: Snapshot, wanted: DesiredRole) -> Plan:
    """Plan the password's part of :func:`plan` alone; nothing for a role that is not there."""
    return Plan(_password_change(snapshot, wanted) if snapshot.exists else {})


def apply_password(connection: pg.connection, wanted: DesiredRole) -> Plan:
    """Carry out :func:`password_plan`."""
    with connection.cursor() as cursor:
        _one_at_a_time(cursor)
        snapshot = look(connection, wanted)
        planned = password_plan(snapshot, wanted)
        if planned:
            _set_password(cursor, snapshot, wanted)
    connection.commit()
    return planned


def _one_at_a_time(cursor: pg.cursor) -> None:
    """Let the second of two runs at once wait until the first has committed."""
    cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK_CLASS, LOCK_ROLES))


def _needed(snapshot: Snapshot, wanted: DesiredRole, dbname: str) -> frozenset[Grant]:
    return _all_needed(wanted, dbname) - (snapshot.given - snapshot.granted.keys())


def _given(cursor: pg.cursor, wanted: DesiredRole) -> frozenset[Grant]:
    cursor.execute("SELECT current_database()")
    return grants.by_public(cursor, _all_needed(wanted, cursor.fetchone()[0]))


def _all_needed(wanted: DesiredRole, dbname: str) -> frozenset[Grant]:
    return wanted.grants | grants.to_read(wanted.relations, dbname)


def _password_change(snapshot: Snapshot, wanted: DesiredRole) -> dict[str, dict[str, object]]:
    if isinstance(wanted.password, Secret) and not snapshot.password_matches:
        # Where it can't be seen it is set once: with the role, or with the comment on it.
        if snapshot.has_password is None and _new_comment(snapshot, wanted) is None:
            return {}
        return {"password": change("another" if snapshot.has_password else None, "set")}
    if wanted.password == "absent" and snapshot.has_password:
        return {"password": change("set", None)}
    return {}


def _password_notes(snapshot: Snapshot, wanted: DesiredRole) -> list[str]:
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
    """Return whether the session may see it (pg_authid is the superuser's), and what is stored."""
    cursor.execute("SELECT has_table_privilege('pg_authid', 'SELECT')")
    if not cursor.fetchone()[0]:
        return False, None
    cursor.execute("SELECT rolpassword FROM pg_authid WHERE oid = %s", (oid,))
    return True, cursor.fetchone()[0]


def _new_comment(snapshot: Snapshot, wanted: DesiredRole) -> str | None:
    """Return the comment that the role is to get; None where it keeps its own or has it already."""
    if wanted.marked_for is None or not snapshot.may_comment:
        return None
    return marks.due(snapshot.comment, wanted.marked_for, made=not snapshot.exists)


def _make(cursor: pg.cursor, snapshot: Snapshot, wanted: DesiredRole) -> None:
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


def _set_password(cursor: pg.cursor, snapshot: Snapshot, wanted: DesiredRole) -> None:
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


def _set_memberships(cursor: pg.cursor, snapshot: Snapshot, wanted: DesiredRole) -> None:
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
