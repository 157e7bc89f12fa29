"""Roles that own objects, and as which nobody logs in: of the database, of the formula's own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..plan import change
from .sql import compose, execute_or_tell, is_superuser

if TYPE_CHECKING:
    import psycopg2.extensions as pg


@dataclass(frozen=True)
class Snapshot:
    """
    What the server has of an owner's role.

    exists
        The role is there.
    joins
        The session's role, where that has to become a member of it; '' else.
    """

    exists: bool
    joins: str


MISSING = Snapshot(exists=False, joins="")


def look(cursor: pg.cursor, owner: str) -> Snapshot:
    """
    Read whether the role is there, and whether the session's is a member.

    Whoever makes an object another role's has to be a member of that role unless it is a superuser
    (CREATE DATABASE; ALTER TABLE, Notes). From PostgreSQL 16 on CREATEROLE gives no membership by
    itself.
    """
    cursor.execute("SELECT pg_has_role(oid, 'USAGE') FROM pg_roles WHERE rolname = %s", (owner,))
    row = cursor.fetchone()
    is_member = is_superuser(cursor.connection) if row is None else row[0]
    return Snapshot(row is not None, "" if is_member else cursor.connection.info.user)


def changes(snapshot: Snapshot, owner: str) -> dict[str, dict[str, object]]:
    """Return what is due: ``role NAME``, and ``role SESSION'S, member of NAME``."""
    due = {}
    if not snapshot.exists:
        due[f"role {owner}"] = change(None, "owner without login")
    if snapshot.joins:
        due[f"role {snapshot.joins}, member of {owner}"] = change(False, True)
    return due


def make(cursor: pg.cursor, snapshot: Snapshot, owner: str, done: dict[str, object]) -> None:
    """
    Carry out what is due.

    done
        Gets each of the :func:`changes` as it is made.
    """
    known = {"owner": owner, "me": snapshot.joins}
    statements = []
    if not snapshot.exists:
        statements.append("CREATE ROLE {owner} NOLOGIN")
    if snapshot.joins:
        statements.append("GRANT {owner} TO {me}")
    for statement, (what, made) in zip(statements, changes(snapshot, owner).items(), strict=True):
        execute_or_tell(cursor, compose(statement, **known))
        done[what] = made


@contextlib.contextmanager
def may_create(cursor: pg.cursor, owner: str, schema: str) -> Iterator[None]:
    """
    Lets the role have objects in a schema meanwhile, as PostgreSQL asks of whom a role that is no
    superuser gives an object to (ALTER TABLE, Notes).
    """
    cursor.execute("SELECT has_schema_privilege(%s, %s, 'CREATE')", (owner, schema))
    given = not is_superuser(cursor.connection) and not cursor.fetchone()[0]
    known = {"schema": schema, "owner": owner}
    if given:
        cursor.execute(compose("GRANT CREATE ON SCHEMA {schema} TO {owner}", **known))
    yield
    if given:
        cursor.execute(compose("REVOKE CREATE ON SCHEMA {schema} FROM {owner}", **known))
