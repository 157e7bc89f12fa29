"""Checks of ``dkim:database``: values that PostgreSQL, a DSN and the access files can hold."""

import ipaddress
import re
import stringprep
import unicodedata
from collections.abc import Mapping

from ..errors import InvalidValue
from ..secret import Secret
from .validation import Kind, secret, shown, text

# PostgreSQL truncates a longer name to NAMEDATALEN - 1 bytes, with only a notice.
MAX_IDENTIFIER = 63

# opendkim(8), "DATA SETS": these separate the parts of a DSN and are decoded in "filter" alone
# (measured with 2.11.0~beta2). Quotes and backslashes break the connection string of OpenDBX.
_DSN_DELIMITERS = ":/@+?="
_DSN_QUOTES = "'\"\\"
# opendkim.conf(5): a comma separates a data set's members. "#" begins a comment anywhere in it.
_CONF_DELIMITERS = ",#"

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_SYSTEM_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
_MAP = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
# The dot is required: `all`, `samehost` and `samenet` have another meaning in pg_hba.conf.
_CLIENT_NAME = re.compile(r"\.?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_COMMON_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. @*-]*")


def identifier(value: object, where: str) -> str:
    """
    Return a PostgreSQL name of 1 to 63 bytes, without control characters, ``%`` and ``$$``.

    Source: PostgreSQL, "Identifiers and Key Words", and measurements.
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
    if "%" in name or "$$" in name:
        # psycopg2 takes % for a placeholder, in a quoted name too (measured, 2.9). $$ ends the body
        # of a function.
        raise InvalidValue(where, name, "has % or $$ in it", "use another name")
    return name


def dsn_name(value: object, where: str) -> str:
    """Return a PostgreSQL name that OpenDKIM's DSN can hold."""
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
    """Return the reader's name, which fits a DSN and is no role of PostgreSQL's own."""
    return _own_role(dsn_name(value, where), where)


def writer_name(value: object, where: str) -> str:
    """Return the writer's name, which is no role of PostgreSQL's own."""
    name = _own_role(identifier(value, where), where)
    if name.startswith("/"):
        # Since PostgreSQL 16, for a quoted name too.
        raise InvalidValue(
            where,
            name,
            "is a regular expression in pg_hba.conf",
            "use a name that begins otherwise",
        )
    return name


def clients(value: object, where: str) -> tuple[str, ...]:
    """
    Return addresses, networks and host names, each in the form of pg_hba.conf.

    Source: PostgreSQL, «The pg_hba.conf File», «address».
    """
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, (list, tuple)):
        raise InvalidValue(
            where, shown(value), "is not a list of clients", "give networks or names"
        )
    return tuple(dict.fromkeys(_client(one, where) for one in given))


def common_names(value: object, where: str) -> tuple[str, ...]:
    """Return common names of client certificates, of 64 characters at most (RFC 5280, 4.1.2.6)."""
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, (list, tuple)):
        raise InvalidValue(where, shown(value), "is not a list of names", "give common names")
    for name in given:
        if not _COMMON_NAME.fullmatch(text(name, where)) or len(name) > 64:
            raise InvalidValue(
                where,
                name,
                "is not a certificate's common name",
                "use letters, digits, '.', '-', '_', '@' and blanks, 64 at most",
            )
    return tuple(dict.fromkeys(given))


def role_password(value: object, where: str) -> Secret:
    """
    Return a password that SASLprep (RFC 4013, section 2) leaves unchanged.

    RFC 5802, section 2.2, normalizes a password before it becomes a SCRAM verifier. An unchanged
    password can be compared with the verifier.
    """
    password = secret(value, where)
    text_ = password.reveal()
    mapped = "".join(
        " " if stringprep.in_table_c12(one) else "" if stringprep.in_table_b1(one) else one
        for one in text_
    )
    if unicodedata.normalize("NFKC", mapped) != text_:
        raise InvalidValue(
            where,
            password,
            "has a character that SASLprep (RFC 4013) turns into another or leaves out",
            "use ASCII letters and digits",
        )
    return password


