"""Look-ups in the tables of a watched daemon, with the daemon's login and queries."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg2.extensions as pg


NAME = "opendkim-watchdog"
# RFC 2606: this domain has no mailboxes, and no SigningTable has a key for it. Its look-up uses
# only the SigningTable, so an unusable key can't be the cause of a failure.
NOBODY = f"{NAME}@{NAME}.invalid"
# connect_timeout applies to each host.
_SESSION = {
    "connect_timeout": 5,
    "application_name": NAME,
    "options": "-c default_transaction_read_only=on",
}
# OpenDKIM's own queries (measured, log_statement=all).
IDENTIFIER = "SELECT {data} FROM {table} WHERE {key} = %s"
KEY = "SELECT 1 FROM {table} WHERE {key} = %s"
PATTERNS = "SELECT {key} FROM {table} ORDER BY random() LIMIT %s"
_DATABASE_ADDRESS = re.compile(
    r"dsn:pgsql://(?P<user>[^@]+)@(?:(?P<port>\d+)\+)?(?P<host>[^/]+)/(?P<dbname>[^/]+)"
    r"/table=(?P<table>[^?]+)\?keycol=(?P<key>[^?]+)\?datacol=(?P<data>.+)"
)


@dataclass(frozen=True)
class Table:
    """
    A table of OpenDKIM in PostgreSQL.

    login
        The arguments of ``psycopg2.connect``.
    name, key, data
        The table, its key column and its data columns, as SQL.
    """

    login: Mapping[str, str]
    name: str
    key: str
    data: str


def table_at(address: str) -> Table | None:
    """Return the table that a value of an opendkim.conf names; None if it names none."""
    found = _DATABASE_ADDRESS.fullmatch(address)
    if found is None:
        return None
    login = {name: found[name] for name in ("user", "host", "dbname", "port") if found[name]}
    return Table(login, found["table"], found["key"], found["data"])


class Session:
    """A session with the database of one table."""

    def __init__(self, table: Table, connection: pg.connection):
        self.table = table
        self._connection = connection
        self._connection.autocommit = True

    def find(self, statement: str, value: object) -> list | None:
        """Return the first column of a statement's rows; None if the statement fails."""
        names = {"table": self.table.name, "key": self.table.key, "data": self.table.data}
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(statement.format(**names), (value,))
                return [row[0] for row in cursor]
        except _driver().Error:
            self._connection.close()
            return None

    def works(self) -> bool:
        """Return whether the session can read the SigningTable."""
        return self.find(IDENTIFIER, NOBODY) is not None

    def close(self) -> None:
        """End the session."""
        self._connection.close()


def log_in(table: Table) -> Session | None:
    """Return a session with the daemon's login; None if the login fails."""
    try:
        psycopg2 = _driver()
    except ImportError:
        return None
    try:
        return Session(table, psycopg2.connect(**table.login, **_SESSION))
    except psycopg2.Error:
        return None


def query(table: Table, statement: str, value: object) -> list | None:
    """Return the first column of a statement's rows in a new session; None on failure."""
    session = log_in(table)
    if session is None:
        return None
    with closing(session):
        return session.find(statement, value)


def _driver() -> ModuleType:
    # Loaded on use: after an upgrade of Salt's Python psycopg2 is missing until the next highstate.
    return importlib.import_module("psycopg2")
