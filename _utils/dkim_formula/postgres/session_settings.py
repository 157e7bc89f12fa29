"""The settings of every session, in which the formula's statements always mean the same."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from .driver import driver
from .sql import compose, execute_or_report

if TYPE_CHECKING:
    import psycopg2.extensions as pg


# These settings override ALTER ROLE … SET, ALTER DATABASE … SET, postgresql.conf and libpq's
# environment variables, which administrators set for other programs.
_SETTINGS = {
    # The first, so that no time limit ends the statements that set the others.
    "statement_timeout": "0",
    # The formula's statements qualify all other names, so no object in a user's schema can replace
    # a function of PostgreSQL.
    "search_path": "pg_catalog, pg_temp",
    # Compiling a query over all domains takes longer than the query (measured: 0.6 s, 0.3 s).
    "jit": "off",
    # The format in which the server writes values and reads the formula's.
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
    # The formula compares definitions with those that the server returns.
    "check_function_bodies": "on",
    "default_tablespace": "",
    "temp_tablespaces": "",
    # An error is better than rows that a policy hides: the formula would take them for missing.
    "row_security": "off",
    "default_transaction_read_only": "off",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    # The formula generates keys between two statements, which takes long.
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",  # PostgreSQL 14
    "transaction_timeout": "0",  # 17
    "client_min_messages": "warning",
}
_REPLICA = "session_replication_role"
_ANY_BYTES = "dkim_formula_any_bytes"


def apply_settings(connection: pg.connection) -> None:
    """Apply the formula's settings to a new session."""
    _read_any_bytes(connection)
    connection.autocommit = True
    with connection.cursor() as cursor:
        # SET ROLE NONE undoes ALTER ROLE … SET role.
        cursor.execute(
            "SET statement_timeout TO 0; SET search_path TO pg_catalog, pg_temp; SET ROLE NONE"
        )
        # Not every release of PostgreSQL has every setting.
        cursor.execute(
            "SELECT set_config(name, setting, false) FROM unnest(%s::text[], %s::text[])"
            " AS w (name, setting) WHERE current_setting(name, true) IS NOT NULL",
            (list(_SETTINGS), list(_SETTINGS.values())),
        )
        cursor.execute("SELECT current_setting(%s) <> 'origin'", (_REPLICA,))
        if cursor.fetchone()[0]:
            # Otherwise the formula's triggers would not run. Only a superuser may set it.
            reset = f"ALTER ROLE {{me}} RESET {_REPLICA}"
            me = connection.info.user
            execute_or_report(cursor, f"SET {_REPLICA} TO origin", compose(reset, me=me))
    connection.autocommit = False


def _read_any_bytes(connection: pg.connection) -> None:
    """
    Read text as UTF-8, whatever the database's encoding is.

    A database in SQL_ASCII has no encoding and returns any octets. Octets that are no UTF-8 are
    read as lone surrogates (PEP 383), and written back unchanged.
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
