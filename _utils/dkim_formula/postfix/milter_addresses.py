"""Milters that main.cf and master.cf name: whether something answers at their addresses."""

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from . import expansion, milter_list, milters
from .milters import DEFAULT_ACTION, Ours
from .service_milters import MAPS, Configuration

CONNECTED_WITHIN = 2.0  # seconds
MOST = 20  # addresses that are tried

# What howtos and Debian's packages give to opendkim(8): Socket in opendkim.conf(5), SOCKET in
# /etc/default/opendkim.
_PORTS = ("8891", "12301")
_SOCKETS = ("opendkim.sock", "opendkim.socket", "opendkim")

# Mail goes on unsigned at once, or when somebody releases it from the hold queue: postconf(5).
_LETS_GO = ("accept", "quarantine")


@dataclass(frozen=True)
class Entry:
    """
    An entry of a list of milters.

    where
        ``smtpd_milters`` of main.cf, or ``submission/inet/smtpd_milters`` of master.cf.
    text
        The entry, expanded.
    action
        What Postfix does with mail while nothing answers there.
    """

    where: str
    text: str
    action: str


def entries(found: Configuration) -> Iterator[Entry]:
    """Yield every entry of every list, that of main.cf first."""
    lists = [(name, found.main.get(name, ""), found.main) for name in milters.LISTS]
    for name in found.lists():
        parameters = found.parameters(name.rpartition("/")[0])
        lists.append((name, found.own[name], parameters))
    for where, value, parameters in lists:
        default = _default(parameters)
        for text in milter_list.entries(expansion.expand(value, parameters)):
            yield Entry(where, text, milter_list.own_action(text) or default)


def let_mail_go(found: Configuration, ours: Ours | None = None) -> bool:
    """
    Return whether mail goes on while one of our milters is away: by the setting of an entry, or by
    ``milter_default_action``. Source: MILTER_README, «Per-Milter settings».

    ours
        The milters in question; None: every one.
    """
    for entry in entries(found):
        if entry.action in _LETS_GO and (ours is None or ours.which(entry.text)):
            return True
    has_maps = any(name.rpartition("/")[2] == MAPS for name in [*found.main, *found.own])
    return has_maps and _default(found.main) in _LETS_GO


def silent(found: Configuration, ours: Ours) -> list[Entry]:
    """Return the entries of other milters at whose address nothing answers."""
    tried: dict[str, bool | None] = {}
    result = []
    for entry in entries(found):
        address = milter_list.address(entry.text)
        if ours.which(entry.text) is not None:
            continue
        if address not in tried and len(tried) < MOST:
            tried[address] = answers(address, ours.queue)
        if tried.get(address) is False:
            result.append(entry)
    return result


def left_behind(found: Configuration, ours: Ours) -> list[str]:
    """
    Return the addresses that an OpenDKIM of an earlier set-up has left in the lists: the ones that
    howtos and packages give to OpenDKIM, where nothing answers any more.
    """
    addresses = {milter_list.address(entry.text) for entry in silent(found, ours)}
    return sorted(one for one in addresses if _is_usual(one))


def answers(address: str, queue: str = expansion.QUEUE) -> bool | None:
    """Return whether something accepts connections at a milter's address; None if it is none."""
    transport, colon, endpoint = address.partition(":")
    if not colon or "$" in address:
        return None
    if transport in ("unix", "local"):
        return any(_unix(place.partition(":")[2]) for place in milters.places(address, queue))
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
    except (OSError, ValueError):  # ValueError: no path can have this text
        return False
    return True


def _is_usual(address: str) -> bool:
    transport, _, endpoint = address.partition(":")
    if transport in ("unix", "local"):
        return endpoint.rpartition("/")[2] in _SOCKETS
    (place,) = milters.places(address)
    return any(place == f"inet:localhost:{port}" for port in _PORTS)
