"""``dkim:database``: where the virtual-mail database is, and who reads it."""

import re
from collections.abc import Mapping

from ..errors import InvalidValue
from ..secret import Secret
from .check import (
    Notes,
    absolute_path,
    boolean,
    choice,
    integer,
    read_section,
    secret,
    section,
    shown,
    text,
)
from .model import Database, DomainsTable, Reader

WHERE = "dkim:database"

# PostgreSQL cuts a longer name at NAMEDATALEN - 1 bytes, with no more than a notice.
MAX_IDENTIFIER = 63

# opendkim(8), "DATA SETS": these divide a DSN and are decoded in "filter" alone (measured with
# 2.11.0~beta2); quotes and backslashes break the connection string that OpenDBX builds.
_DSN_DELIMITERS = ":/@+?="
_DSN_QUOTES = "'\"\\"
# opendkim.conf(5): a comma divides a data set's members, "#" begins a comment anywhere on a line.
_CONF_DELIMITERS = ",#"

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_SYSTEM_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_MAP = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")


def identifier(value: object, where: str) -> str:
    """
    A PostgreSQL name of 1 to 63 bytes.

    Source: PostgreSQL, "Identifiers and Key Words": any character in quotes, but NUL.
    """
    name = text(value, where)
    size = len(name.encode("utf-8", "surrogatepass"))
    if size > MAX_IDENTIFIER:
        raise InvalidValue(
            where,
            name,
            f"is {size} bytes long",
            f"PostgreSQL's names have {MAX_IDENTIFIER} at most",
        )
    return name


def dsn_name(value: object, where: str) -> str:
    """A PostgreSQL name that OpenDKIM's DSN can carry."""
    name = identifier(value, where)
    kinds = _not_for_a_dsn(name)
    if kinds:
        raise InvalidValue(
            where,
            name,
            f"has {kinds}, which OpenDKIM's data set names can't carry",
            "use letters, digits, '_', '-' and '.'",
        )
    return name


def reader_name(value: object, where: str) -> str:
    """The reader's role: a name for a DSN that is not one of PostgreSQL's own roles."""
    name = dsn_name(value, where)
    if name.startswith("pg_") or name in ("postgres", "public", "none"):
        raise InvalidValue(
            where, name, "is a role of PostgreSQL's own", "give the reader a role of its own"
        )
    return name


def reader_password(value: object, where: str) -> Secret:
    """A password that can stand in a DSN. The error tells the kind of character, never the text."""
    password = secret(value, where)
    kinds = _not_for_a_dsn(password.reveal())
    if kinds:
        raise InvalidValue(
            where,
            password,
            f"has {kinds}, which OpenDKIM's data set names can't carry, raw or encoded",
            "use letters, digits and characters such as - _ . ! ~ *",
        )
    return password


def hosts(value: object, where: str) -> str:
    """
    One host or several, tried in turn, as libpq takes them: ``a,b``; '' is the local socket.

    Neither a path nor an IPv6 address can stand in a DSN.
    """
    if value == "":
        return ""
    given = value.split(",") if isinstance(value, str) else value
    if not isinstance(given, (list, tuple)):
        raise InvalidValue(where, shown(value), "is not a host", "give a name or a list of names")
    return ",".join(_host(host, where) for host in given)


def qualified_table(value: object, where: str) -> str:
    """``table`` or ``schema.table``."""
    name = text(value, where)
    parts = name.split(".")
    if len(parts) > 2 or not all(parts):
        raise InvalidValue(where, name, "is not a table's name", "give table or schema.table")
    for part in parts:
        identifier(part, where)
    return name


def system_user(value: object, where: str) -> str:
    """The name of an account of the system."""
    return _matching(_SYSTEM_USER, value, where, "is not the name of an account")


def map_name(value: object, where: str) -> str:
    """A map's name in ``pg_ident.conf`` that needs no quotes there."""
    return _matching(_MAP, value, where, "is not the name of a map")


