"""Which OpenDKIM daemons a machine needs, and what each one's files hold."""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass

from ..postgres.objects import view_name
from ..settings.model import Database, Settings
from . import passfile, signed_headers

# OpenDKIM has one SignatureAlgorithm for a whole daemon: an Ed25519 key under rsa-sha256 is a 451
# for that domain's mail (measured, 2.11.0~beta2). So each algorithm has a daemon of its own.
SIGNATURE_ALGORITHMS = {"rsa": "rsa-sha256", "ed25519": "ed25519-sha256"}

SERVICE_FILE = "/etc/opendkim-pgservice.conf"
SERVICE = "opendkim"  # the section of SERVICE_FILE

# The first line of each file that the formula writes whole.
HEADER = "# Managed by the dkim formula: changes made here are lost at the next highstate."

# dkim:opendkim:settings of the pillar takes the place of these. The reason of each stands in
# dkim/opendkim/files/opendkim.conf.jinja.
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
    """One OpenDKIM process and everything that belongs to it."""

    algorithm: str
    service: str
    config_file: str
    socket: str  # as the machine sees it
    milter: str  # as main.cf names it: from the queue directory


def daemons(settings: Settings, lookup: Mapping[str, object]) -> tuple[Daemon, ...]:
    """
    The daemons that the settings need: always the one for RSA, which also verifies other people's
    mail, and one for Ed25519 where a domain or an address is to have such a key.

    settings
        The checked pillar.
    lookup
        Names and paths of ``dkim/defaults.yaml``, as merged by ``map.jinja``.
    """
    wanted = ["rsa"]
    if "ed25519" in algorithms_in_use(settings):
        wanted.append("ed25519")
    return tuple(daemon(algorithm, lookup) for algorithm in wanted)


def daemon(algorithm: str, lookup: Mapping[str, object]) -> Daemon:
    """The daemon for ``algorithm`` (``rsa`` or ``ed25519``), whether or not it is needed."""
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
    """Every algorithm for which some domain or address of the settings is to have a key."""
    domains = [*settings.domains.values()]
    if settings.every_hosted is not None:
        domains.append(settings.every_hosted)
    plans = [plan for domain in domains for plan in domain.keys]
    plans += [plan for domain in domains for address in domain.addresses for plan in address.keys]
    return frozenset(plan.algorithm for plan in plans)


def dsn(database: Database, view: str, key_column: str, data_columns: tuple[str, ...]) -> str:
    """
    OpenDKIM's address of a view: opendkim(8), «Data Sets».

    There is never a password in it: the daemon prints the whole DSN to the journal when the table
    can't be opened (measured). Over the local socket the host is ``,``: libpq's list of two empty
    hosts, each of which means the default socket; an empty host or a path can't be written.
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
    The variables by which the daemon's libpq gets what a DSN can't carry: where the password or the
    certificate is, and how the server is verified. Empty where it logs in by peer.

    Source: PostgreSQL, «Environment Variables»; that the daemon heeds them is measured.
    """
    reader = database.reader
    variables = {}
    if reader.auth == "password":
        variables["PGPASSFILE"] = passfile.PATH
    if database.host:
        # Several hosts are tried in turn, and a message waits meanwhile.
        variables |= {"PGSSLMODE": database.sslmode, "PGCONNECT_TIMEOUT": "5"}
        variables |= {"PGSERVICEFILE": SERVICE_FILE, "PGSERVICE": SERVICE}
        if database.authorities is not None:
            variables["PGSSLROOTCERT"] = database.authorities
        if reader.auth == "cert":
            variables |= {"PGSSLCERT": str(reader.sslcert), "PGSSLKEY": str(reader.sslkey)}
    return variables


def options(settings: Settings, daemon: Daemon) -> dict[str, str]:
    """
    Return every option of the daemon's opendkim.conf(5), as the file writes its value: the
    defaults, the pillar's in their place, then those that only the formula decides.
    """
    found = {**DEFAULTS, **settings.opendkim.settings}
    if daemon.algorithm != "rsa":
        # The second daemon only signs: one verification, and one daemon's headers, are enough for a
        # message.
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
    """A value as opendkim.conf(5) writes it: yes and no, numbers, lists joined by commas."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ",".join(option_text(item) for item in value)
    return str(value)
