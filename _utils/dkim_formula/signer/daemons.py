"""The OpenDKIM daemons that a machine needs, and the contents of their files."""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass

from ..postgres.objects import view_name
from ..settings.model import Database, Settings
from . import passfile, signed_headers

# OpenDKIM has one SignatureAlgorithm for a whole daemon. With an Ed25519 key under rsa-sha256 the
# daemon answers that domain's mail with 451 (measured, 2.11.0~beta2). So each algorithm has its own
# daemon.
SIGNATURE_ALGORITHMS = {"rsa": "rsa-sha256", "ed25519": "ed25519-sha256"}

SERVICE_FILE = "/etc/opendkim-pgservice.conf"
SERVICE = "opendkim"  # the section of SERVICE_FILE

# The first line of each file that the formula writes completely.
HEADER = "# Managed by the dkim formula: changes made here are lost at the next highstate."

# dkim:opendkim:settings of the pillar overrides these values.
# dkim/opendkim/files/opendkim.conf.jinja gives the reason for each value.
DEFAULTS: dict[str, str | bool | int | list] = {
    "Syslog": True,
    "SyslogSuccess": True,
    "Canonicalization": "relaxed/relaxed",
    "Mode": "sv",
    "SignHeaders": list(signed_headers.SIGNED),
    "OversignHeaders": list(signed_headers.OVERSIGNED),
    "UMask": "007",
    "InternalHosts": ["127.0.0.1", "::1"],
    "TrustAnchorFile": "/usr/share/dns/root.key",
}


@dataclass(frozen=True)
class Daemon:
    """An OpenDKIM process and its service, file and socket."""

    algorithm: str
    service: str
    config_file: str
    socket: str  # the path from the root of the machine
    milter: str  # the address in main.cf, relative to the queue directory


def daemons(settings: Settings, lookup: Mapping[str, object]) -> tuple[Daemon, ...]:
    """
    Return the daemons that the settings need.

    The daemon for RSA is always needed, because it also verifies incoming mail. The daemon for
    Ed25519 is needed if a domain or an address has such a key in the settings.

    settings
        The checked pillar.
    lookup
        Names and paths of ``dkim/defaults.yaml``, as merged by ``map.jinja``.
    """
    algorithms = ["rsa"]
    if "ed25519" in algorithms_in_use(settings):
        algorithms.append("ed25519")
    return tuple(daemon(algorithm, lookup) for algorithm in algorithms)


def daemon(algorithm: str, lookup: Mapping[str, object]) -> Daemon:
    """Return the daemon for ``algorithm`` (``rsa`` or ``ed25519``), needed or not."""
    suffix = "" if algorithm == "rsa" else f"-{algorithm}"
    directory = str(lookup["socket_directory"]).strip("/")
    socket_name = f"opendkim{suffix}.sock"
    root, extension = posixpath.splitext(str(lookup["opendkim_config"]))
    return Daemon(
        algorithm=algorithm,
        service=f"{lookup['opendkim_service']}{suffix}",
        config_file=f"{root}{suffix}{extension}",
        socket=posixpath.join(str(lookup["postfix_chroot"]), directory, socket_name),
        milter=f"unix:{directory}/{socket_name}",
    )


def algorithms_in_use(settings: Settings) -> frozenset[str]:
    """Return every algorithm for which a domain or an address of the settings has a key."""
    domains = [*settings.domains.values()]
    if settings.every_hosted is not None:
        domains.append(settings.every_hosted)
    plans = [plan for domain in domains for plan in domain.keys]
    plans += [plan for domain in domains for address in domain.addresses for plan in address.keys]
    return frozenset(plan.algorithm for plan in plans)


def dsn(database: Database, view: str, key_column: str, data_columns: tuple[str, ...]) -> str:
    """
    Return OpenDKIM's address of a view: opendkim(8), «Data Sets».

    The address never contains a password: the daemon prints the whole DSN to the journal if the
    table can't be opened (measured). For the local socket the host is ``,``, which is libpq's list
    of two empty hosts. Each empty host means the default socket. OpenDKIM's syntax allows neither
    an empty host nor a path.
    """
    host = database.host or ","
    port = "" if database.port == 5432 else f"{database.port}+"
    columns = ",".join(data_columns)
    return (
        f"dsn:pgsql://{database.reader.name}@{port}{host}/{database.name}"
        f"/table={view}?keycol={key_column}?datacol={columns}"
    )


def environment(database: Database) -> dict[str, str]:
    """
    Return the variables for the daemon's libpq that a DSN can't contain.

    They give the paths of the password or the certificate, and how the server is verified. The
    result is empty if the daemon logs in by peer.

    Source: PostgreSQL, «Environment Variables». The daemon uses these variables (measured).
    """
    reader = database.reader
    variables = {}
    if reader.auth == "password":
        variables["PGPASSFILE"] = passfile.PATH
    if database.host:
        # libpq tries several hosts in turn, and a message waits for that time.
        variables |= {"PGSSLMODE": database.sslmode, "PGCONNECT_TIMEOUT": "5"}
        variables |= {"PGSERVICEFILE": SERVICE_FILE, "PGSERVICE": SERVICE}
        if database.ca_file is not None:
            variables["PGSSLROOTCERT"] = database.ca_file
        if reader.auth == "cert":
            variables |= {"PGSSLCERT": str(reader.sslcert), "PGSSLKEY": str(reader.sslkey)}
    return variables


def options(settings: Settings, daemon: Daemon) -> dict[str, str]:
    """
    Return every option of the daemon's opendkim.conf(5), with its value as text.

    The defaults come first, the pillar's values override them, then come the options that only the
    formula sets.
    """
    found = {**DEFAULTS, **settings.opendkim.settings}
    if daemon.algorithm != "rsa":
        # The second daemon only signs: a message needs one verification and one software header.
        found["Mode"] = "s"
        found.pop("SoftwareHeader", None)
    database = settings.database
    key_view = view_name(database, "key", daemon.algorithm)
    signing_view = view_name(database, "signing", daemon.algorithm)
    found |= {
        "SignatureAlgorithm": SIGNATURE_ALGORITHMS[daemon.algorithm],
        "Socket": f"local:{daemon.socket}",
        "KeyTable": dsn(database, key_view, "identifier", ("domain", "selector", "key")),
        "SigningTable": dsn(database, signing_view, "pattern", ("identifier",)),
    }
    return {name: option_text(value) for name, value in found.items()}


def option_text(value: str | bool | int | list) -> str:
    """Return a value in the form of opendkim.conf(5): yes, no, a number, or a list with commas."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ",".join(option_text(item) for item in value)
    return str(value)
