"""``dkim:database``: where the virtual-mail database is, and who reads it."""

import ipaddress
import re
import stringprep
import unicodedata
from collections.abc import Mapping
from dataclasses import replace

from ..errors import InvalidValue
from ..secret import Secret
from .check import (
    Kind,
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
from .model import Database, HostedTable, Reader, Worker
from .presets import PRESETS

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
# A name that SQL takes without quotes, and means by it what it says.
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
_MAP = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
# With a dot: `all`, `samehost` and `samenet` mean something else in pg_hba.conf.
_CLIENT_NAME = re.compile(r"\.?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_COMMON_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. @*-]*")


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
    if "%" in name or "$$" in name:
        # psycopg2 takes % for the place of an argument, in a quoted name too (measured, 2.9); $$
        # ends the text of a function.
        raise InvalidValue(where, name, "has % or $$ in it", "use another name")
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
    return _own_role(dsn_name(value, where), where)


def worker_name(value: object, where: str) -> str:
    """Return the worker's role: a name that is not one of PostgreSQL's own roles."""
    name = _own_role(identifier(value, where), where)
    if name.startswith("/"):
        # From PostgreSQL 16 on, in quotes too.
        raise InvalidValue(
            where,
            name,
            "is a regular expression in pg_hba.conf",
            "use a name that begins otherwise",
        )
    return name


def clients(value: object, where: str) -> tuple[str, ...]:
    """
    Addresses, networks and host names, as pg_hba.conf takes them: each as it is written there.

    Source: PostgreSQL, «The pg_hba.conf File», «address».
    """
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, (list, tuple)):
        raise InvalidValue(
            where, shown(value), "is not a list of clients", "give networks or names"
        )
    return tuple(dict.fromkeys(_client(one, where) for one in given))


def common_names(value: object, where: str) -> tuple[str, ...]:
    """Common names of client certificates (RFC 5280, section 4.1.2.6; at most 64 characters)."""
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
    A password that stays what it is when a SCRAM verifier is made of it, so that the two can be
    compared: RFC 5802, section 2.2, has it normalized by SASLprep (RFC 4013, section 2).
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
    """A password that can stand in a DSN. The error tells the kind of character, never the text."""
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
    One host or several, tried in turn, as libpq takes them: ``a,b``; '' is the local socket.

    Neither a path nor an IPv6 address can stand in a DSN.
    """
    if value == "":
        return ""
    given = value.split(",") if isinstance(value, str) else value
    if not isinstance(given, (list, tuple)) or not given:
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


def own_schema(value: object, where: str) -> str:
    """
    The schema of the formula's own objects: OpenDKIM writes it into its queries as it stands, so
    it is a name that needs no quotes.
    """
    name = identifier(value, where)
    if not _PLAIN.fullmatch(name) or name.startswith("pg_") or name == "information_schema":
        raise InvalidValue(
            where,
            name,
            "is not a name that OpenDKIM can ask for",
            "use lower-case letters, digits and '_', a letter first",
        )
    return name


def only(value: object, where: str) -> tuple[tuple[str, tuple[str | None, ...]], ...]:
    """
    The rows of a table that count: each column with the value, or the values, that it may have.

    A value is text, as SQL compares a quoted literal with a column of any type: ``true`` and ``1``
    are both ``'1'``, which a boolean and a smallint take (measured, PostgreSQL 15).
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
    """The name of an account of the system."""
    return _matching(_SYSTEM_USER, value, where, "is not the name of an account")


def map_name(value: object, where: str) -> str:
    """A map's name in ``pg_ident.conf`` that needs no quotes there."""
    return _matching(_MAP, value, where, "is not the name of a map")


