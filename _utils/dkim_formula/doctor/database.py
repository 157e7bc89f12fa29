"""The database, and the daemon's way into it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..database.connection import compose, driver, session, worker_advice
from ..database.objects import key_view, names, signing_view
from ..errors import DatabaseError, DatabaseUnavailable, OpenDKIMError
from ..operations import setup
from ..postgres import schema
from ..settings.model import Database
from ..signer.daemons import Daemon, environment
from . import child
from .finding import Finding, applied, judged, right, unknown, wrong
from .site import NO_OPENDKIM, Site

if TYPE_CHECKING:
    import psycopg2.extensions as pg

LOGIN_WITHIN = 10  # seconds
# SQLSTATE of insufficient_privilege
_NO_PRIVILEGE = "42501"

# Not from the views: what they show is the question.
_ACTIVE = """
SELECT k.domain, k.identifier
  FROM {dkim} AS k
 WHERE k.state = 'active' AND k.address = '' AND k.algorithm = %s
 LIMIT 1
"""


def reachable(site: Site) -> list[Finding]:
    """The formula's own session with the database, and a schema of ours in it."""
    name = "database"
    database = site.settings.database
    try:
        with session(database) as connection:
            if not schema.has_tables(connection, database):
                return [wrong(name, "it has no table of keys yet", applied("dkim"))]
            version = connection.server_version // 10000
    except DatabaseUnavailable as error:
        return [_unavailable(name, site, error)]
    place = f"at {database.host}" if database.host else "at the local socket"
    found = [f"PostgreSQL {version} {place} has {database.name!r}", worker_advice(database)]
    return [right(name, "; ".join(filter(None, found)))]


def _unavailable(name: str, site: Site, error: DatabaseUnavailable) -> Finding:
    if error.reason == "elsewhere":
        return unknown(name, str(error))
    if error.reason == "no_driver":
        return unknown(name, str(error), applied("dkim.python"))
    do = "see the reason"
    if error.reason == "no_server" and not site.settings.database.host:
        service = site.lookup["postgresql_service"]
        do = f"systemctl start {service}; why it does not run: journalctl -u '{service}*' -n 50"
    elif error.reason == "no_database":
        do = applied("dkim")
    return wrong(name, str(error), do)


def definitions(site: Site) -> list[Finding]:
    """Tables, views and triggers are as the formula makes them."""
    found = setup.schema_changes(site.settings.database)["changes"]
    do = applied("dkim.database")
    return [judged("tables and views", _listed(found), "as the formula makes them", do)]


def rights(site: Site) -> list[Finding]:
    """Reader and worker have the rights that they need, and no other."""
    database = site.settings.database
    reader = database.reader
    # Whether its password is right only a superuser can see; the daemon's login tells as well.
    wanted = setup.wanted_role(database, reader.name, "keep")
    found = [("reader's rights", reader.name, setup.role_changes(database, wanted))]
    if database.has_worker:
        found.append(("worker's rights", database.worker.name, setup.worker_changes(database)))
    return [
        judged(
            name, _listed(one["changes"]), f"{role} has its own, no more", applied("dkim.database")
        )
        for name, role, one in found
    ]


def access(site: Site) -> list[Finding]:
    """pg_hba.conf and pg_ident.conf have our lines, where they count."""
    name = "access files"
    database = site.settings.database
    if database.host:
        where = f"they are at {database.host}; docs/remote-database.md has the lines"
        return [unknown(name, where)]
    found = setup.access_changes(database, True, not site.systemd)["changes"]
    well = "pg_hba.conf and pg_ident.conf let the reader in"
    return [judged(name, _listed(found), well, applied("dkim.database"))]


def logins(site: Site) -> list[Finding]:
    """The daemon's account logs in as the daemon does, reads its views, and can't read the keys."""
    if not site.has_opendkim:
        return [unknown("login", NO_OPENDKIM)]
    return [_login(site, daemon) for daemon in site.daemons]


