"""Sessions with PostgreSQL, and its errors made safe to show."""

from __future__ import annotations

import codecs
import contextlib
import importlib
import io
import os
import pwd
import re
import threading
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING

from ..errors import DatabaseError, DatabaseUnavailable, done_before
from ..postgres import privileges, servers
from ..settings.model import Database
from . import worker

if TYPE_CHECKING:
    import psycopg2.extensions as pg
    import psycopg2.sql

LOCAL_ACCOUNT = "postgres"
# Every server has it, whatever else it has.
MAINTENANCE = "postgres"
CONNECT_TIMEOUT = 10  # seconds
# What a session is whatever ALTER ROLE … SET, ALTER DATABASE … SET, postgresql.conf and libpq's
# environment variables say: a site sets them for its own programs.
_SETTINGS = {
    # The first: a limit must not end the others.
    "statement_timeout": "0",
    # Names in our statements are qualified: nothing in a user's schema can stand in for a function
    # of PostgreSQL's own.
    "search_path": "pg_catalog, pg_temp",
    # Compiling a query over all domains takes longer than the query (measured: 0.6 s, 0.3 s).
    "jit": "off",
    # How values are written, and how ours are read.
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "quote_all_identifiers": "off",
    # Definitions are compared with what the server gives back.
    "check_function_bodies": "on",
    "default_tablespace": "",
    "temp_tablespaces": "",
    # Rows that a policy hides would be taken for absent ones: an error is better.
    "row_security": "off",
    "default_transaction_read_only": "off",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    # Keys are made in between two statements, and that takes its time.
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",  # PostgreSQL 14
    "transaction_timeout": "0",  # 17
    "client_min_messages": "warning",
}
_REPLICA = "session_replication_role"

# The effective user is the whole process's: two threads must not change it at once.
_identity_lock = threading.Lock()


def driver() -> ModuleType:
    """
    Return psycopg2 with its ``errors``, ``sql`` and ``extensions``, imported when first needed: a
    minion has none before the formula's first run. Raises DatabaseUnavailable (``no_driver``).
    """
    try:
        importlib.import_module("psycopg2.errors")
        importlib.import_module("psycopg2.sql")
        importlib.import_module("psycopg2.extensions")
        return importlib.import_module("psycopg2")
    except ImportError:
        raise DatabaseUnavailable(
            "no_driver",
            "the Python package psycopg2 is not installed in the Python that runs Salt; "
            "the formula's state.apply dkim installs it, as does: salt-pip install psycopg2-binary",
        ) from None


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
    A session with the database: committed at a good end, rolled back at an error, then closed.

    Without ``host`` and ``user`` the session is the local worker's, whom root logs in as by peer
    authentication over the default socket. Where it can't do the work, because set-up was not run
    yet or somebody took a right away, and for ``setup``, the session is the local ``postgres``
    account's; root takes that account's identity for the connecting alone.

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
    refuses inside it; neither text holds a row's content or a password.
    """
    connection = None
    if not setup and dbname is None and _is_local(database):
        connection = _as_worker(database, application_name)
    if connection is None:
        connection = _connect(database, dbname or database.name, application_name)
    try:
        with errors_translated(), _lacking_rights_named(connection, database):
            _settle(connection)
            connection.autocommit = autocommit
            with connection.cursor() as cursor:
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
            remedies = privileges.lacking(cursor, database)
        text = _safe_text(error)
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


def _settle(connection: pg.connection) -> None:
    """Make a new session one that all our statements mean the same in."""
    _read_any_bytes(connection)
    connection.autocommit = True
    with connection.cursor() as cursor:
        # A role that ALTER ROLE … SET role has put on is taken off.
        cursor.execute(
            "SET statement_timeout TO 0; SET search_path TO pg_catalog, pg_temp; SET ROLE NONE"
        )
        # A release knows some of them, and others not.
        cursor.execute(
            "SELECT set_config(name, setting, false) FROM unnest(%s::text[], %s::text[])"
            " AS w (name, setting) WHERE current_setting(name, true) IS NOT NULL",
            (list(_SETTINGS), list(_SETTINGS.values())),
        )
        cursor.execute("SELECT current_setting(%s) <> 'origin'", (_REPLICA,))
        if cursor.fetchone()[0]:
            # Else no trigger of ours would run. It is a superuser's to set.
            reset = f"ALTER ROLE {{me}} RESET {_REPLICA}"
            me = connection.info.user
            execute_or_tell(cursor, f"SET {_REPLICA} TO origin", compose(reset, me=me))
    connection.autocommit = False


def _read_any_bytes(connection: pg.connection) -> None:
    """
    Have text come as UTF-8, whatever the database's encoding is. A database in SQL_ASCII knows none
    and gives any byte: what is no UTF-8 comes as lone surrogates, as of a file (PEP 383), and goes
    back as it was.
    """
    if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        driver().extensions.encodings["SQLASCII"] = _ANY_BYTES
        connection.set_client_encoding("SQL_ASCII")
    else:
        connection.set_client_encoding("UTF8")


_ANY_BYTES = "dkim_formula_any_bytes"


def _any_bytes(name: str) -> codecs.CodecInfo | None:
    if name != _ANY_BYTES:
        return None
    return codecs.CodecInfo(
        name=_ANY_BYTES,
        encode=lambda text, _errors="strict": codecs.utf_8_encode(text, "surrogateescape"),
        decode=lambda given, _errors="strict": codecs.utf_8_decode(given, "surrogateescape", True),
    )


codecs.register(_any_bytes)


@contextlib.contextmanager
def errors_translated() -> Iterator[None]:
    """
    Turns psycopg2's errors into DatabaseError.

    Only the message's first part and the SQLSTATE are kept: DETAIL prints the failing row, and
    with it a private key (measured: a CHECK or NOT NULL violation), so the cause is not chained.
    """
    errors = driver().Error
    try:
        yield
    except errors as error:
        translated = DatabaseError(_safe_text(error))
        translated.done = done_before(error)
        raise translated from None


def compose(template: str, **names: str | tuple[str, ...]) -> psycopg2.sql.Composed:
    """
    SQL with ``{name}`` replaced by quoted identifiers; a tuple gives a qualified one.

    Doubled braces are literal ones, as in :meth:`str.format`.
    """
    sql = driver().sql
    return sql.SQL(template).format(
        **{
            key: sql.Identifier(*name) if isinstance(name, tuple) else sql.Identifier(name)
            for key, name in names.items()
        }
    )


def execute_or_tell(
    cursor: pg.cursor,
    statement: psycopg2.sql.Composed | str,
    remedy: psycopg2.sql.Composed | str | None = None,
) -> None:
    """
    Execute a statement that may be a superuser's. Raise DatabaseError with what to type as one
    where the session's role may not. For statements without a secret.

    remedy
        What to type, where that is not the statement itself.
    """
    try:
        cursor.execute(statement)
    except driver().errors.InsufficientPrivilege as error:
        remedy = statement if remedy is None else remedy
        text = remedy if isinstance(remedy, str) else remedy.as_string(cursor)
        session_of = cursor.connection.info
        raise DatabaseError(
            f"dkim:database:user: role {session_of.user!r} may not do this (SQLSTATE "
            f"{error.pgcode}); run as a superuser in the database {session_of.dbname!r}: {text}"
        ) from None


def copy_rows(
    cursor: pg.cursor, table: str, columns: Iterable[str], rows: Iterable[Iterable[object]]
) -> None:
    """
    COPY into a temporary table of this session. Nothing of the rows shows in PostgreSQL's log,
    whatever log_statement is (measured).
    """
    text = io.StringIO()
    for row in map(tuple, rows):
        line = "\t".join(map(str, row))
        if None in row or _ESCAPED.search(line) or line.count("\t") >= len(row):
            line = "\t".join(map(_copy_field, row))
        text.write(line + "\n")
    text.seek(0)
    listed = ", ".join(columns)
    cursor.copy_expert(f"COPY pg_temp.{table} ({listed}) FROM STDIN", text)


# A line without any of these stands for itself, tabs apart; most do.
_ESCAPED = re.compile(r"[\\\n\r]")


def _copy_field(value: object) -> str:
    # The text format's own escapes (COPY, "Text Format").
    if value is None:
        return "\\N"
    text = str(value).replace("\\", "\\\\")
    return text.replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def is_superuser(connection: pg.connection) -> bool:
    """Whether the session's current role is a superuser."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('is_superuser') = 'on'")
        return cursor.fetchone()[0]


