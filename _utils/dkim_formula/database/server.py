"""The database itself: that it exists, with an owner that is no superuser."""

from __future__ import annotations

from dataclasses import dataclass

from ..settings.model import Database
from .connection import MAINTENANCE, compose, session
from .objects import LOCK_CLASS, LOCK_ROLES
from .plan import Plan, change


@dataclass(frozen=True)
class Snapshot:
    """``owner_exists``: the owner role is there. ``database_exists``: the database is there."""

    owner_exists: bool
    database_exists: bool


ABSENT = Snapshot(owner_exists=False, database_exists=False)


def look(database: Database) -> Snapshot:
    """What the server has. Raises DatabaseUnavailable where there is no server."""
    with session(database, setup=True, dbname=MAINTENANCE) as connection:
        return _read(connection, database)


def plan(snapshot: Snapshot, database: Database) -> Plan:
    """
    What is missing: ``database NAME``, and with it ``role NAME`` for its owner. A database that
    is there keeps whatever owner it has.
    """
    if snapshot.database_exists:
        return Plan()
    changes = {}
    if not snapshot.owner_exists:
        changes[f"role {database.owner}"] = change(None, "owner without login")
    changes[f"database {database.name}"] = change(None, f"owned by {database.owner}")
    return Plan(changes)


def apply(database: Database) -> Plan:
    """Makes what is missing, and gives the plan that was carried out."""
    # CREATE DATABASE can't run in a transaction.
    with (
        session(database, setup=True, dbname=MAINTENANCE, autocommit=True) as connection,
        connection.cursor() as cursor,
    ):
        # Until the session's end: the second of two runs finds what the first has made.
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", (LOCK_CLASS, LOCK_ROLES))
        planned = plan(_read(connection, database), database)
        if f"role {database.owner}" in planned.changes:
            cursor.execute(compose("CREATE ROLE {owner} NOLOGIN", owner=database.owner))
        if planned:
            # template0: whatever a site put into template1 is not for us, and another encoding
            # than template1's is possible.
            cursor.execute(
                compose(
                    "CREATE DATABASE {name} OWNER {owner} TEMPLATE template0 ENCODING 'UTF8'",
                    name=database.name,
                    owner=database.owner,
                )
            )
    return planned


def _read(connection, database: Database) -> Snapshot:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = %s),"
            " EXISTS (SELECT FROM pg_database WHERE datname = %s)",
            (database.owner, database.name),
        )
        return Snapshot(*cursor.fetchone())