_DATABASE = {
    "name": dsn_name,
    "manage": boolean,
    "owner": identifier,
    "keys_owner": worker_name,
    "host": hosts,
    "port": integer(1, 65535),
    "user": identifier,
    "password": secret,
    # libpq, "SSL Support", table of modes
    "sslmode": choice("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslrootcert": absolute_path,
    "sslcert": absolute_path,
    "sslkey": absolute_path,
    "preset": choice(*PRESETS),
    "schema": own_schema,
    "domains": section,
    "aliases": section,
    "reader": section,
    "worker": section,
}
_HOSTED = {"schema": identifier, "table": qualified_table, "name": identifier, "only": only}
_HOSTED_HINTS = {
    "create_missing": "unknown key: nothing is added to a table of yours any more, and a domain of "
    "dkim:domains gets its key without a row; remove it",
}
_READER = {
    "name": reader_name,
    "auth": choice("peer", "password", "cert"),
    "system_user": system_user,
    "map": map_name,
    "password": reader_password,
    "clients": clients,
    "common_names": common_names,
    "sslcert": absolute_path,
    "sslkey": absolute_path,
}
_WORKER = {
    "name": worker_name,
    "map": map_name,
    "clients": clients,
    "password": role_password,
    "common_names": common_names,
}


def read_database(value: object, notes: Notes) -> Database:
    """The section's settings; whatever is wrong is noted and stands at its default."""
    read = read_section(value, WHERE, _DATABASE, notes)
    read |= _read_hosted(read, notes)
    read["reader"] = _read_reader(read.get("reader"), notes)
    read["worker"] = Worker(**read_section(read.get("worker"), f"{WHERE}:worker", _WORKER, notes))
    # A database on another host is not ours to install.
    read.setdefault("manage", not read.get("host"))
    database = Database(**read)
    given = value if isinstance(value, Mapping) else {}
    _check_access(database, _reader_given(given), notes)
    _check_own_certificate(database, given, notes)
    return database


def _read_hosted(read: Mapping[str, object], notes: Notes) -> dict[str, object]:
    """Where hosted domains are read from: the preset's tables, each key overruled by the pillar."""
    given = read.get("domains")
    table = _read_table(given, f"{WHERE}:domains", notes)
    preset = read.get("preset")
    if preset is None and table.get("table", "domains") == "domains":
        # The howto's own name: whatever else is said of the table, its other names stay too.
        preset = "howto"
    base = PRESETS[preset] if preset else PRESETS["howto"]
    domains = replace(base.domains, **table)
    aliases = base.aliases
    if read.get("aliases") is not None:
        start = aliases or HostedTable(schema=domains.schema, table="", name=domains.name)
        where = f"{WHERE}:aliases"
        aliases = replace(start, **_read_table(read["aliases"], where, notes))
        if not aliases.table:
            notes.problem(f"{where}:table: missing; give the table of alias domains")
            aliases = None
    elif aliases is not None and "schema" in table:
        aliases = replace(aliases, schema=domains.schema)
    return {
        "preset": preset,
        "schema": read.get("schema") or _default_schema(preset, domains),
        "domains": domains,
        "aliases": aliases,
        "assumed": read.get("preset") is None and not given,
        "only_given": "only" in table or read.get("preset") is not None,
    }


def _default_schema(preset: str | None, domains: HostedTable) -> str:
    if preset != "howto":
        return "dkim"
    # The howto has its tables and views beside the table of domains.
    return domains.schema if _PLAIN.fullmatch(domains.schema) else "public"


def _read_table(value: object, where: str, notes: Notes) -> dict[str, object]:
    given = value
    if isinstance(value, Mapping) and "id" in value:
        given = {key: one for key, one in value.items() if key != "id"}
        notes.advise(f"{where}:id", "is not used: a key belongs to a domain's name; remove it")
    read = read_section(given, where, _HOSTED, notes, _HOSTED_HINTS)
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
    return read


def _read_reader(value: object, notes: Notes) -> Reader:
    return Reader(**read_section(value, f"{WHERE}:reader", _READER, notes))


def _reader_given(given: Mapping) -> Mapping:
    reader = given.get("reader")
    return reader if isinstance(reader, Mapping) else {}


def _check_access(database: Database, reader_given: Mapping, notes: Notes) -> None:
    """What only the keys together can tell."""
    reader, worker = database.reader, database.worker
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
    if worker.name in (database.owner, reader.name):
        notes.problem(
            InvalidValue(
                f"{WHERE}:worker:name",
                worker.name,
                "is the owner or the reader",
                "give the worker a role of its own",
            )
        )
    if database.keys_owner in (database.owner, reader.name, worker.name, database.user):
        notes.problem(
            InvalidValue(
                f"{WHERE}:keys_owner",
                database.keys_owner,
                "is a role that is used for something else",
                "use one that owns the formula's tables and nothing else",
            )
        )
    if reader.map == worker.map:
        notes.problem(
            InvalidValue(
                f"{WHERE}:worker:map",
                worker.map,
                "is the reader's map, which lets OpenDKIM's account in",
                "give the worker a map of its own",
            )
        )
    _check_clients(database, reader_given, notes)
    {"peer": _check_peer, "password": _check_password, "cert": _check_certificate}[reader.auth](
        database, reader_given, notes
    )


def _check_clients(database: Database, reader_given: Mapping, notes: Notes) -> None:
    reader, worker = database.reader, database.worker
    for key, role in (("reader", reader), ("worker", worker)):
        if role.clients and database.host:
            notes.problem(
                f"{WHERE}:{key}:clients: is for the machine that has the database, and this one "
                f"has it at {database.host!r}; give it there, and leave it out here"
            )
        for network in role.clients:
            if network.endswith("/0"):
                notes.advise(
                    f"{WHERE}:{key}:clients",
                    f"{network!r} lets every machine try; name the mail hosts",
                )
    if worker.clients and worker.password is None and not worker.common_names:
        notes.problem(
            f"{WHERE}:worker:password: is not there, and clients log in with one; give one, or "
            "common_names of the clients' certificates, or leave clients out"
        )
    if worker.common_names and worker.password is not None:
        notes.problem(
            f"{WHERE}:worker:common_names: stands beside password, and clients log in either by "
            "certificate or by password; leave one out"
        )
    if worker.common_names and not worker.clients:
        notes.advise(
            f"{WHERE}:worker:common_names", "is not used without clients; give them, or remove it"
        )
    if reader.auth == "peer" and reader.clients and reader_given.get("password") is None:
        notes.problem(
            f"{WHERE}:reader:password: is not there, and clients log in with one; give one, or "
            "auth: cert for clients that have certificates"
        )


def _check_peer(database: Database, reader_given: Mapping, notes: Notes) -> None:
    if database.host:
        notes.problem(
            InvalidValue(
                f"{WHERE}:reader:auth",
                "peer",
                f"does not work over the network, and the host is {database.host!r}",
                "give auth: password and a password, auth: cert and a certificate, or host: ''",
            )
        )
    if reader_given.get("password") is not None and not database.reader.clients:
        notes.advise(f"{WHERE}:reader:password", "is not used with peer authentication; remove it")


def _check_password(database: Database, reader_given: Mapping, notes: Notes) -> None:
    if reader_given.get("password") is None:
        notes.problem(
            f"{WHERE}:reader:password: is not there, and auth is 'password'; "
            "give one, or auth: peer for the local socket"
        )
    if database.host and not database.verifies:
        notes.advise(
            f"{WHERE}:sslmode",
            f"{database.sslmode!r} sends a password to a server that is not verified; "
            "verify-full verifies it",
        )


def _check_certificate(database: Database, reader_given: Mapping, notes: Notes) -> None:
    reader = database.reader
    if not database.host and not reader.clients:
        notes.problem(
            InvalidValue(
                f"{WHERE}:reader:auth",
                "cert",
                "does not work on the local socket",
                "give auth: peer; or host, on a mail host; or reader:clients, on the database's",
            )
        )
    if database.host:
        for key in ("sslcert", "sslkey"):
            if reader_given.get(key) is None:
                notes.problem(
                    f"{WHERE}:reader:{key}: is not there, and auth is 'cert'; give the path of "
                    "the file"
                )
        _check_tls(database, notes)


def _check_own_certificate(database: Database, given: Mapping, notes: Notes) -> None:
    """The certificate that ``user`` logs in with."""
    lacking = [key for key in ("sslcert", "sslkey") if given.get(key) is None]
    if len(lacking) == 2:
        return
    for key in lacking:
        notes.problem(
            f"{WHERE}:{key}: is not there, and a certificate goes with its key; give both"
        )
    for key, there in (("host", bool(database.host)), ("user", database.user is not None)):
        if not there:
            notes.problem(
                f"{WHERE}:{key}: is not there, and sslcert is what a user logs in with to a server "
                "elsewhere; give it, or leave sslcert and sslkey out. OpenDKIM's own stand under "
                "reader"
            )
    if database.host:
        _check_tls(database, notes)


def _check_tls(database: Database, notes: Notes) -> None:
    if database.sslmode in ("disable", "allow", "prefer"):
        notes.problem(
            InvalidValue(
                f"{WHERE}:sslmode",
                database.sslmode,
                "may leave TLS out, and a certificate is shown over TLS alone",
                "give verify-full",
            )
        )


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
    # What is all digits and dots is an address that is wrong, not a name.
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
