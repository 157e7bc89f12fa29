"""The database itself: that it exists, with an owner that is no superuser."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import keeping_what_was_done
from ..settings.model import Database
from .connection import MAINTENANCE, compose, execute_or_tell, session
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
        done: dict[str, object] = {}
        with keeping_what_was_done(lambda: done):
            owner = f"role {database.owner}"
            if owner in planned.changes:
                statement = compose("CREATE ROLE {owner} NOLOGIN", owner=database.owner)
                execute_or_tell(cursor, statement)
                done[owner] = planned.changes[owner]
            if planned:
                _join(cursor, database.owner)
                _create(cursor, database)
    return planned


def _create(cursor, database: Database) -> None:
    # template0: whatever a site put into template1 is not for us, and another encoding than
    # template1's is possible.
    execute_or_tell(
        cursor,
        compose(
            "CREATE DATABASE {name} OWNER {owner} TEMPLATE template0 ENCODING 'UTF8'"
            + _locale(cursor),
            name=database.name,
            owner=database.owner,
        ),
    )


def _join(cursor, owner: str) -> None:
    """
    Become a member of the owner's role, as CREATE DATABASE asks of a role that is no superuser; so
    do ALTER and GRANT later. From PostgreSQL 16 on CREATEROLE gives no membership by itself.
    """
    cursor.execute("SELECT pg_has_role(%s, 'USAGE')", (owner,))
    if cursor.fetchone()[0]:
        return
    me = cursor.connection.info.user
    execute_or_tell(cursor, compose("GRANT {owner} TO {me}", owner=owner, me=me))


def _locale(cursor) -> str:
    """
    The clause for a locale that goes with UTF-8, where the cluster's own does not (CREATE DATABASE,
    Notes). C and POSIX go with any encoding.
    """
    cursor.execute(
        "SELECT pg_encoding_to_char(encoding), datcollate, datctype FROM pg_database"
        " WHERE datname = 'template0'"
    )
    encoding, *locales = cursor.fetchone()
    if encoding == "UTF8" or {*locales} <= {"C", "POSIX"}:
        return ""
    provider = " LOCALE_PROVIDER libc" if cursor.connection.server_version >= 150000 else ""
    return f" LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'{provider}"


def _read(connection, database: Database) -> Snapshot:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = %s),"
            " EXISTS (SELECT FROM pg_database WHERE datname = %s)",
            (database.owner, database.name),
        )
        return Snapshot(*cursor.fetchone())
