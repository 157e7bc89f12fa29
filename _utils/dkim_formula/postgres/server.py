"""The PostgreSQL server: the mail database, and access over TLS for remote clients."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import keeping_what_was_done
from ..plan import Plan, change
from ..settings.model import Database
from . import owners
from .connection import MAINTENANCE, session
from .inspection import Inspection
from .objects import LOCK_CLASS, LOCK_ROLES
from .sql import compose, execute_or_report

if TYPE_CHECKING:
    import psycopg2.extensions as pg


@dataclass(frozen=True)
class Snapshot:
    """``owner``: the state of the owner's role. ``exists``: whether the database exists."""

    owner: owners.Snapshot
    exists: bool


ABSENT = Snapshot(owners.MISSING, exists=False)


def read(database: Database) -> Snapshot:
    """Read the state of the database. Raises DatabaseUnavailable without a server."""
    with session(database, setup=True, dbname=MAINTENANCE) as connection:
        return _snapshot(connection, database)


def plan(snapshot: Snapshot, database: Database) -> Plan:
    """
    Plan a missing database, and the changes to the owner's role that it needs.

    An existing database keeps its owner.
    """
    if snapshot.exists:
        return Plan()
    changes = owners.changes(snapshot.owner, database.owner)
    changes[f"database {database.name}"] = change(None, f"owned by {database.owner}")
    return Plan(changes)


def apply(database: Database) -> Plan:
    """Create a missing database. Return the plan that was carried out."""
    # CREATE DATABASE can't run in a transaction.
    with (
        session(database, setup=True, dbname=MAINTENANCE, autocommit=True) as connection,
        connection.cursor() as cursor,
    ):
        # The lock lasts as long as the session, so a second run finds the first run's database.
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", (LOCK_CLASS, LOCK_ROLES))
        snapshot = _snapshot(connection, database)
        planned = plan(snapshot, database)
        done: dict[str, object] = {}
        with keeping_what_was_done(lambda: done):
            if planned:
                owners.make(cursor, snapshot.owner, database.owner, done)
                _create(cursor, database)
    return planned


def _create(cursor, database: Database) -> None:
    # template0 has no local additions as template1 may have, and allows another encoding than
    # template1's.
    execute_or_report(
        cursor,
        compose(
            "CREATE DATABASE {name} OWNER {owner} TEMPLATE template0 ENCODING 'UTF8'"
            + _locale(cursor),
            name=database.name,
            owner=database.owner,
        ),
    )


def _locale(cursor) -> str:
    """
    Return a clause for a locale that allows UTF-8, if the cluster's locale does not.

    C and POSIX allow any encoding (CREATE DATABASE, Notes).
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


def _snapshot(connection, database: Database) -> Snapshot:
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_database WHERE datname = %s", (database.name,))
        exists = bool(cursor.rowcount)
        return Snapshot(owners.read(cursor, database.owner), exists)


def inspect_for_clients(connection: pg.connection, database: Database) -> Inspection:
    """
    Return the server's settings that keep out ``reader:clients`` and ``writer:clients``.

    The formula reports postgresql.conf and the server's certificate, and changes neither. A new
    listen address needs a restart, which ends every session of other programs.
    """
    clients = (*database.reader.clients, *database.writer.clients)
    if not clients:
        return Inspection()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('ssl') = 'on', current_setting('ssl_ca_file'),"
            " current_setting('listen_addresses'), current_setting('config_file')"
        )
        ssl, authorities, addresses, path = cursor.fetchone()
    problems, advice = [], []
    if not ssl:
        problems.append(
            "dkim:database:reader:clients, dkim:database:writer:clients: PostgreSQL has ssl = off, "
            f"and clients may connect over TLS only; set ssl = on in {path}, with ssl_cert_file "
            "and ssl_key_file, and reload PostgreSQL"
        )
    by_certificate = {
        "dkim:database:reader:auth: 'cert'": database.reader.certificate_names,
        "dkim:database:writer:common_names": database.writer.certificate_names,
    }
    problems += [
        f"{what} needs a certificate authority, by which PostgreSQL verifies clients: set "
        f"ssl_ca_file in {path}, and reload PostgreSQL"
        for what, is_used in by_certificate.items()
        if is_used and not authorities
    ]
    if all(map(_is_loopback, addresses.split(","))):
        advice.append(
            "dkim:database:reader:clients, dkim:database:writer:clients: PostgreSQL listens at "
            f"{addresses!r} only, which no other machine can reach; set listen_addresses in {path} "
            "and restart PostgreSQL"
        )
    return Inspection(tuple(problems), tuple(advice))


def _is_loopback(address: str) -> bool:
    name = address.strip()
    if name in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
