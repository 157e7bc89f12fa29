"""The addresses of milters in main.cf and master.cf, and a test whether a milter answers."""

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from . import expansion, milter_list, milters
from .managed_milters import ManagedMilters, endpoints
from .milters import DEFAULT_ACTION
from .service_milters import MAPS, Configuration

CONNECTED_WITHIN = 2.0  # seconds
MOST = 20  # addresses that are tried

# Ports and socket names that howtos and Debian's packages give to opendkim(8): Socket in
# opendkim.conf(5), SOCKET in /etc/default/opendkim.
_PORTS = ("8891", "12301")
_SOCKETS = ("opendkim.sock", "opendkim.socket", "opendkim")

# With these actions mail leaves unsigned, at once or on release from the hold queue: postconf(5).
_LEAVES_UNSIGNED = ("accept", "quarantine")


@dataclass(frozen=True)
class Entry:
    """
    An entry of a list of milters.

    where
        The list: ``smtpd_milters`` of main.cf, or ``submission/inet/smtpd_milters`` of master.cf.
    text
        The entry, expanded.
    action
        Postfix's action for mail while nothing answers at the entry's address.
    """

    where: str
    text: str
    action: str


def entries(found: Configuration) -> Iterator[Entry]:
    """Yield every entry of every list, first those of main.cf."""
    lists = [(name, found.main.get(name, ""), found.main) for name in milters.LISTS]
    for name in found.lists():
        parameters = found.parameters(name.rpartition("/")[0])
        lists.append((name, found.own[name], parameters))
    for where, value, parameters in lists:
        default = _default(parameters)
        for text in milter_list.entries(expansion.expand(value, parameters)):
            yield Entry(where, text, milter_list.own_action(text) or default)


def lets_mail_leave_unsigned(found: Configuration, managed: ManagedMilters | None = None) -> bool:
    """
    Return whether mail leaves unsigned while one of the formula's milters is down.

    The setting of an entry or ``milter_default_action`` decides. Source: MILTER_README,
    «Per-Milter settings».

    managed
        The milters in question; None for all milters.
    """
    for entry in entries(found):
        if entry.action in _LEAVES_UNSIGNED and (managed is None or managed.which(entry.text)):
            return True
    has_maps = any(name.rpartition("/")[2] == MAPS for name in [*found.main, *found.own])
    return has_maps and _default(found.main) in _LEAVES_UNSIGNED


def silent(found: Configuration, managed: ManagedMilters) -> list[Entry]:
    """Return the entries of other milters whose addresses don't answer."""
    tried: dict[str, bool | None] = {}
    result = []
    for entry in entries(found):
        address = milter_list.address(entry.text)
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
    addresses = {milter_list.address(entry.text) for entry in silent(found, managed)}
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


def _default(parameters: Mapping[str, str]) -> str:
    # postconf(5): tempfail is Postfix's own default.
    given = expansion.expand(parameters.get(DEFAULT_ACTION, ""), parameters).strip()
    return given or "tempfail"


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
    (endpoint,) = endpoints(address)
    return any(endpoint == f"inet:localhost:{port}" for port in _PORTS)
