"""The OpenDKIM daemons that a machine needs, with their files, sockets and environment."""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass

from ..settings.model import Database, Settings
from . import passfile

# OpenDKIM has one SignatureAlgorithm for a whole daemon. With an Ed25519 key under rsa-sha256 the
# daemon answers that domain's mail with 451 (measured, 2.11.0~beta2). So each algorithm has its own
# daemon.
SIGNATURE_ALGORITHMS = {"rsa": "rsa-sha256", "ed25519": "ed25519-sha256"}

SERVICE_FILE = "/etc/opendkim-pgservice.conf"
SERVICE = "opendkim"  # the section of SERVICE_FILE

# The first line of each file that the formula writes completely.
HEADER = "# Managed by the dkim formula: changes made here are lost at the next highstate."


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
