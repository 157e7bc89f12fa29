"""The settings of a session, in which all our statements mean the same."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from .driver import driver
from .sql import compose, execute_or_tell

if TYPE_CHECKING:
    import psycopg2.extensions as pg


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
_ANY_BYTES = "dkim_formula_any_bytes"


def settle(connection: pg.connection) -> None:
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


def _any_bytes(name: str) -> codecs.CodecInfo | None:
    if name != _ANY_BYTES:
        return None
    return codecs.CodecInfo(
        name=_ANY_BYTES,
        encode=lambda text, _errors="strict": codecs.utf_8_encode(text, "surrogateescape"),
        decode=lambda given, _errors="strict": codecs.utf_8_decode(given, "surrogateescape", True),
    )


codecs.register(_any_bytes)