_LACKS_SCHEMA = "the database lacks a part of the formula's schema: apply the state dkim.database"
# What PostgreSQL can't know, by its SQLSTATE: undefined_table, undefined_column,
# undefined_function; lock_not_available.
_HINTS = {
    "42P01": _LACKS_SCHEMA,
    "42703": _LACKS_SCHEMA,
    "42883": _LACKS_SCHEMA,
    "55P03": "somebody holds the table, a pg_dump perhaps (pg_stat_activity shows who): run again",
}


def _safe_text(error) -> str:
    message = error.diag.message_primary if error.diag is not None else None
    if message is None:
        # libpq's own (a connection that broke): it has no DETAIL.
        message = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    code = f" (SQLSTATE {error.pgcode})" if error.pgcode else ""
    hint = error.diag.message_hint if error.diag is not None else None
    hint = _HINTS.get(error.pgcode, hint)
    return f"PostgreSQL: {message}{code}" + (f"; {hint}" if hint else "")


def _is_local(database: Database) -> bool:
    return database.host == "" and database.user is None


def _as_worker(database: Database, application_name: str) -> pg.connection | None:
    """A session of the worker's, who can do the daily work; None where there is no such one."""
    psycopg2 = driver()
    try:
        # Not while another thread has taken on another account.
        with _identity_lock:
            connection = psycopg2.connect(
                **_parameters(database, database.name, application_name), user=database.worker.name
            )
    except psycopg2.OperationalError:
        return None
    try:
        _settle(connection)
        with connection.cursor() as cursor:
            enough = worker.sufficient(cursor, database)
        connection.rollback()
    except psycopg2.Error:
        enough = False
    if not enough:
        connection.close()
        return None
    return connection


def worker_advice(database: Database) -> str:
    """Say that another account does the daily work in the worker's place, and what ends that."""
    if not _is_local(database):
        return ""
    with session(database) as connection:
        user = connection.info.user
    worker_name = database.worker.name
    if user == worker_name:
        return ""
    return (
        f"dkim:database:worker: {worker_name!r} can't log in or lacks a right, so {user!r}, a "
        "superuser, does the daily work; run salt-call state.apply dkim.database"
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
    Root as ``postgres`` for a moment: peer authentication asks the kernel who connects, and takes
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
    if not servers.listens(database.host, database.port):
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
    """Whether the server says, in a session with another database, that it has no such one."""
    try:
        with (
            session(database, setup=True, dbname=MAINTENANCE) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT count(*) FROM pg_database WHERE datname = %s", (dbname,))
            return cursor.fetchone()[0] == 0
    except DatabaseError:
        return False
