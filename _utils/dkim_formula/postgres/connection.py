"""Sessions with PostgreSQL: where, as which role, and why there is none."""

from __future__ import annotations

import contextlib
import os
import pwd
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..errors import DatabaseError, DatabaseUnavailable, done_before
from ..settings.model import Database
from . import listening, rights, schema_number, stand_in
from .catalog import relation_kind
from .driver import driver
from .safe_errors import errors_translated, safe_text
from .session_settings import settle
from .sql import compose

if TYPE_CHECKING:
    import psycopg2.extensions as pg

LOCAL_ACCOUNT = "postgres"
# Every server has it, whatever else it has.
MAINTENANCE = "postgres"
CONNECT_TIMEOUT = 10  # seconds

# The effective user is the whole process's: two threads must not change it at once.
_identity_lock = threading.Lock()


@contextlib.contextmanager
def session(
    database: Database,
    *,
    setup: bool = False,
    dbname: str | None = None,
    role: str | None = None,
    autocommit: bool = False,
    application_name: str = "dkim-formula",
) -> Iterator[pg.connection]:
    """
    Open a session: committed at a good end, rolled back at an error, then closed.

    Without ``host`` and ``user`` the session is the local writer's, whom root logs in as by peer
    authentication over the default socket. Where it can't do the work, because set-up was not run
    yet or somebody took a right away, and for ``setup``, the session is the local ``postgres``
    account's; root takes that account's identity for the connecting alone. Why it stands in for the
    writer is handed to :mod:`stand_in`, once set-up was run.

    database
        Where it is, and as whom to log in.
    setup
        For what changes schema, roles or access files, or looks at them.
    dbname
        Another database of the same server (``postgres``, to make ours).
    role
        A role to take on (``SET ROLE``) after logging in.
    autocommit
        Each statement by itself, as ``CREATE DATABASE`` needs.
    application_name
        Shown in ``pg_stat_activity`` and in the keys' history.

    Raises DatabaseUnavailable where no session can be had, DatabaseError for what PostgreSQL
    refuses inside it, and NewerSchema, but for ``setup``, where a newer formula made the tables; no
    text holds a row's content or a password.
    """
    connection, why = None, ""
    if not setup and dbname is None and _is_local(database):
        connection, why = _as_writer(database, application_name)
    if connection is None:
        connection = _connect(database, dbname or database.name, application_name)
    try:
        with errors_translated(), _lacking_rights_named(connection, database):
            settle(connection)
            connection.autocommit = autocommit
            if why:
                tell_of_stand_in(connection, database, why)
            with connection.cursor() as cursor:
                if not setup and dbname is None:
                    schema_number.refuse_newer(cursor, database)
                if role is not None:
                    cursor.execute(compose("SET ROLE {role}", role=role))
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
    """Say which rights the session's role lacks where PostgreSQL refuses it one (42501)."""
    errors = driver().errors
    try:
        yield
    except errors.InsufficientPrivilege as error:
        connection.rollback()
        with connection.cursor() as cursor:
            remedies = rights.lacking(cursor, database)
        text = safe_text(error)
        role = connection.info.user
        if remedies:
            text += f"; role {role!r} lacks rights: run as a superuser: {'; '.join(remedies)}"
        translated = DatabaseError(text)
        translated.done = done_before(error)
        raise translated from None
    except UnicodeEncodeError:
        # Without the text, which may be anything: psycopg2 encodes arguments before it sends them.
        raise DatabaseError(
            "a name has octets that are no UTF-8, and this database holds none"
        ) from None


