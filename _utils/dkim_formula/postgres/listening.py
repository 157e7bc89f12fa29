"""A test of whether a PostgreSQL server listens, by its sockets and not by an error's text."""

from __future__ import annotations

import socket

SOCKET_DIRECTORY = "/var/run/postgresql"  # libpq's default in Debian and in psycopg2-binary
_TIMEOUT = 5.0  # seconds for one address


def listens(hosts: str, port: int) -> bool:
    """
    Return whether a program accepts connections at one of the hosts.

    hosts
        libpq's ``host``: names, addresses and socket directories, separated by commas. '' is the
        default socket.
    """
    return any(_listens(host.strip(), port) for host in hosts.split(","))


def _listens(host: str, port: int) -> bool:
    if not host or host.startswith(("/", "@")):
        return _accepts(socket.AF_UNIX, _path(host or SOCKET_DIRECTORY, port))
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return any(_accepts(family, address) for family, _, _, _, address in found)


def _path(directory: str, port: int) -> str:
    path = f"{directory}/.s.PGSQL.{port}"
    # @ begins the name of an abstract socket (unix(7)).
    return "\0" + path[1:] if path.startswith("@") else path


def _accepts(family: int, address: object) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(_TIMEOUT)
        try:
            client.connect(address)
        except OSError:
            return False
    return True
