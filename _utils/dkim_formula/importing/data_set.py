"""OpenDKIM's data sets in files, lists and PostgreSQL tables: opendkim(8), «DATA SETS»."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..errors import InvalidValue
from ..postgres import dsn
from ..postgres.dsn import Dsn
from ..secret import Secret

FILE = "file"  # a key and its value a line; the keys are literal
REFILE = "refile"  # the same; the keys are patterns, tried in their order
LIST = "csl"  # key=value, with commas between
DSN = "dsn"  # a table of a database; the keys are literal

# Other kinds that OpenDKIM can be built with. The formula can't read their content.
_ELSEWHERE = ("db", "erlang", "ldap", "ldapi", "ldaps", "lua", "mdb", "memcache", "socket")
_KINDS = "give file:, refile:, csl: or dsn:pgsql:"
_SPACE = re.compile(r"[ \t\r\f\v]+")


@dataclass(frozen=True)
class Row:
    """
    One element of a data set.

    key, value
        The two halves. ``value`` is empty if the element has only a key. A KeyTable's value may be
        a private key, so ``value`` is a secret.
    location
        The location as text: ``/etc/opendkim/KeyTable, line 3``.
    """

    key: str
    value: Secret
    location: str


@dataclass(frozen=True)
class DataSet:
    """A table: its ``kind`` and its rows in order."""

    kind: str
    rows: tuple[Row, ...]


def locate(text: object, where: str) -> tuple[str, str]:
    """
    Return the kind of a data set's name, and the rest of the name: a path or the list itself.

    text
        The name in the form of opendkim.conf(5): ``file:/path``, ``refile:/path``, ``csl:a=b``,
        ``dsn:pgsql://…``, ``/path``, or a list.
    where
        The name of the argument, for the error.

    Raises InvalidValue for a kind that the formula can't read, and for a path that is relative.
    """
    if not isinstance(text, str) or not text.strip():
        raise InvalidValue(where, text, "is not a table", "give it as opendkim.conf has it")
    text = text.strip()
    kind, rest = _split_name(text, where)
    if kind in (FILE, REFILE) and not rest.startswith("/"):
        raise InvalidValue(where, text, "is not an absolute path", f"give {kind}:/path")
    return kind, rest


def _split_name(text: str, where: str) -> tuple[str, str]:
    # A colon after the first comma belongs to the list (opendkim-db.c, dkimf_db_open).
    prefix, colon, rest = text.partition(":")
    if colon and "," not in prefix:
        kind = prefix.lower()
        if kind in (FILE, REFILE, LIST, DSN):
            return kind, rest.strip()
        if kind in _ELSEWHERE:
            raise InvalidValue(where, f"{kind}:", "is a table that is not read", _KINDS)
        if "=" not in prefix and not text.startswith("/"):
            # The error shows only the prefix, because the rest may be a key.
            raise InvalidValue(where, f"{prefix}:", "is not a type of table", _KINDS)
    if text.startswith("/"):
        return FILE, text
    return LIST, text


# A function that returns the rows of a database table: each key and its values.
Query = Callable[[Dsn, str], Iterable[tuple[str, list[str]]]]


def read(text: object, where: str, query: Query) -> DataSet:
    """
    Return the data set with a name.

    text, where
        See :func:`locate`.
    query
        The function that reads a PostgreSQL table.

    Raises InvalidValue if the name is wrong or the data set can't be read.
    """
    kind, rest = locate(text, where)
    if kind == DSN:
        source = dsn.parse(rest, where)
        found = query(source, where)
        return DataSet(kind, tuple(_database_row(source, key, values) for key, values in found))
    if kind == LIST:
        return DataSet(kind, parse_list(rest, where))
    try:
        with open(rest, encoding="utf-8", errors="replace", newline="\n") as stream:
            content = stream.read()
    except OSError as error:
        raise InvalidValue(where, rest, f"can't be read: {error.strerror}") from None
    parse = parse_refile if kind == REFILE else parse_file
    return DataSet(kind, parse(content, rest))


def _database_row(source: Dsn, key: str, values: list[str]) -> Row:
    # In a text the fields are separated by colons; OpenDKIM reads one column for each field.
    return Row(key, Secret(":".join(values)), f"{source.location}, {source.key_column} {key}")


def parse_file(text: str, location: str) -> tuple[Row, ...]:
    """Return the rows of a flat file. ``#`` starts a comment anywhere in a line."""
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        key, *value = _SPACE.split(_trimmed(line.partition("#")[0]), maxsplit=1)
        if key:
            rows.append(Row(key, Secret(*value or [""]), f"{location}, line {number}"))
    return tuple(rows)


def parse_refile(text: str, location: str) -> tuple[Row, ...]:
    """
    Return the rows of a file of patterns.

    The pattern is the text before the first white space, so an indented line has an empty pattern.
    OpenDKIM skips such a line (opendkim-db.c, dkimf_db_open). Its row is kept with an empty key,
    so that the import can report it.
    """
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        content = line.partition("#")[0]
        if not _trimmed(content):
            continue
        key, *value = _SPACE.split(content, maxsplit=1)
        rest = _trimmed(value[0]) if value else ""
        rows.append(Row(key, Secret(rest), f"{location}, line {number}"))
    return tuple(rows)


def parse_list(text: str, location: str) -> tuple[Row, ...]:
    """Return the rows of ``key=value,key=value``. A value may contain equals signs."""
    rows = []
    for number, element in enumerate(text.split(","), 1):
        key, _, value = element.partition("=")
        if _trimmed(key):
            rows.append(Row(_trimmed(key), Secret(_trimmed(value)), f"{location}, entry {number}"))
    return tuple(rows)


def _trimmed(text: str) -> str:
    return text.strip(" \t\r\n\f\v")