def reader_password(value: object, where: str) -> Secret:
    """Return a password that a DSN can hold. Errors name kinds of characters, never the text."""
    password = role_password(value, where)
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
    Return one host, or several (``a,b``) that libpq tries in turn. '' means the local socket.

    A DSN can hold neither a path nor an IPv6 address.
    """
    if value == "":
        return ""
    given = value.split(",") if isinstance(value, str) else value
    if not isinstance(given, (list, tuple)) or not given:
        raise InvalidValue(where, shown(value), "is not a host", "give a name or a list of names")
    return ",".join(_host(host, where) for host in given)


def qualified_table(value: object, where: str) -> str:
    """Return ``table`` or ``schema.table``."""
    name = text(value, where)
    parts = name.split(".")
    if len(parts) > 2 or not all(parts):
        raise InvalidValue(where, name, "is not a table's name", "give table or schema.table")
    for part in parts:
        identifier(part, where)
    return name


def needs_no_quotes(name: str) -> bool:
    """Return whether SQL reads the name unchanged without quotes."""
    return _PLAIN.fullmatch(name) is not None


def own_schema(value: object, where: str) -> str:
    """
    Return the schema of the formula's own objects: a name that needs no quotes.

    OpenDKIM writes the name into its queries without quotes.
    """
    name = identifier(value, where)
    if not needs_no_quotes(name) or name.startswith("pg_") or name == "information_schema":
        raise InvalidValue(
            where,
            name,
            "is not a name that OpenDKIM can ask for",
            "use lower-case letters, digits and '_', a letter first",
        )
    return name


def only(value: object, where: str) -> tuple[tuple[str, tuple[str | None, ...]], ...]:
    """
    Return the condition for rows that count: each column with its allowed values.

    A value is text, since SQL compares a quoted literal with a column of any type. ``true`` and
    ``1`` are both ``'1'``, which a boolean and a smallint accept (measured, PostgreSQL 15).
    """
    if not isinstance(value, Mapping):
        raise InvalidValue(
            where,
            shown(value),
            "is not a mapping of columns to values",
            "give such as active: true",
        )
    return tuple(
        (identifier(column, where), _values(given, f"{where}:{column}"))
        for column, given in value.items()
    )


def _values(value: object, where: str) -> tuple[str | None, ...]:
    given = value if isinstance(value, (list, tuple)) else [value]
    if not given:
        raise InvalidValue(where, Kind(value), "is empty", "give a value or leave the column out")
    return tuple(dict.fromkeys(_literal(one, where) for one in given))


def _literal(value: object, where: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, (int, float)):
        return str(value)
    if not isinstance(value, str) or "\0" in value:
        raise InvalidValue(
            where, shown(value), "is not a value of a column", "give text, a number or a boolean"
        )
    return value


def system_user(value: object, where: str) -> str:
    """Return the name of a system account."""
    return _matching(_SYSTEM_USER, value, where, "is not the name of an account")


def map_name(value: object, where: str) -> str:
    """Return a map's name that needs no quotes in ``pg_ident.conf``."""
    return _matching(_MAP, value, where, "is not the name of a map")


def _own_role(name: str, where: str) -> str:
    if name.startswith("pg_") or name in ("postgres", "public", "none"):
        raise InvalidValue(
            where, name, "is a role of PostgreSQL's own", "give one that is the formula's alone"
        )
    return name


def _client(value: object, where: str) -> str:
    name = text(value, where).strip()
    try:
        return str(ipaddress.ip_network(name))
    except ValueError as error:
        if "host bits set" in str(error):
            network = ipaddress.ip_network(name, strict=False)
            raise InvalidValue(
                where, name, "has bits beyond its mask", f"give {network}, or the address alone"
            ) from None
    # Digits and dots alone are an invalid address and no name.
    if not _CLIENT_NAME.fullmatch(name) or len(name) > 253 or not re.search("[A-Za-z]", name):
        raise InvalidValue(
            where,
            name,
            "is neither an address, nor a network, nor a host's whole name",
            "give such as 192.0.2.25, 192.0.2.0/24 or mail.example.net",
        )
    return name.lower()


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
            "give a name instead of an IPv6 address, and a port by dkim:database:port",
        )
    if not _HOST.fullmatch(host):
        raise InvalidValue(where, host, "is not a host", "give a name or an IPv4 address")
    return host


def _not_for_a_dsn(value: str) -> str:
    """Return the kinds of characters in the value that a DSN can't hold; '' for none."""
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
