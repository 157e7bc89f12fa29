"""Checks of the database, and of the daemons' login to it."""

from __future__ import annotations

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
from . import child, expiry
from .model import (
    NO_OPENDKIM,
    Finding,
    Host,
    Sample,
    applied,
    differences,
    judged,
    right,
    unknown,
    wrong,
)

if TYPE_CHECKING:
    import psycopg2.extensions as pg

LOGIN_WITHIN = 10  # seconds
# The SQLSTATE of insufficient_privilege.
_NO_PRIVILEGE = "42501"

# Reads the table, since the login check verifies the views against the result.
_ACTIVE = """
SELECT k.domain, k.identifier
  FROM {dkim} AS k
 WHERE k.state = 'active' AND k.address = '' AND k.algorithm = %s
 LIMIT 1
"""


def reachable(host: Host) -> Iterator[Finding | Sample]:
    """Check that the formula can log in to the database, and that its tables exist."""
    database = host.settings.database
    try:
        with stand_in.collected() as notes, session(database) as connection:
            is_set_up = schema.has_tables(connection, database)
            version = connection.server_version // 10000
            expiries = list(expiry.of_server(connection, database))
    except DatabaseUnavailable as error:
        yield Sample("dkim_database_up", 0)
        yield _unavailable(host, error)
        return
    except NewerSchema as error:
        yield Sample("dkim_database_up", 1)
        remedy = "update the formula on this machine; OpenDKIM continues to sign"
        yield wrong("database", str(error), remedy)
        return
    yield Sample("dkim_database_up", is_set_up)
    yield from expiries
    if is_set_up:
        endpoint = f"at {database.host}" if database.host else "at the local socket"
        found = f"PostgreSQL {version} {endpoint} has {database.name!r}"
        yield right("database", "; ".join([found, *notes]))
    else:
        message = "the database has none of the formula's tables"
        yield wrong("database", message, applied("dkim"))


def no_answer(reason: str) -> Finding:
    """Return the finding that the database does not answer."""
    remedy = "repair PostgreSQL; OpenDKIM signs nothing without it"
    return wrong("database", f"the database does not answer: {reason}", remedy)


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
    return no_answer(str(error))


def definitions(host: Host) -> Iterator[Finding]:
    """Check that tables, views and triggers are as the formula creates them."""
    found = postgres_commands.manage_schema(host.settings.database, test=True)["changes"]
    remedy = applied("dkim.database")
    yield judged("tables and views", differences(found), "as the formula creates them", remedy)


def rights(host: Host) -> Iterator[Finding]:
    """Check that reader and writer have exactly the rights that they need."""
    database = host.settings.database
    reader = database.reader
    # Only a superuser can compare the stored password. The login check tests it as well.
    desired = postgres_commands.desired_role(database, reader.name, "keep")
    managed = postgres_commands.manage_role(database, desired, test=True)
    found = [("reader's rights", reader.name, managed)]
    if database.has_writer:
        managed = postgres_commands.manage_writer(database, test=True)
        found.append(("writer's rights", database.writer.name, managed))
    for name, role, one in found:
        passed = f"{role} has exactly the rights that it needs"
        yield judged(name, differences(one["changes"]), passed, applied("dkim.database"))
    yield private_keys(host)


def private_keys(host: Host) -> Finding:
    """Return the roles that can read private keys: a problem if the pillar closes the keys."""
    database = host.settings.database
    found = postgres_commands.revoke_public(database, test=True)
    problems = differences(found["changes"])
    if database.close_keys:
        problems += found["notes"]
    passed = "; ".join(found["notes"]) or "read by the formula's own roles alone"
    return judged("private keys", problems, passed, applied("dkim.database"))


def access(host: Host) -> Iterator[Finding]:
    """Check that pg_hba.conf and pg_ident.conf have the formula's lines, and that they apply."""
    name, database = "access files", host.settings.database
    if database.host:
        message = f"they are on {database.host}; docs/remote-database.md has the lines"
        yield unknown(name, message)
        return
    found = postgres_commands.manage_access(
        database, True, not host.systemd, test=True, keep_former=host.settings.fleet.is_set
    )["changes"]
    passed = "pg_hba.conf and pg_ident.conf let the reader log in"
    yield judged(name, differences(found), passed, applied("dkim.database"))


def logins(host: Host) -> Iterator[Finding | Sample]:
    """Check that each daemon's account logs in, reads the views, and cannot read the table."""
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
    # Without systemd the init script starts the daemon as root, which opens the first session
    # (measured).
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
    accounts = " and as ".join(users)
    passed = f"as {accounts}: logs in as {database.reader.name}, which reads only the views"
    remedy = f"{applied('dkim.database')}; {applied('dkim.opendkim')}"
    return judged("login", problems, passed, remedy, daemon.service)


def _known(database: Database, algorithm: str) -> tuple[str, str] | None:
    """Return a pattern and its identifier that the reader must find, or None if unknown."""
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
    Yield the problems that this process has with the daemon's queries, a clause each.

    known
        A pattern of the SigningTable, and its identifier.
    password
        As for :func:`connect`.

    Raises OpenDKIMError if the login fails.
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
    Return a read-only session of the reader's role.

    password
        The password to use instead of the one in the daemon's password file.

    Raises OpenDKIMError if the login fails.
    """
    psycopg2 = driver()
    given = {} if password is None else {"password": password.reveal()}
    try:
        connection = psycopg2.connect(
            dbname=database.name,
            user=database.reader.name,
            # The daemon's DSN has the same list of two empty hosts.
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
