"""Login roles: attributes, password, memberships and rights, each exactly as desired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..plan import Plan, change
from ..secret import Secret
from . import grants, marks, scram
from .grants import Grant
from .objects import LOCK_CLASS, LOCK_ROLES
from .sql import compose, copy_rows, execute_or_report, is_superuser, quoted

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# Columns of pg_roles, the desired value of each, and the keyword of ALTER ROLE that sets it.
_ATTRIBUTES = {
    "rolcanlogin": (True, "LOGIN"),
    "rolsuper": (False, "NOSUPERUSER"),
    "rolcreatedb": (False, "NOCREATEDB"),
    "rolcreaterole": (False, "NOCREATEROLE"),
    "rolreplication": (False, "NOREPLICATION"),
    "rolbypassrls": (False, "NOBYPASSRLS"),
}


# Objects of this database, and databases, that the role owns.
_POSSESSIONS = """
    SELECT pg_describe_object(classid, objid, objsubid)
    FROM pg_shdepend
    WHERE refclassid = 'pg_authid'::regclass AND refobjid = %s AND deptype = 'o'
      AND dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    ORDER BY 1
"""

# log_statement, log_min_duration_statement and pg_stat_activity show ALTER ROLE and its verifier,
# but not the statements that a block executes. An error's CONTEXT would show them, so the block
# raises a new error without it (measured).
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
    The desired role: LOGIN, no other attribute, and no membership.

    password
        ``keep`` does not change the password, ``absent`` removes it, a Secret sets it.
    relations
        (schema, relation) pairs that the role may SELECT from.
    grants
        Other rights, as (kind, name, privilege).
    marked_for
        The database that the role's comment names as the formula's; None for no comment.
    """

    name: str
    password: Secret | str = "keep"
    relations: tuple[tuple[str, str], ...] = ()
    grants: frozenset[Grant] = frozenset()
    marked_for: str | None = None


@dataclass(frozen=True)
class Snapshot:
    """
    The present role.

    exists
        Whether the role exists. If not, all other fields are empty.
    attributes
        Columns of pg_roles by name.
    has_password
        Whether a password is stored; None if only a superuser may see it.
    password_matches
        Whether the stored password is the desired one.
    comment
        The role's comment.
    may_comment
        Whether the session may change the comment.
    given
        Rights that the role has through PUBLIC, on objects on which the session can't grant.
    granted
        The role's grants in this database and their grantors, as :func:`grants.read` returns them.
    possessions
        Descriptions of the objects that the role owns.
    """

    exists: bool = False
    attributes: dict[str, bool] = field(default_factory=dict)
    has_password: bool | None = False
    password_matches: bool = False
    comment: str | None = None
    may_comment: bool = True
    given: frozenset[Grant] = frozenset()
    memberships: tuple[str, ...] = ()
    granted: Mapping[Grant, tuple[str | None, ...]] = field(default_factory=dict)
    possessions: tuple[str, ...] = ()


ABSENT = Snapshot()


