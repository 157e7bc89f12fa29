"""Roles without login that own the database and the formula's objects."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..plan import change
from .sql import compose, execute_or_report, is_superuser

if TYPE_CHECKING:
    import psycopg2.extensions as pg


@dataclass(frozen=True)
class Snapshot:
    """
    The present state of an owner's role.

    exists
        Whether the role exists.
    joins
        The session's role if this role must become a member of the owner's role; else ''.
    """

    exists: bool
    joins: str


MISSING = Snapshot(exists=False, joins="")


def read(cursor: pg.cursor, owner: str) -> Snapshot:
    """
    Read whether the owner's role exists, and whether the session's role is a member of it.

    To give an object to another role, a role that is not a superuser must be a member of the other
    role (CREATE DATABASE; ALTER TABLE, Notes). From PostgreSQL 16 on CREATEROLE gives no membership
    by itself.
    """
    cursor.execute("SELECT pg_has_role(oid, 'USAGE') FROM pg_roles WHERE rolname = %s", (owner,))
    row = cursor.fetchone()
    is_member = is_superuser(cursor.connection) if row is None else row[0]
    return Snapshot(row is not None, "" if is_member else cursor.connection.info.user)


def changes(snapshot: Snapshot, owner: str) -> dict[str, dict[str, object]]:
    """Return the changes that are needed: to the role, and to the session's membership in it."""
    found = {}
    if not snapshot.exists:
        found[f"role {owner}"] = change(None, "owner without login")
    if snapshot.joins:
        found[f"role {snapshot.joins}, member of {owner}"] = change(False, True)
    return found


def make(cursor: pg.cursor, snapshot: Snapshot, owner: str, done: dict[str, object]) -> None:
    """
    Create the role and the membership if they are missing.

    done
        Receives each of the :func:`changes` when it is made.
    """
    known = {"owner": owner, "me": snapshot.joins}
    statements = []
    if not snapshot.exists:
        statements.append("CREATE ROLE {owner} NOLOGIN")
    if snapshot.joins:
        statements.append("GRANT {owner} TO {me}")
    for statement, (what, made) in zip(statements, changes(snapshot, owner).items(), strict=True):
        execute_or_report(cursor, compose(statement, **known))
        done[what] = made


@contextlib.contextmanager
def may_create(cursor: pg.cursor, owner: str, schema: str) -> Iterator[None]:
    """
    Grant the role CREATE on a schema for the block.

    PostgreSQL requires this right of the new owner if a role that is not a superuser gives it an
    object (ALTER TABLE, Notes).
    """
    cursor.execute("SELECT has_schema_privilege(%s, %s, 'CREATE')", (owner, schema))
    needs_grant = not is_superuser(cursor.connection) and not cursor.fetchone()[0]
    known = {"schema": schema, "owner": owner}
    if needs_grant:
        cursor.execute(compose("GRANT CREATE ON SCHEMA {schema} TO {owner}", **known))
    yield
    if needs_grant:
        cursor.execute(compose("REVOKE CREATE ON SCHEMA {schema} FROM {owner}", **known))
