"""``dkim:database``: the virtual-mail database, its tables of domains and its roles."""

from collections.abc import Mapping
from dataclasses import replace

from ..errors import InvalidValue
from .database_presets import PRESETS
from .database_values import (
    clients,
    common_names,
    dsn_name,
    hosts,
    identifier,
    map_name,
    needs_no_quotes,
    only,
    own_schema,
    qualified_table,
    reader_name,
    reader_password,
    role_password,
    system_user,
    writer_name,
)
from .model import Database, HostedTable, Reader, Writer
from .validation import (
    Notes,
    absolute_path,
    boolean,
    choice,
    integer,
    read_section,
    secret,
    section,
)

WHERE = "dkim:database"

_DATABASE = {
    "name": dsn_name,
    "manage": boolean,
    "owner": identifier,
    "keys_owner": writer_name,
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
    "close_keys": boolean,
    "domains": section,
    "aliases": section,
    "reader": section,
    "writer": section,
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
_WRITER = {
    "name": writer_name,
    "map": map_name,
    "clients": clients,
    "password": role_password,
    "common_names": common_names,
}


def read_database(value: object, notes: Notes) -> Database:
    """Return the section's settings. A wrong value is noted and replaced by its default."""
    read = read_section(value, WHERE, _DATABASE, notes)
    read |= _read_hosted(read, notes)
    read["reader"] = _read_reader(read.get("reader"), notes)
    read["writer"] = Writer(**read_section(read.get("writer"), f"{WHERE}:writer", _WRITER, notes))
    # The formula installs no database on another host.
    read.setdefault("manage", not read.get("host"))
    database = Database(**read)
    given = value if isinstance(value, Mapping) else {}
    _check_access(database, _reader_given(given), notes)
    _check_own_certificate(database, given, notes)
    return database


def _read_hosted(read: Mapping[str, object], notes: Notes) -> dict[str, object]:
    """Return the tables of hosted domains: the preset's, with the pillar's keys over them."""
    given = read.get("domains")
    table = _read_table(given, f"{WHERE}:domains", notes)
    preset = read.get("preset")
    if preset is None and table.get("table", "domains") == "domains":
        # The table has the howto's name, so the howto's other names are its defaults.
        preset = "howto"
    base = PRESETS[preset] if preset else PRESETS["howto"]
    domains = replace(base.domains, **table)
    return {
        "preset": preset,
        "schema": read.get("schema") or _default_schema(preset, domains),
        "domains": domains,
        "aliases": _read_aliases(read.get("aliases"), base.aliases, domains, notes),
        "assumed": read.get("preset") is None and not given,
        "described": bool(given),
        "only_given": "only" in table or read.get("preset") is not None,
    }


def _read_aliases(
    given: object, of_preset: HostedTable | None, domains: HostedTable, notes: Notes
) -> HostedTable | None:
    """Return the table of alias domains: the preset's, with the pillar's keys over it."""
    if given is False or (given is None and of_preset is None):
        return None
    where = f"{WHERE}:aliases"
    start = of_preset or HostedTable(table="", name=domains.name)
    aliases = replace(start, **{"schema": domains.schema, **_read_table(given, where, notes)})
    if aliases.table:
        return aliases
    notes.problem(f"{where}:table: missing; give the table of alias domains")
    return None


def _default_schema(preset: str | None, domains: HostedTable) -> str:
    if preset != "howto":
        return "dkim"
    # The howto creates its tables and views in the schema of the table of domains.
    return domains.schema if needs_no_quotes(domains.schema) else "public"


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
    """Note the problems that several keys have together."""
    reader, writer = database.reader, database.writer
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
    if writer.name in (database.owner, reader.name):
        notes.problem(
            InvalidValue(
                f"{WHERE}:writer:name",
                writer.name,
                "is the owner or the reader",
                "give the writer a role of its own",
            )
        )
    if database.keys_owner in (database.owner, reader.name, writer.name, database.user):
        notes.problem(
            InvalidValue(
                f"{WHERE}:keys_owner",
                database.keys_owner,
                "is a role that is used for something else",
                "use one that owns the formula's tables and nothing else",
            )
        )
    if reader.map == writer.map:
        notes.problem(
            InvalidValue(
                f"{WHERE}:writer:map",
                writer.map,
                "is the reader's map, which lets OpenDKIM's account in",
                "give the writer a map of its own",
            )
        )
    _check_clients(database, reader_given, notes)
    if reader.common_names and reader.auth != "cert":
        notes.advise(
            f"{WHERE}:reader:common_names",
            f"is not used with auth: {reader.auth}, which requires no certificate; set auth: cert, "
            "or remove it",
        )
    {"peer": _check_peer, "password": _check_password, "cert": _check_certificate}[reader.auth](
        database, reader_given, notes
    )


def _check_clients(database: Database, reader_given: Mapping, notes: Notes) -> None:
    reader, writer = database.reader, database.writer
    for key, role in (("reader", reader), ("writer", writer)):
        if role.clients and database.host:
            notes.problem(
                f"{WHERE}:{key}:clients: is for the machine that has the database, which is "
                f"{database.host!r}; set it there, and remove it here"
            )
        for network in role.clients:
            if network.endswith("/0"):
                notes.advise(
                    f"{WHERE}:{key}:clients",
                    f"{network!r} lets every machine try; name the mail hosts",
                )
    if writer.clients and writer.password is None and not writer.common_names:
        notes.problem(
            f"{WHERE}:writer:password: is missing, and clients need it to log in; set it, set "
            "common_names of the clients' certificates, or remove clients"
        )
    if writer.common_names and writer.password is not None:
        notes.problem(
            f"{WHERE}:writer:common_names: is set together with password, and clients log in by "
            "certificate or by password; remove one"
        )
    if writer.common_names and not writer.clients:
        notes.advise(
            f"{WHERE}:writer:common_names", "is not used without clients; give them, or remove it"
        )
    if reader.auth == "peer" and reader.clients and reader_given.get("password") is None:
        notes.problem(
            f"{WHERE}:reader:password: is missing, and clients need it to log in; set it, or set "
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
            f"{WHERE}:reader:password: is missing, and auth is 'password'; set it, or set "
            "auth: peer for the local socket"
        )
    if database.host and not database.verifies_server:
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
                    f"{WHERE}:reader:{key}: is missing, and auth is 'cert'; set the file's path"
                )
        _check_tls(database, notes)


def _check_own_certificate(database: Database, given: Mapping, notes: Notes) -> None:
    """Note the problems of the certificate that ``user`` logs in with."""
    missing = [key for key in ("sslcert", "sslkey") if given.get(key) is None]
    if len(missing) == 2:
        return
    for key in missing:
        notes.problem(f"{WHERE}:{key}: is missing, and a certificate needs its key; set both")
    for key, is_set in (("host", bool(database.host)), ("user", database.user is not None)):
        if not is_set:
            notes.problem(
                f"{WHERE}:{key}: is missing, and sslcert is the certificate of a user on another "
                "host's server; set it, or remove sslcert and sslkey. OpenDKIM's own certificate "
                "belongs under reader"
            )
    if database.host:
        _check_tls(database, notes)


def _check_tls(database: Database, notes: Notes) -> None:
    if database.sslmode in ("disable", "allow", "prefer"):
        notes.problem(
            InvalidValue(
                f"{WHERE}:sslmode",
                database.sslmode,
                "may leave TLS out, and certificates are used over TLS alone",
                "give verify-full",
            )
        )
