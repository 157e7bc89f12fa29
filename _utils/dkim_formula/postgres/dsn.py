"""Data set names (DSN) of SQL databases: opendkim(8), «DATA SETS», d)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import InvalidValue
from ..secret import Secret

PREFIX = "dsn:"
BACKEND = "pgsql"
FORM = "use dsn:pgsql://USER:PASSWORD@PORT+HOST/DATABASE/table=T?keycol=K?datacol=A,B"

# libpq's default Unix socket as a host: a list of two empty names (measured).
SOCKET = ","

# Separators of a name's parts: the first one found ends a part (dkimf_db_nextpunct).
_PUNCTUATION = re.compile(r"[:/@+?=]")
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?")
_OCTET = re.compile(r"=([0-9A-Fa-f]{2})")


@dataclass(frozen=True)
class Dsn:
    """
    A data set in a database.

    host
        ``,`` is the default Unix socket.
    port
        None if the name has none.
    table, key_column, columns
        SQL names without quotes.
    filter
        SQL that OpenDKIM adds to each WHERE, or ''.
    """

    user: str
    password: Secret
    host: str
    port: int | None
    database: str
    table: str
    key_column: str
    columns: tuple[str, ...]
    filter: str

    @property
    def is_on_socket(self) -> bool:
        """Whether the server is reached by the default Unix socket."""
        return not self.host.strip(SOCKET)

    @property
    def location(self) -> str:
        """The table and its database, as text for a message."""
        return f"table {self.table} of database {self.database}"


def parse(text: str, where: str) -> Dsn:
    """
    Return the parts of a name, parsed as OpenDKIM parses it (opendkim-db.c, dkimf_db_open).

    text
        The name without ``dsn:``.

    Raises InvalidValue, whose text does not show the name, because a name may contain a password.
    """
    backend, slashes, rest = text.partition("://")
    if not slashes or _PUNCTUATION.search(backend):
        raise _invalid(where, "is not the name of a data set", FORM)
    if backend != BACKEND:
        raise _invalid(where, f"is a table of {backend[:20]}, which is not supported", FORM)
    login, rest = _login(rest, where)
    given = dict(_pairs(rest))
    table, key_column = given.get("table", ""), given.get("keycol", "")
    columns = tuple(column.strip() for column in given.get("datacol", "").split(","))
    for name, value in (("table", table), ("keycol", key_column)):
        _check_name(where, name, value)
    for column in columns:
        _check_name(where, "datacol", column)
    port = login["port"]
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise _invalid(where, "has a port that is not a number from 1 to 65535", FORM)
    return Dsn(
        user=login["user"],
        password=Secret(login["password"]),
        host=login["host"],
        port=int(port) if port else None,
        database=login["database"],
        table=table,
        key_column=key_column,
        columns=columns,
        filter=_OCTET.sub(lambda found: chr(int(found[1], 16)), given.get("filter", "")),
    )


def _login(rest: str, where: str) -> tuple[dict[str, str], str]:
    """Return user, password, port, host and database, and the rest of the name."""
    found = dict.fromkeys(("user", "password", "port", "host", "database"), "")
    while not found["database"]:
        mark = _PUNCTUATION.search(rest)
        part = rest[: mark.start()] if mark else rest
        sign = mark[0] if mark else ""
        if sign == ":" and not found["user"]:
            found["user"] = part
        elif sign == "@":
            found["password" if found["user"] else "user"] = part
        elif sign == "+":
            found["port"] = part
        elif sign == "/" and part:
            found["database" if found["host"] else "host"] = part
        else:
            raise _invalid(
                where, "lacks a host or a database, or a part contains one of : / @ + ? =", FORM
            )
        rest = rest[mark.end() :]
    return found, rest


def _pairs(rest: str) -> list[tuple[str, str]]:
    pairs = [part.partition("=") for part in rest.split("?")]
    return [(key.lower(), value) for key, equals, value in pairs if equals]


def _check_name(where: str, name: str, value: str) -> None:
    if not _COLUMN.fullmatch(value):
        problem = f"has a {name} that is not the name of a table or column" if value else ""
        raise _invalid(where, problem or f"lacks {name}=", FORM)


def _invalid(where: str, problem: str, remedy: str) -> InvalidValue:
    return InvalidValue(where, PREFIX, problem, remedy)
