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

# What keeps a role from being dropped, but for its rights in this database, which go before.
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
_LISTED = 5


@dataclass(frozen=True)
class FormerRole:
    """
    A role whose comment says that it is the formula's, and that the settings do not name.

    made
        The formula made it; else it was there before, and is the site's.
    rights
        How many rights it has in this database.
    held_by
        What keeps it from being dropped.
    here, elsewhere
        Whether this machine, or another one, has a session as that role.
    """

    name: str
    made: bool
    rights: int
    held_by: tuple[str, ...]
    here: bool
    elsewhere: bool


def look(connection: pg.connection, database: Database) -> list[FormerRole]:
    """Return the former roles of this database; on its own host, those of every database."""
    current = [database.reader.name, database.writer.name]
    with connection.cursor() as cursor:
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
            # Formulas of several machines may share a server that none of them is.
            and (not database.host or marked_for == database.name)
        ]


def plan(found: list[FormerRole], at_restart: bool = False) -> Plan:
    """
    Plan to take their rights and, of those that the formula made and that own nothing, themselves.

    at_restart
        Only of roles whose sessions end when this machine's OpenDKIM is restarted, as if they had.
    """
    changes: dict[str, dict[str, object]] = {}
    notes = []
    for role in found:
        if role.elsewhere or (role.here and not at_restart):
            notes.append(
                f"role {role.name}, which the settings no longer name, still has a session: it "
                "stays until a run finds none; apply the formula on the mail hosts, then here again"
            )
            continue
        if at_restart and not role.here:
            continue
        if role.rights:
            changes[f"rights of {role.name}"] = change(role.rights, None)
        if role.made and not role.held_by:
            changes[f"role {role.name}"] = change("login", None)
        else:
            notes.append(_left(role))
    return Plan(changes, tuple(notes))


def apply(connection: pg.connection, database: Database) -> Plan:
    """Carry the plan out, in one transaction; return it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK_CLASS, LOCK_ROLES))
        found = look(connection, database)
        planned = plan(found)
        for role in found:
            if role.here or role.elsewhere:
                continue
            roles.take_everything(cursor, role.name)
            if f"role {role.name}" in planned.changes:
                cursor.execute(compose("DROP ROLE {name}", name=role.name))
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
    here, elsewhere = cursor.fetchone()
    rights = len(roles.look(cursor.connection, roles.DesiredRole(name)).granted)
    return FormerRole(name, marks.is_made(comment), rights, held_by, here, elsewhere)


def _left(role: FormerRole) -> str:
    drop = f"DROP ROLE {quoted(role.name)}"
    if not role.made:
        return (
            f"role {role.name} was there before the formula used it, and stays; where nobody needs "
            f"it, run: {drop}"
        )
    shown = ", ".join(role.held_by[:_LISTED]) + (", …" if len(role.held_by) > _LISTED else "")
    return (
        f"role {role.name}, which the formula made, stays, since it owns or may use {shown}; give "
        f"that to another role or REVOKE it, then run: {drop}"
    )
