"""Sessions with PostgreSQL: the server, the role, and the reason why no session opens."""

from __future__ import annotations

import contextlib
import os
import pwd
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import DatabaseError, DatabaseUnavailable, done_before
from ..settings.model import Database
from . import listening, schema_number, stand_in, writer_rights
from .catalog import relation_kind
from .driver import driver
from .safe_errors import errors_translated, safe_text
from .session_settings import apply_settings

if TYPE_CHECKING:
    import psycopg2.extensions as pg

LOCAL_ACCOUNT = "postgres"
# A database that every server has.
MAINTENANCE = "postgres"
CONNECT_TIMEOUT = 10  # seconds

# The effective user belongs to the whole process: two threads must not change it at once.
_identity_lock = threading.Lock()


@contextlib.contextmanager
def session(
    database: Database,
    *,
    setup: bool = False,
    dbname: str | None = None,
    autocommit: bool = False,
    application_name: str = "dkim-formula",
) -> Iterator[pg.connection]:
    """
    Open a session. Commit it at the end of the block, roll it back at an error, then close it.

    Without ``host`` and ``user``, root logs in as the writer by peer authentication over the
    default socket. If the writer can't do the work (set-up has not run yet, or a right was
    revoked), and with ``setup``, the session is that of the local ``postgres`` account. Root takes
    that account's identity only while it connects. After set-up, :mod:`stand_in` gets the reason
    why the account stands in for the writer.

    database
        The server, the database and the login.
    setup
        The session reads or changes schema, roles or access files.
    dbname
        Another database of the same server (``postgres``, to create the mail database).
    autocommit
        Commit each statement by itself, as ``CREATE DATABASE`` needs.
    application_name
        Shown in ``pg_stat_activity`` and in the keys' history.

    Raises DatabaseUnavailable if no session opens, and DatabaseError for an error of PostgreSQL's
    in the session. Raises NewerSchema, except with ``setup``, if a newer formula made the tables.
    No text contains a row's content or a password.
    """
    connection, why = None, ""
    if not setup and dbname is None and _is_local(database):
        connection, why = _as_writer(database, application_name)
    if connection is None:
        connection = _connect(database, dbname or database.name, application_name)
    try:
        with errors_translated(), _lacking_rights_named(connection, database):
            apply_settings(connection)
            connection.autocommit = autocommit
            if why:
                report_stand_in(connection, database, why)
            with connection.cursor() as cursor:
                if not setup and dbname is None:
                    schema_number.refuse_newer(cursor, database)
            if not autocommit:
                connection.commit()
            yield connection
            if not autocommit:
                connection.commit()
    finally:
        # Closing rolls back what is not committed.
        connection.close()


@contextlib.contextmanager
def _lacking_rights_named(connection: pg.connection, database: Database) -> Iterator[None]:
    """Name the rights that the session's role lacks if PostgreSQL refuses a statement (42501)."""
    errors = driver().errors
    try:
        yield
    except errors.InsufficientPrivilege as error:
        connection.rollback()
        with connection.cursor() as cursor:
            remedies = writer_rights.lacking(cursor, database)
        text = safe_text(error)
        role = connection.info.user
        if remedies:
            text += f"; role {role!r} lacks rights: run as a superuser: {'; '.join(remedies)}"
        translated = DatabaseError(text)
        translated.done = done_before(error)
        raise translated from None
    except UnicodeEncodeError:
        # Without the error's text, which may contain any argument: psycopg2 encodes the arguments
        # before it sends them.
        raise DatabaseError(
            "a name has octets that are not UTF-8, which this database can't store"
        ) from None


def _is_local(database: Database) -> bool:
    return database.host == "" and database.user is None


def _as_writer(database: Database, application_name: str) -> tuple[pg.connection | None, str]:
    """Return a session as the writer if the writer can do the daily work, else None and why."""
    psycopg2 = driver()
    try:
        # The lock prevents a login while another thread has another effective user.
        with _identity_lock:
            connection = psycopg2.connect(
                **_parameters(database, database.name, application_name), user=database.writer.name
            )
    except psycopg2.OperationalError as error:
        return None, f"can't log in ({' '.join(str(error).split())})"
    try:
        apply_settings(connection)
        with connection.cursor() as cursor:
            if writer_rights.sufficient(cursor, database):
                connection.rollback()
                return connection, ""
            lacking = writer_rights.lacking_for_writer(cursor, database)
            why = f"lacks {', '.join(lacking) or 'a table or a function'}"
    except psycopg2.Error as error:
        why = f"can't work ({safe_text(error)})"
    connection.close()
    return None, why


