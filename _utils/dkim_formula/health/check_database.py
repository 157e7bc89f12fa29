"""The database, the daemon's login at it, and the clocks."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import DatabaseError, DatabaseUnavailable, NewerSchema, OpenDKIMError
from ..postgres import commands as postgres_commands
from ..postgres import schema, stand_in
from ..postgres.connection import session
from ..postgres.driver import driver
from ..postgres.objects import key_view, names, signing_view
from ..postgres.sql import compose
from ..secret import Secret
from ..settings.model import Database
from ..signer.daemons import Daemon, environment
from . import child, measures
from .model import NO_OPENDKIM, Finding, Host, Sample, applied, judged, right, unknown, wrong

if TYPE_CHECKING:
    import psycopg2.extensions as pg

LOGIN_WITHIN = 10  # seconds
# A signature says when it was made (RFC 6376, section 3.5, t= and x=). Verifiers that look at t=
# allow for some minutes; a rotation counts days.
MOST_APART = 60.0  # seconds
TIMEDATECTL = "/usr/bin/timedatectl"
KEEP_CLOCK = "apt-get install systemd-timesyncd, or chrony; then: timedatectl"
# SQLSTATE of insufficient_privilege
_NO_PRIVILEGE = "42501"

# Not from the views: what they show is the question.
_ACTIVE = """
SELECT k.domain, k.identifier
  FROM {dkim} AS k
 WHERE k.state = 'active' AND k.address = '' AND k.algorithm = %s
 LIMIT 1
