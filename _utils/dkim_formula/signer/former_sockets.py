"""The addresses of a daemon's former milter sockets, which main.cf may still name."""

from collections.abc import Iterator, Mapping, Sequence

from ..postfix.expansion import QUEUE
from ..postfix.own_host import EVERY_ADDRESS, LOOPBACK
from . import unit
from .config_copy import copies
from .daemons import Daemon
from .existing_config import text_of


def moved_from(found: Sequence[Daemon], lookup: Mapping[str, object]) -> dict[str, list[str]]:
    """
    Return the former addresses of each daemon, by its milter.

    They come from the daemon's file, the copies of that file, and the command lines of its unit.
    """
    queue = str(lookup.get("postfix_chroot", QUEUE))
    result = {}
    for daemon in found:
        texts = [text_of(path) for path in [daemon.config_file, *copies(daemon.config_file)]]
        texts += [f"Socket {socket}" for socket in unit.sockets(daemon.service)]
        every = [
            address for text in texts for address in previous_addresses(text, queue, daemon.socket)
        ]
        result[daemon.milter] = list(dict.fromkeys(every))
    return result


def previous_addresses(config_text: str, chroot: str, socket_path: str) -> tuple[str, ...]:
    """
    Return the spellings in main.cf of the socket that an opendkim.conf(5) sets.

    The result is empty if the socket is already ``socket_path``.

    config_text
        The text of an opendkim.conf(5), before it is replaced.
    chroot
        Postfix's queue directory: main.cf may give a path in it relative to it.

    Returns spellings such as ``unix:opendkim/opendkim.sock`` or ``inet:localhost:8891``. Source:
    opendkim.conf(5) «Socket», postconf(5) «smtpd_milters».
    """
    value = ""
    for line in config_text.splitlines():
        words = line.split("#", 1)[0].split()
        if len(words) == 2 and words[0].lower() == "socket":
            value = words[1]
    kind, colon, rest = value.partition(":")
    if not colon:
        kind, rest = "local", value
    if not rest or (kind in ("local", "unix") and rest == socket_path):
        return ()
    if kind in ("local", "unix"):
        return tuple(_unix_spellings(rest, chroot))
    return tuple(_inet_spellings(rest))


def _inet_spellings(port_at_host: str) -> Iterator[str]:
    # Postfix has one transport, inet, for both address families. Brackets around an address are
    # optional.
    port, _, host = port_at_host.partition("@")
    host = host.strip("[]")
    # Without a host the daemon listens on all interfaces: opendkim.conf(5) «Socket».
    names = [host or EVERY_ADDRESS[0]]
    if host in LOOPBACK or host in EVERY_ADDRESS or not host:
        names += LOOPBACK
    yield from dict.fromkeys(f"inet:{one}:{port}" for name in names for one in (name, f"[{name}]"))


def _unix_spellings(path: str, chroot: str) -> Iterator[str]:
    paths = [path]
    if path.startswith(chroot.rstrip("/") + "/"):
        inside = path[len(chroot.rstrip("/")) :]
        paths += [inside, inside.lstrip("/")]
    for spelling in paths:
        yield f"unix:{spelling}"
        yield f"local:{spelling}"