def report_stand_in(connection: pg.connection, database: Database, why: str) -> None:
    """
    Report that the session's account stands in for the local writer.

    Nothing is reported before set-up, which makes the tables and the writer.

    why
        What the writer can't do, as a predicate of the sentence.
    """
    if not _is_local(database):
        return
    with connection.cursor() as cursor:
        if relation_kind(cursor, database.schema, "dkim_migration") is None:
            return
    stand_in.report(
        f"dkim:database:writer: {database.writer.name!r} {why}, so {connection.info.user!r}, a "
        f"superuser, does the daily work; {stand_in.REMEDY}"
    )


def _connect(database: Database, dbname: str, application_name: str) -> pg.connection:
    psycopg2 = driver()
    parameters = _parameters(database, dbname, application_name)
    if _is_local(database):
        parameters["user"] = LOCAL_ACCOUNT
    elif database.user is None:
        raise DatabaseUnavailable(
            "elsewhere",
            f"the database is at {database.host!r} (dkim:database:host), and without "
            "dkim:database:user this machine only signs; run functions that read or make keys on "
            "the database's host",
        )
    else:
        parameters["user"] = database.user
        if database.password is not None:
            parameters["password"] = database.password.reveal()
    try:
        with _as_local_account() if _is_local(database) else contextlib.nullcontext():
            return psycopg2.connect(**parameters)
    except psycopg2.OperationalError as error:
        failure = _unavailable(database, dbname, str(error))
    raise failure


def _parameters(database: Database, dbname: str, application_name: str) -> dict[str, object]:
    parameters: dict[str, object] = {
        "dbname": dbname,
        "host": database.host,
        # PGHOSTADDR of the environment would lead to another server.
        "hostaddr": "",
        "port": database.port,
        "application_name": application_name,
        "connect_timeout": CONNECT_TIMEOUT,
    }
    if database.host:
        parameters["sslmode"] = database.sslmode
        if database.ca_file is not None:
            parameters["sslrootcert"] = database.ca_file
        if database.sslcert is not None:
            parameters |= {"sslcert": database.sslcert, "sslkey": database.sslkey}
    # Of several servers only the primary accepts writes.
    is_one = "," not in database.host
    parameters["target_session_attrs"] = "any" if is_one else "read-write"
    return parameters


@contextlib.contextmanager
def _as_local_account() -> Iterator[None]:
    """
    Give root the effective user ``postgres`` for the block.

    Peer authentication takes the effective user of the connecting process (getpeereid(3)).
    """
    with _identity_lock:
        if os.geteuid() != 0:
            yield
            return
        try:
            account = pwd.getpwnam(LOCAL_ACCOUNT)
        except KeyError:
            raise DatabaseUnavailable(
                "no_server",
                f"there is no system account {LOCAL_ACCOUNT} on this machine, so PostgreSQL is "
                "not installed here; set dkim:database:manage to true to have it installed, or "
                "dkim:database:host to the database's host",
            ) from None
        os.seteuid(account.pw_uid)
        try:
            yield
        finally:
            os.seteuid(0)


def _unavailable(database: Database, dbname: str, text: str) -> DatabaseUnavailable:
    server = database.host or "the local socket"
    reply = " ".join(text.split())
    # psycopg2 has no SQLSTATE for a refused session (measured: pgcode is None for 28000, 28P01,
    # 3D000, 53300 and 57P03), and the text is in the server's or this machine's language.
    if not listening.listens(database.host, database.port):
        return DatabaseUnavailable(
            "no_server",
            f"no PostgreSQL answers at {server} (dkim:database:host), port {database.port} "
            f"(dkim:database:port): {reply}",
        )
    if dbname != MAINTENANCE and _is_missing(database, dbname):
        return DatabaseUnavailable(
            "no_database",
            f"dkim:database:name: there is no database {dbname!r} at {server}; create it, correct "
            "the name, or set dkim:database:manage to true to have it created",
        )
    return DatabaseUnavailable(
        "refused",
        f"the server at {server} (dkim:database:host), port {database.port} (dkim:database:port), "
        f"refused a session with {dbname!r} (dkim:database:name) as "
        f"{database.user or LOCAL_ACCOUNT!r} (dkim:database:user, {_credential(database)}, "
        f"dkim:database:sslmode): {reply}",
    )


def _credential(database: Database) -> str:
    return "dkim:database:sslcert" if database.sslcert else "dkim:database:password"


def _is_missing(database: Database, dbname: str) -> bool:
    """Return whether the server's catalogue, read from another database, lacks the database."""
    try:
        with (
            session(database, setup=True, dbname=MAINTENANCE) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT count(*) FROM pg_database WHERE datname = %s", (dbname,))
            return cursor.fetchone()[0] == 0
    except DatabaseError:
        return False
