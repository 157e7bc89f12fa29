"""Readers and writers that the settings no longer name, and the removal of their rights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..plan import Plan, change
from ..settings.model import Database
from . import marks, roles
from .objects import LOCK_CLASS, LOCK_ROLES
from .sql import compose, quoted

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# What prevents DROP ROLE, apart from the role's rights in this database, which are revoked before.
_HELD_BY = """
SELECT CASE WHEN s.dbid IN (0, c.oid) THEN pg_describe_object(s.classid, s.objid, s.objsubid)
            ELSE 'something in the database ' || d.datname END
  FROM pg_shdepend AS s
  JOIN pg_database AS c ON c.datname = current_database()
  LEFT JOIN pg_database AS d ON d.oid = s.dbid
 WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = %s
   AND NOT (s.deptype = 'a'
            AND (s.dbid = c.oid OR (s.classid = 'pg_database'::regclass AND s.objid = c.oid)))
 GROUP BY 1
 ORDER BY 1
"""
_MOST_LISTED = 5


@dataclass(frozen=True)
class FormerRole:
    """
    A role that has the formula's comment and that the settings do not name.

    made
        Whether the formula made the role. Otherwise the role existed before.
    rights
        The number of its rights in this database.
    memberships
        The roles that it is a member of.
    may_comment
        Whether the session may change the role's comment.
    held_by
        The objects that prevent DROP ROLE.
    has_local_session, has_remote_session
        Whether this machine, or another one, has a session as the role.
    """

    name: str
    made: bool
    rights: int
    memberships: tuple[str, ...]
    may_comment: bool
    held_by: tuple[str, ...]
    has_local_session: bool
    has_remote_session: bool


def read(connection: pg.connection, database: Database) -> list[FormerRole]:
    """
    Return the former roles of this database, and on its own host those of every database.

    A standby has none of its own: its roles are those of its primary.
    """
    current = [database.reader.name, database.writer.name]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_is_in_recovery()")
        if cursor.fetchone()[0]:
            return []
        cursor.execute(
            "SELECT oid, rolname, shobj_description(oid, 'pg_authid') FROM pg_roles"
            " WHERE rolname <> ALL (%s) ORDER BY rolname",
            (current,),
        )
        rows = cursor.fetchall()
        return [
            _read(cursor, oid, name, comment)
            for oid, name, comment in rows
            if (marked_for := marks.database_of(comment)) is not None
            # The formulas of several machines may share a server that is on none of them.
            and (not database.host or marked_for == database.name)
        ]


def plan(found: list[FormerRole], at_restart: bool = False) -> Plan:
    """
    Plan to revoke the rights of former roles, and to drop those that the formula made.

    A role that owns objects is not dropped. A role that existed before loses the formula's comment:
    later runs leave its rights to the administrator.

    at_restart
        Plan only for roles whose sessions end when this machine's OpenDKIM is restarted, as if
        these sessions had ended.
    """
    changes: dict[str, dict[str, object]] = {}
    notes = []
    for role in found:
        if role.has_remote_session or (role.has_local_session and not at_restart):
            notes.append(
                f"role {role.name}, which the settings no longer name, still has a session: the "
                "role stays until a run finds no session; apply the formula on the mail hosts, "
                "then here again"
            )
            continue
        if at_restart and not role.has_local_session:
            continue
        if role.rights:
            changes[f"rights of {role.name}"] = change(role.rights, None)
        for group in role.memberships:
            changes[f"role {role.name}, member of {group}"] = change(True, False)
        if role.made and not role.held_by:
            changes[f"role {role.name}"] = change("login", None)
            continue
        if not role.made and role.may_comment:
            changes[_comment_of(role)] = change("the formula's", None)
        notes.append(_remaining_note(role))
    return Plan(changes, tuple(notes))


def apply(connection: pg.connection, database: Database) -> Plan:
    """Plan, carry the plan out in one transaction, and return it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK_CLASS, LOCK_ROLES))
        found = read(connection, database)
        planned = plan(found)
        for role in found:
            if role.has_local_session or role.has_remote_session:
                continue
            roles.take_everything(cursor, role.name)
            if f"role {role.name}" in planned.changes:
                cursor.execute(compose("DROP ROLE {name}", name=role.name))
            elif _comment_of(role) in planned.changes:
                cursor.execute(compose("COMMENT ON ROLE {name} IS NULL", name=role.name))
    connection.commit()
    return planned


def _read(cursor: pg.cursor, oid: int, name: str, comment: str) -> FormerRole:
    cursor.execute(_HELD_BY, (oid,))
    held_by = tuple(text for (text,) in cursor)
    cursor.execute(
        "SELECT coalesce(bool_or(client_addr IS NULL), false),"
        " coalesce(bool_or(client_addr IS NOT NULL), false)"
        " FROM pg_stat_activity WHERE usesysid = %s",
        (oid,),
    )
    has_local_session, has_remote_session = cursor.fetchone()
    found = roles.read(cursor.connection, roles.DesiredRole(name))
    return FormerRole(
        name,
        marks.is_made(comment),
        len(found.granted),
        found.memberships,
        found.may_comment,
        held_by,
        has_local_session,
        has_remote_session,
    )


def _comment_of(role: FormerRole) -> str:
    return f"comment of {role.name}"


def _remaining_note(role: FormerRole) -> str:
    drop = f"DROP ROLE {quoted(role.name)}"
    if not role.made:
        return (
            f"role {role.name} existed before the formula used it, and stays; if nothing needs the "
            f"role, run: {drop}"
        )
    listed = ", ".join(role.held_by[:_MOST_LISTED])
    if len(role.held_by) > _MOST_LISTED:
        listed += ", …"
    return (
        f"role {role.name}, which the formula made, stays, because it owns or may use {listed}; "
        f"give these to another role or REVOKE the rights, then run: {drop}"
    )