def read(connection: pg.connection, desired: DesiredRole) -> Snapshot:
    """Read the role's attributes, memberships, possessions and grants in this database."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT oid, {', '.join(_ATTRIBUTES)} FROM pg_roles WHERE rolname = %s",
            (desired.name,),
        )
        row = cursor.fetchone()
        if row is None:
            return replace(ABSENT, given=_given(cursor, desired))
        oid, *values = row
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
        given = _given(cursor, desired)
    return Snapshot(
        exists=True,
        attributes=dict(zip(_ATTRIBUTES, values, strict=True)),
        has_password=(stored is not None) if known else None,
        password_matches=isinstance(desired.password, Secret)
        and scram.matches(stored, desired.password),
        comment=comment,
        may_comment=may_comment,
        memberships=memberships,
        granted=granted,
        possessions=possessions,
        given=given,
    )


def read_without_database(connection: pg.connection, desired: DesiredRole) -> Snapshot:
    """
    Read the role for a database that does not exist yet, in which the role has no rights.

    connection
        A session with another database of the server.
    """
    found = read(connection, replace(desired, relations=(), grants=frozenset()))
    return replace(found, granted={}, given=frozenset(), possessions=())


def plan(snapshot: Snapshot, desired: DesiredRole, dbname: str) -> Plan:
    """
    Plan an entry for each attribute, membership and grant that differs.

    A note names each object that the role owns. The formula never changes an owner here, since
    an administrator has to choose the new one.

    dbname
        The database of the grants, for the text of the entries.
    """
    changes: dict[str, dict[str, object]] = {}
    if not snapshot.exists:
        changes[f"role {desired.name}"] = change(None, "login")
    else:
        for column, (right, _) in _ATTRIBUTES.items():
            if snapshot.attributes[column] != right:
                changes[column.removeprefix("rol")] = change(not right, right)
    comment = _new_comment(snapshot, desired)
    if snapshot.exists and comment is not None:
        changes["comment"] = change(snapshot.comment, comment)
    changes.update(_password_change(snapshot, desired))
    for name in snapshot.memberships:
        changes[f"member of {name}"] = change(True, False)
    needed = _needed(snapshot, desired, dbname)
    for grant in sorted(snapshot.granted.keys() ^ needed):
        is_granted = grant in snapshot.granted
        changes[grants.text(grant, dbname)] = change(is_granted, not is_granted)
    notes = tuple(
        f"role {desired.name} owns {thing}; the formula changes no owner: give it to another role"
        for thing in snapshot.possessions
    )
    return Plan(changes, (*notes, *_password_notes(snapshot, desired)))


def apply(connection: pg.connection, desired: DesiredRole) -> Plan:
    """Create or change the role in one transaction. Return the plan that was carried out."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        (dbname,) = cursor.fetchone()
        _one_at_a_time(cursor)
        snapshot = read(connection, desired)
        planned = plan(snapshot, desired, dbname)
        if planned:
            _make(cursor, snapshot, desired)
            _set_password(cursor, snapshot, desired)
            _revoke_memberships(cursor, snapshot, desired.name)
            needed = _needed(snapshot, desired, dbname)
            grants.change(cursor, desired.name, snapshot.granted, needed)
    connection.commit()
    return planned


def take_everything(cursor: pg.cursor, name: str) -> None:
    """Revoke a role's memberships and its rights in this database."""
    desired = DesiredRole(name)
    snapshot = read(cursor.connection, desired)
    _revoke_memberships(cursor, snapshot, name)
    grants.change(cursor, name, snapshot.granted, _needed(snapshot, desired, ""))


def password_plan(snapshot: Snapshot, desired: DesiredRole) -> Plan:
    """Plan only the change of the password; no change for a missing role."""
    return Plan(_password_change(snapshot, desired) if snapshot.exists else {})


def apply_password(connection: pg.connection, desired: DesiredRole) -> Plan:
    """Carry out :func:`password_plan`."""
    with connection.cursor() as cursor:
        _one_at_a_time(cursor)
        snapshot = read(connection, desired)
        planned = password_plan(snapshot, desired)
        if planned:
            _set_password(cursor, snapshot, desired)
    connection.commit()
    return planned


def _one_at_a_time(cursor: pg.cursor) -> None:
    """Make a second run wait until the first one has committed."""
    cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK_CLASS, LOCK_ROLES))


def _needed(snapshot: Snapshot, desired: DesiredRole, dbname: str) -> frozenset[Grant]:
    return _all_needed(desired, dbname) - (snapshot.given - snapshot.granted.keys())


def _given(cursor: pg.cursor, desired: DesiredRole) -> frozenset[Grant]:
    cursor.execute("SELECT current_database()")
    return grants.by_public(cursor, _all_needed(desired, cursor.fetchone()[0]))


def _all_needed(desired: DesiredRole, dbname: str) -> frozenset[Grant]:
    return desired.grants | grants.to_read(desired.relations, dbname)


def _password_change(snapshot: Snapshot, desired: DesiredRole) -> dict[str, dict[str, object]]:
    if isinstance(desired.password, Secret) and not snapshot.password_matches:
        # If the session can't see the password, a run sets it only once: when it creates the role
        # or writes the role's comment.
        if snapshot.has_password is None and _new_comment(snapshot, desired) is None:
            return {}
        return {"password": change("another" if snapshot.has_password else None, "set")}
    if desired.password == "absent" and snapshot.has_password:
        return {"password": change("set", None)}
    return {}


