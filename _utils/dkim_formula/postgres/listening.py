"""Whether a PostgreSQL server listens at all, asked of the sockets and not of an error's words."""

from __future__ import annotations

import os
import socket

SOCKET_DIRECTORY = "/var/run/postgresql"  # libpq's default in Debian and in psycopg2-binary
_TIMEOUT = 5.0  # seconds for one address


def listens(hosts: str, port: int) -> bool:
    """
    Tell whether something takes connections at one of the hosts.

    hosts
        As libpq's ``host``: names, addresses and socket directories, with commas between; '' is the
        default socket.
    """
    return any(_listens(host.strip(), port) for host in hosts.split(","))


def _listens(host: str, port: int) -> bool:
    if not host or host.startswith(("/", "@")):
        return _takes(socket.AF_UNIX, _path(host or _default_directory(), port))
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return any(_takes(family, address) for family, _, _, _, address in found)


def _default_directory() -> str:
    # libpq takes PGHOST where no host is given.
    given = os.environ.get("PGHOST", "")
    return given if given.startswith(("/", "@")) else SOCKET_DIRECTORY


def _path(directory: str, port: int) -> str:
    path = f"{directory}/.s.PGSQL.{port}"
    # An abstract name (unix(7)).
    return "\0" + path[1:] if path.startswith("@") else path


def _takes(family: int, address: object) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(_TIMEOUT)
        try:
            client.connect(address)
        except OSError:
            return False
    return True
