"""The server: that it has the database, and lets clients from elsewhere in over TLS."""

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
from .sql import compose, execute_or_tell

if TYPE_CHECKING:
    import psycopg2.extensions as pg


@dataclass(frozen=True)
class Snapshot:
    """``owner``: what there is of the owner's role. ``exists``: the database is there."""

    owner: owners.Snapshot
    exists: bool


ABSENT = Snapshot(owners.MISSING, exists=False)


def look(database: Database) -> Snapshot:
    """Read what the server has. Raises DatabaseUnavailable where there is no server."""
    with session(database, setup=True, dbname=MAINTENANCE) as connection:
        return _read(connection, database)


def plan(snapshot: Snapshot, database: Database) -> Plan:
    """
    Plan what is missing: ``database NAME``, and with it what its owner's role lacks. A database
    that is there keeps whatever owner it has.
    """
    if snapshot.exists:
        return Plan()
    changes = owners.changes(snapshot.owner, database.owner)
    changes[f"database {database.name}"] = change(None, f"owned by {database.owner}")
    return Plan(changes)


def apply(database: Database) -> Plan:
    """Make what is missing, and return the plan that was carried out."""
    # CREATE DATABASE can't run in a transaction.
    with (
        session(database, setup=True, dbname=MAINTENANCE, autocommit=True) as connection,
        connection.cursor() as cursor,
    ):
        # Until the session's end: the second of two runs finds what the first has made.
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", (LOCK_CLASS, LOCK_ROLES))
        snapshot = _read(connection, database)
        planned = plan(snapshot, database)
        done: dict[str, object] = {}
        with keeping_what_was_done(lambda: done):
            if planned:
                owners.make(cursor, snapshot.owner, database.owner, done)
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


def _locale(cursor) -> str:
    """
    Return the clause for a locale that goes with UTF-8, where the cluster's own does not (CREATE
    DATABASE, Notes). C and POSIX go with any encoding.
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
        cursor.execute("SELECT FROM pg_database WHERE datname = %s", (database.name,))
        exists = bool(cursor.rowcount)
        return Snapshot(owners.look(cursor, database.owner), exists)


def inspect_for_clients(connection: pg.connection, database: Database) -> Inspection:
    """
    Return what of the server's settings keeps ``reader:clients`` and ``writer:clients`` out.

    postgresql.conf, the server's certificate and its restarts are the site's: an address to listen
    at needs a restart, which ends every session of the site's own. So this is looked at and told.
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
            f"and they are let in over TLS alone; set ssl = on in {path}, with ssl_cert_file and "
            "ssl_key_file, and reload"
        )
    by_certificate = {
        "dkim:database:reader:auth: 'cert'": database.reader.certified,
        "dkim:database:writer:common_names": database.writer.certified,
    }
    problems += [
        f"{what} needs PostgreSQL to have an authority that it verifies certificates by: set "
        f"ssl_ca_file in {path}, and reload"
        for what, wanted in by_certificate.items()
        if wanted and not authorities
    ]
    if all(map(_is_loopback, addresses.split(","))):
        advice.append(
            "dkim:database:reader:clients, dkim:database:writer:clients: PostgreSQL listens at "
            f"{addresses!r} alone, where no other machine gets to; set listen_addresses in {path} "
            "and restart it"
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