_DATABASE = {
    "name": dsn_name,
    "manage": boolean,
    "owner": identifier,
    "host": hosts,
    "port": integer(1, 65535),
    "user": identifier,
    "password": secret,
    # libpq, "SSL Support", table of modes
    "sslmode": choice("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslrootcert": absolute_path,
    "domains": section,
    "reader": section,
}
_DOMAINS = {
    "schema": identifier,
    "table": qualified_table,
    "id": identifier,
    "name": identifier,
    "create_missing": boolean,
}
_READER = {
    "name": reader_name,
    "auth": choice("peer", "password"),
    "system_user": system_user,
    "map": map_name,
    "password": reader_password,
}


def read_database(value: object, notes: Notes) -> Database:
    """The section's settings; whatever is wrong is noted and stands at its default."""
    read = read_section(value, WHERE, _DATABASE, notes)
    read["domains"] = _read_domains(read.get("domains"), notes)
    read["reader"] = _read_reader(read.get("reader"), notes)
    # A database on another host is not ours to install.
    read.setdefault("manage", not read.get("host"))
    database = Database(**read)
    _check_access(database, _reader_given(value), notes)
    return database


def _read_domains(value: object, notes: Notes) -> DomainsTable:
    where = f"{WHERE}:domains"
    read = read_section(value, where, _DOMAINS, notes)
    schema, dot, table = str(read.get("table", "")).rpartition(".")
    if dot:
        if read.get("schema", schema) != schema:
            notes.problem(
                InvalidValue(
                    f"{where}:schema",
                    read["schema"],
                    f"differs from the schema in {where}:table",
                    "give the schema once",
                )
            )
        read |= {"schema": schema, "table": table}
    return DomainsTable(**read)


def _read_reader(value: object, notes: Notes) -> Reader:
    return Reader(**read_section(value, f"{WHERE}:reader", _READER, notes))


def _reader_given(value: object) -> Mapping:
    reader = value.get("reader") if isinstance(value, Mapping) else None
    return reader if isinstance(reader, Mapping) else {}


def _check_access(database: Database, reader_given: Mapping, notes: Notes) -> None:
    """What only the keys together can tell."""
    reader = database.reader
    if database.host and database.manage:
        notes.problem(
            InvalidValue(
                f"{WHERE}:manage",
                True,
                "does not go with a host",
                "give manage: false, or host: '' for the database of this machine",
            )
        )
    if reader.name in (database.owner, database.user):
        notes.problem(
            InvalidValue(
                f"{WHERE}:reader:name",
                reader.name,
                "is the owner or the account for set-up",
                "give the reader a role of its own: it may read two views and nothing else",
            )
        )
    if reader.auth == "peer":
        _check_peer(database, reader_given, notes)
    else:
        _check_password(database, reader_given, notes)


def _check_peer(database: Database, reader_given: Mapping, notes: Notes) -> None:
    if database.host:
        notes.problem(
            InvalidValue(
                f"{WHERE}:reader:auth",
                "peer",
                f"does not work over the network, and the host is {database.host!r}",
                "give auth: password and a password, or host: ''",
            )
        )
    if reader_given.get("password") is not None:
        notes.advise(f"{WHERE}:reader:password", "is not used with peer authentication; remove it")


def _check_password(database: Database, reader_given: Mapping, notes: Notes) -> None:
    if reader_given.get("password") is None:
        notes.problem(
            f"{WHERE}:reader:password: is not there, and auth is 'password'; "
            "give one, or auth: peer for the local socket"
        )
    if database.host and database.sslmode not in ("verify-ca", "verify-full"):
        notes.advise(
            f"{WHERE}:sslmode",
            f"{database.sslmode!r} sends a password to a server that is not verified; "
            "verify-full verifies it",
        )


def _host(value: object, where: str) -> str:
    host = text(value, where).strip()
    if host.startswith(("/", "@")):
        raise InvalidValue(
            where, host, "is a socket, which a DSN can't carry", "'' is the default socket"
        )
    if ":" in host:
        raise InvalidValue(
            where,
            host,
            "has a colon, which a DSN can't carry",
            "give a name in place of an IPv6 address, and a port by dkim:database:port",
        )
    if not _HOST.fullmatch(host):
        raise InvalidValue(where, host, "is not a host", "give a name or an IPv4 address")
    return host


def _not_for_a_dsn(value: str) -> str:
    """Which kinds of characters of the value a DSN can't carry, in words; '' for none."""
    kinds = []
    if set(value) & set(_DSN_DELIMITERS):
        kinds.append(f"one of {' '.join(_DSN_DELIMITERS)}")
    if set(value) & set(_DSN_QUOTES):
        kinds.append("a quote or a backslash")
    if set(value) & set(_CONF_DELIMITERS):
        kinds.append("a comma or a #")
    if any(character.isspace() for character in value):
        kinds.append("white space")
    return " and ".join(kinds)


def _matching(pattern: re.Pattern, value: object, where: str, problem: str) -> str:
    name = text(value, where)
    if not pattern.fullmatch(name):
        raise InvalidValue(where, name, problem, "use letters, digits, '_' and '-', a letter first")
    return name
