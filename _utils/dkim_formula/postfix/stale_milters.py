"""Milters that do not answer, and the outdated addresses of the formula's own daemons."""

import socket

from . import expansion, milter_entry
from .milter_actions import Entry, entries
from .milter_addresses import ManagedMilters, endpoints
from .service_milters import Configuration

CONNECTED_WITHIN = 2.0  # seconds
MOST = 20  # addresses that are tried

# Ports and socket names that howtos and Debian's packages give to opendkim(8): Socket in
# opendkim.conf(5), SOCKET in /etc/default/opendkim.
_PORTS = ("8891", "12301")
_SOCKETS = ("opendkim.sock", "opendkim.socket", "opendkim")


def silent(found: Configuration, managed: ManagedMilters) -> list[Entry]:
    """Return the entries of other milters whose addresses don't answer."""
    tried: dict[str, bool | None] = {}
    result = []
    for entry in entries(found):
        address = milter_entry.address(entry.text)
        if managed.which(entry.text) is not None:
            continue
        if address not in tried and len(tried) < MOST:
            tried[address] = answers(address, managed.queue)
        if tried.get(address) is False:
            result.append(entry)
    return result


def stale_addresses(found: Configuration, managed: ManagedMilters) -> list[str]:
    """
    Return the addresses in the lists that an OpenDKIM of an earlier set-up left behind.

    Such an address is one that howtos and packages give to OpenDKIM, and nothing answers there.
    """
    addresses = {milter_entry.address(entry.text) for entry in silent(found, managed)}
    return sorted(one for one in addresses if _is_usual(one))


def answers(address: str, queue: str = expansion.QUEUE) -> bool | None:
    """Return whether a milter's address accepts connections; None for an unsupported address."""
    transport, colon, endpoint = address.partition(":")
    if not colon or "$" in address:
        return None
    if transport in ("unix", "local"):
        return any(_unix(one.partition(":")[2]) for one in endpoints(address, queue))
    if transport != "inet":
        return None
    host, _, port = endpoint.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), port), CONNECTED_WITHIN):
            return True
    except (OSError, UnicodeError):
        return False


def _unix(path: str) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(CONNECTED_WITHIN)
            client.connect(path)
    except (OSError, ValueError):  # ValueError: the text is not a valid path
        return False
    return True


def _is_usual(address: str) -> bool:
    transport, _, endpoint = address.partition(":")
    if transport in ("unix", "local"):
        return endpoint.rpartition("/")[2] in _SOCKETS
    return not endpoints(address).isdisjoint(f"inet:localhost:{port}" for port in _PORTS)