def _login(site: Site, daemon: Daemon) -> Finding:
    name = f"login {daemon.service}"
    database = site.settings.database
    known = _known(database, daemon.algorithm)
    # The init script starts the daemon as root, and its first session is root's (measured).
    users = [site.user] if site.systemd else [site.user, "root"]
    problems = []
    for user in users:
        account = child.Account(user, environment=environment(database))
        try:
            problems += child.run(
                lambda: list(as_reader(database, daemon.algorithm, known)),
                LOGIN_WITHIN + 5,
                account,
            )
        except (child.ChildFailed, child.TookTooLong) as error:
            problems.append(f"as {user}: {error}")
        except KeyError:
            problems.append(f"this machine has no account {user}")
    well = f"as {' and as '.join(users)}: let in as {database.reader.name}, which reads views alone"
    return judged(name, problems, well, f"{applied('dkim.database')}; {applied('dkim.opendkim')}")


def _known(database: Database, algorithm: str) -> tuple[str, str] | None:
    """A pattern and its identifier that the reader has to find, where that is known here."""
    try:
        with session(database) as connection, connection.cursor() as cursor:
            cursor.execute(compose(_ACTIVE, **names(database)), (algorithm,))
            return cursor.fetchone()
    except DatabaseError:
        return None


def as_reader(database: Database, algorithm: str, known: tuple[str, str] | None) -> Iterator[str]:
    """
    What keeps this process from reading what the daemon reads, a clause each.

    known
        A pattern that the SigningTable has, and the identifier that it gives for it.

    Raises OpenDKIMError where there is no login at all.
    """
    connection = _connect(database)
    try:
        pattern, identifier = known or ("", "")
        views = (
            (signing_view(algorithm), "pattern", "identifier", pattern),
            (key_view(algorithm), "identifier", "key", identifier),
        )
        for view, column, data, value in views:
            yield from _read_view(connection, (database.schema, view), column, data, value)
        yield from _read_table(connection, database)
    finally:
        connection.close()


def _connect(database: Database) -> pg.connection:
    psycopg2 = driver()
    try:
        connection = psycopg2.connect(
            dbname=database.name,
            user=database.reader.name,
            # The list of two empty hosts that the daemon's DSN has.
            host=database.host or ",",
            port=database.port,
            connect_timeout=LOGIN_WITHIN,
            application_name="dkim.doctor",
        )
    except psycopg2.OperationalError as error:
        reply = " ".join(str(error).split())
        raise OpenDKIMError(f"no login as {database.reader.name}: {reply}") from None
    connection.set_session(readonly=True, autocommit=True)
    return connection


def _read_view(
    connection: pg.connection, view: tuple[str, str], column: str, data: str, value: str
) -> Iterator[str]:
    statement = compose(
        "SELECT count({data}) FROM {view} WHERE {column} = %s", data=data, view=view, column=column
    )
    with connection.cursor() as cursor:
        try:
            cursor.execute(statement, (value,))
        except driver().Error as error:
            yield f"{view[1]}: {_primary(error)}"
            return
        if value and not cursor.fetchone()[0]:
            yield f"{view[1]} shows nothing for {value!r}, which it should"


def _read_table(connection: pg.connection, database: Database) -> Iterator[str]:
    table = (database.schema, database.keys_table)
    with connection.cursor() as cursor:
        try:
            cursor.execute(compose("SELECT key FROM {table} LIMIT 0", table=table))
        except driver().Error as error:
            if error.pgcode != _NO_PRIVILEGE:
                yield f"the table {database.keys_table}: {_primary(error)}"
            return
        yield f"{database.reader.name} can read the table of keys itself"


def _primary(error) -> str:
    return error.diag.message_primary or type(error).__name__


def _listed(changes: dict[str, dict[str, object]]) -> list[str]:
    return [f"{what}: {one['old']!r} in place of {one['new']!r}" for what, one in changes.items()]


def clock(site: Site) -> tuple[float, float]:
    """The database's clock less ours, and how far that may be off, in seconds."""
    with session(site.settings.database) as connection, connection.cursor() as cursor:
        before = time.time()
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        theirs = cursor.fetchone()[0]
        after = time.time()
    return theirs - (before + after) / 2, (after - before) / 2