def _password_notes(snapshot: Snapshot, desired: DesiredRole) -> list[str]:
    if not snapshot.exists or snapshot.has_password is not None or desired.password == "keep":
        return []
    if desired.password == "absent":
        if marks.is_made(snapshot.comment):
            return []
        return [
            f"only a superuser can see whether role {desired.name} has a password; it needs none: "
            f"run as a superuser: ALTER ROLE {quoted(desired.name)} PASSWORD NULL"
        ]
    return [
        f"only a superuser can see which password role {desired.name} has: it was set when the "
        "role was made, and is not set again; if the password in the settings has changed since, "
        f"run in psql: \\password {quoted(desired.name)}"
    ]


def _stored_password(cursor: pg.cursor, oid: int) -> tuple[bool, str | None]:
    """Return whether the session may read pg_authid (a superuser may), and the stored password."""
    cursor.execute("SELECT has_table_privilege('pg_authid', 'SELECT')")
    if not cursor.fetchone()[0]:
        return False, None
    cursor.execute("SELECT rolpassword FROM pg_authid WHERE oid = %s", (oid,))
    return True, cursor.fetchone()[0]


def _new_comment(snapshot: Snapshot, desired: DesiredRole) -> str | None:
    """Return the new comment of the role; None if the comment stays as it is."""
    if desired.marked_for is None or not snapshot.may_comment:
        return None
    return marks.new_comment(snapshot.comment, desired.marked_for, made=not snapshot.exists)


def _make(cursor: pg.cursor, snapshot: Snapshot, desired: DesiredRole) -> None:
    verb = "ALTER" if snapshot.exists else "CREATE"
    # Only what differs: PostgreSQL refuses some keywords to a role that is no superuser, even if
    # they change nothing (ALTER ROLE).
    words = [
        word
        for column, (right, word) in _ATTRIBUTES.items()
        if snapshot.attributes.get(column, column != "rolcanlogin" and right) != right
    ]
    if words or not snapshot.exists:
        execute_or_report(
            cursor, compose(f"{verb} ROLE {{name}} {' '.join(words)}", name=desired.name)
        )
    comment = _new_comment(snapshot, desired)
    if comment is not None:
        cursor.execute(compose("COMMENT ON ROLE {name} IS %s", name=desired.name), (comment,))


def _set_password(cursor: pg.cursor, snapshot: Snapshot, desired: DesiredRole) -> None:
    if "password" not in _password_change(snapshot, desired):
        return
    stored = None
    if isinstance(desired.password, Secret):
        stored = scram.verifier(desired.name, desired.password, cursor.connection)
    cursor.execute("CREATE TEMPORARY TABLE dkim_password (name text, verifier text) ON COMMIT DROP")
    copy_rows(cursor, "dkim_password", ("name", "verifier"), [(desired.name, stored)])
    if is_superuser(cursor.connection):
        # With track = all, pg_stat_statements would store the statement that the block executes.
        cursor.execute("SELECT set_config('pg_stat_statements.track_utility', 'off', true)")
    cursor.execute(_SET_PASSWORD)
    cursor.execute("DROP TABLE pg_temp.dkim_password")


def _revoke_memberships(cursor: pg.cursor, snapshot: Snapshot, name: str) -> None:
    for group in snapshot.memberships:
        _revoke_membership(cursor, group, name)


def _revoke_membership(cursor: pg.cursor, group: str, name: str) -> None:
    # From PostgreSQL 16 on, each grantor's grant of a role is a separate one.
    if cursor.connection.server_version < 160000:
        execute_or_report(cursor, compose("REVOKE {group} FROM {name}", group=group, name=name))
        return
    cursor.execute(
        "SELECT pg_get_userbyid(grantor) FROM pg_auth_members"
        " WHERE pg_get_userbyid(roleid) = %s AND pg_get_userbyid(member) = %s",
        (group, name),
    )
    for (grantor,) in cursor.fetchall():
        execute_or_report(
            cursor,
            compose(
                "REVOKE {group} FROM {name} GRANTED BY {grantor} CASCADE",
                group=group,
                name=name,
                grantor=grantor,
            ),
        )