"""


def reachable(host: Host) -> Iterator[Finding | Sample]:
    """Yield whether the formula's own session works, and finds the formula's tables."""
    database = host.settings.database
    try:
        with stand_in.collected() as said, session(database) as connection:
            is_set_up = schema.has_tables(connection, database)
            version = connection.server_version // 10000
            expiries = list(measures.of_server(connection, database))
    except DatabaseUnavailable as error:
        yield Sample("dkim_database_up", 0)
        yield _unavailable(host, error)
        return
    except NewerSchema as error:
        yield Sample("dkim_database_up", 1)
        remedy = "update the formula on this machine; OpenDKIM signs all the same"
        yield wrong("database", str(error), remedy)
        return
    yield Sample("dkim_database_up", is_set_up)
    yield from expiries
    if is_set_up:
        place = f"at {database.host}" if database.host else "at the local socket"
        found = f"PostgreSQL {version} {place} has {database.name!r}"
        yield right("database", "; ".join([found, *said]))
    else:
        message = "the database has none of the formula's tables"
        yield wrong("database", message, applied("dkim"))


def away(reason: str) -> Finding:
    """Return the finding that the database gives no answer."""
    remedy = "see to PostgreSQL; OpenDKIM signs nothing without it"
    return wrong("database", f"the database has no answer: {reason}", remedy)


def _unavailable(host: Host, error: DatabaseUnavailable) -> Finding:
    name = "database"
    if error.reason == "elsewhere":
        return unknown(name, str(error))
    if error.reason == "no_driver":
        return unknown(name, str(error), applied("dkim.python"))
    if error.reason == "no_database":
        return wrong(name, str(error), applied("dkim"))
    if error.reason == "no_server" and not host.settings.database.host:
        service = host.lookup["postgresql_service"]
        remedy = f"systemctl start {service}; why it does not run: journalctl -u '{service}*' -n 50"
        return wrong(name, str(error), remedy)
    return away(str(error))


def definitions(host: Host) -> Iterator[Finding]:
    """Yield whether tables, views and triggers are as the formula makes them."""
    found = postgres_commands.manage_schema(host.settings.database, test=True)["changes"]
    do = applied("dkim.database")
    yield judged("tables and views", _listed(found), "as the formula makes them", do)


def rights(host: Host) -> Iterator[Finding]:
    """Yield whether reader and writer have the rights that they need, and no other."""
    database = host.settings.database
    reader = database.reader
    # Whether its password is right only a superuser can see; the daemon's login tells as well.
    wanted = postgres_commands.wanted_role(database, reader.name, "keep")
    found = [
        ("reader's rights", reader.name, postgres_commands.manage_role(database, wanted, test=True))
    ]
    if database.has_writer:
        found.append(
            (
                "writer's rights",
                database.writer.name,
                postgres_commands.manage_writer(database, test=True),
            )
        )
    for name, role, one in found:
        well = f"{role} has its own, no more"
        yield judged(name, _listed(one["changes"]), well, applied("dkim.database"))
    yield private_keys(host)


def private_keys(host: Host) -> Finding:
    """Return whether others read private keys, which is wrong where the pillar closes them."""
    database = host.settings.database
    found = postgres_commands.revoke_public(database, test=True)
    problems = _listed(found["changes"])
    if database.close_keys:
        problems += found["notes"]
    well = "; ".join(found["notes"]) or "read by the formula's own roles alone"
    return judged("private keys", problems, well, applied("dkim.database"))


def access(host: Host) -> Iterator[Finding]:
    """Yield whether pg_hba.conf and pg_ident.conf have our lines, where they count."""
    name, database = "access files", host.settings.database
    if database.host:
        where = f"they are at {database.host}; docs/remote-database.md has the lines"
        yield unknown(name, where)
        return
    found = postgres_commands.manage_access(database, True, not host.systemd, test=True)["changes"]
    well = "pg_hba.conf and pg_ident.conf let the reader in"
    yield judged(name, _listed(found), well, applied("dkim.database"))


def logins(host: Host) -> Iterator[Finding | Sample]:
    """Yield whether each daemon's account logs in, reads the views, and can't read the keys."""
    if not host.has_opendkim:
        yield unknown("login", NO_OPENDKIM)
        return
    for daemon in host.daemons:
        found = _login(host, daemon)
        yield Sample("dkim_reader_login_up", bool(found.ok), {"service": daemon.service})
        yield found


def _login(host: Host, daemon: Daemon) -> Finding:
    database = host.settings.database
    known = _known(database, daemon.algorithm)
    # The init script starts the daemon as root, and its first session is root's (measured).
    users = [host.user] if host.systemd else [host.user, "root"]
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
    remedy = f"{applied('dkim.database')}; {applied('dkim.opendkim')}"
    return judged("login", problems, well, remedy, daemon.service)


def _known(database: Database, algorithm: str) -> tuple[str, str] | None:
    """A pattern and its identifier that the reader has to find, where that is known here."""
    try:
        with session(database) as connection, connection.cursor() as cursor:
            cursor.execute(compose(_ACTIVE, **names(database)), (algorithm,))
            return cursor.fetchone()
    except DatabaseError:
        return None


def as_reader(
    database: Database,
    algorithm: str,
    known: tuple[str, str] | None = None,
    password: Secret | None = None,
) -> Iterator[str]:
    """
    What keeps this process from reading what the daemon reads, a clause each.

    known
        A pattern that the SigningTable has, and the identifier that it gives for it.
    password
        As :func:`connect`.

    Raises OpenDKIMError where there is no login at all.
    """
    connection = connect(database, password)
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


def connect(database: Database, password: Secret | None = None) -> pg.connection:
    """
    Return a session of the reader's, read-only.

    password
        In place of the one that libpq finds in the daemon's password file.

    Raises OpenDKIMError where there is no login.
    """
    psycopg2 = driver()
    given = {} if password is None else {"password": password.reveal()}
    try:
        connection = psycopg2.connect(
            dbname=database.name,
            user=database.reader.name,
            # The list of two empty hosts that the daemon's DSN has.
            host=database.host or ",",
            port=database.port,
            connect_timeout=LOGIN_WITHIN,
            application_name="dkim.doctor",
            **given,
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


def synchronised(host: Host) -> Iterator[Finding]:
    """Yield whether something keeps this machine's clock right."""
    name = "clock"
    if not host.systemd:
        yield unknown(name, "systemd is not here to tell who keeps it")
        return
    command = [TIMEDATECTL, "show", "--property=NTPSynchronized"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        yield unknown(name, f"{TIMEDATECTL} is missing, which tells who keeps it")
        return
    if done.stdout.strip() == "NTPSynchronized=yes":
        yield right(name, "it is synchronised")
    else:
        # A host may keep its guests' clocks, of which the guest's kernel knows nothing.
        yield unknown(name, "the kernel knows of nobody who keeps it right", KEEP_CLOCK)


def database_clock(host: Host) -> Iterator[Finding]:
    """Yield whether the database's clock, which dates keys and moves, is this machine's."""
    name = "database's clock"
    apart, uncertain = clock(host)
    if abs(apart) - uncertain > MOST_APART:
        ahead = "ahead of" if apart > 0 else "behind"
        found = f"it is {abs(apart):.0f} s {ahead} this machine's"
        yield wrong(name, found, f"on the machine that is wrong: {KEEP_CLOCK}")
    else:
        yield right(name, f"it is this machine's, to {max(abs(apart), uncertain):.1f} s")


def clock(host: Host) -> tuple[float, float]:
    """Return the database's clock less ours, and how far that may be off, in seconds."""
    with session(host.settings.database) as connection, connection.cursor() as cursor:
        before = time.time()
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        theirs = cursor.fetchone()[0]
        after = time.time()
    return theirs - (before + after) / 2, (after - before) / 2