def commit(connection: pg.connection, database: Database, tell: Callable[[], object]) -> None:
    """
    Commit a session's changes.

    tell
        Called once they are for good: also where PostgreSQL's answer to the commit was lost, and
        another session finds it carried out. The loss is raised all the same.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT txid_current_if_assigned()")
        (number,) = cursor.fetchone()
    try:
        connection.commit()
    except driver().OperationalError:
        # What is still open of it is rolled back.
        connection.close()
        with contextlib.suppress(DatabaseError):
            if _is_committed(database, number):
                tell()
        raise
    tell()


def _is_committed(database: Database, number: int | None) -> bool:
    """Tell whether that transaction is; it may still be at work for a session that is lost."""
    deadline = time.monotonic() + CONNECT_TIMEOUT
    with session(database, autocommit=True) as connection, connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT txid_status(%s)", (number,))
            (status,) = cursor.fetchone()
            if status != "in progress" or time.monotonic() > deadline:
                return status == "committed"
            time.sleep(0.1)


def _is_local(database: Database) -> bool:
    return database.host == "" and database.user is None


def _as_writer(database: Database, application_name: str) -> tuple[pg.connection | None, str]:
    """Return a session of the writer's, who can do the daily work; or None, and why not."""
    psycopg2 = driver()
    try:
        # Not while another thread has taken on another account.
        with _identity_lock:
            connection = psycopg2.connect(
                **_parameters(database, database.name, application_name), user=database.writer.name
            )
    except psycopg2.OperationalError as error:
        return None, f"can't log in ({' '.join(str(error).split())})"
    try:
        settle(connection)
        with connection.cursor() as cursor:
            if rights.sufficient(cursor, database):
                connection.rollback()
                return connection, ""
            lacking = rights.for_daily_work(cursor, database)
            why = f"lacks {', '.join(lacking) or 'a table or a function'}"
    except psycopg2.Error as error:
        why = f"can't work ({safe_text(error)})"
    connection.close()
    return None, why


def tell_of_stand_in(connection: pg.connection, database: Database, why: str) -> None:
    """
    Say that the session's account stands in for the local writer. Before set-up was run there is
    nothing to say: the writer is made with the tables.

    why
        What the writer can't do, as a predicate.
    """
    if not _is_local(database):
        return
    with connection.cursor() as cursor:
        if relation_kind(cursor, database.schema, "dkim_migration") is None:
            return
    stand_in.say(
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
            "dkim:database:user this machine only signs: keys are made and looked at where "
            "PostgreSQL is",
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
        "port": database.port,
        "application_name": application_name,
        "connect_timeout": CONNECT_TIMEOUT,
    }
    if database.host:
        parameters["sslmode"] = database.sslmode
        if database.authorities is not None:
            parameters["sslrootcert"] = database.authorities
        if database.sslcert is not None:
            parameters |= {"sslcert": database.sslcert, "sslkey": database.sslkey}
    if "," in database.host:
        # Keys are written: of several servers the primary is the one.
        parameters["target_session_attrs"] = "read-write"
    return parameters


@contextlib.contextmanager
def _as_local_account() -> Iterator[None]:
    """
    Make root ``postgres`` for a moment: peer authentication asks the kernel who connects, and takes
    the effective user (getpeereid(3)).
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
                "dkim:database:host to where the database is",
            ) from None
        os.seteuid(account.pw_uid)
        try:
            yield
        finally:
            os.seteuid(0)


def _unavailable(database: Database, dbname: str, text: str) -> DatabaseUnavailable:
    place = database.host or "the local socket"
    reply = " ".join(text.split())
    # psycopg2 has no SQLSTATE for a session that was refused (measured: pgcode is None for 28000,
    # 28P01, 3D000, 53300 and 57P03), and the text is in the server's or this machine's language.
    if not listening.listens(database.host, database.port):
        return DatabaseUnavailable(
            "no_server",
            f"no PostgreSQL answers at {place} (dkim:database:host), port {database.port} "
            f"(dkim:database:port): {reply}",
        )
    if dbname != MAINTENANCE and _is_absent(database, dbname):
        return DatabaseUnavailable(
            "no_database",
            f"dkim:database:name: there is no database {dbname!r} at {place}; make it, correct the "
            "name, or set dkim:database:manage to true to have it made",
        )
    return DatabaseUnavailable(
        "refused",
        f"the server at {place} (dkim:database:host), port {database.port} (dkim:database:port), "
        f"refused a session with {dbname!r} (dkim:database:name) as "
        f"{database.user or LOCAL_ACCOUNT!r} (dkim:database:user, {_means(database)}, "
        f"dkim:database:sslmode): {reply}",
    )


def _means(database: Database) -> str:
    return "dkim:database:sslcert" if database.sslcert else "dkim:database:password"


def _is_absent(database: Database, dbname: str) -> bool:
    """Tell whether the server says, in a session with another database, that it has no such one."""
    try:
        with (
            session(database, setup=True, dbname=MAINTENANCE) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT count(*) FROM pg_database WHERE datname = %s", (dbname,))
            return cursor.fetchone()[0] == 0
    except DatabaseError:
        return False
