"""What the sandbox of the unit has to leave open, and what a site's own settings close."""

import posixpath
import shlex
from collections.abc import Iterable, Sequence

from ..settings.model import Settings
from .daemons import Daemon

# What the daemon writes beside its socket and its log: opendkim.conf(5).
_DIRECTORIES = ("TemporaryDirectory", "DiagnosticDirectory")
_FILES = ("Statistics",)
_SOCKET_CALLS = {"@network-io", "socket", "bind", "listen", "accept", "accept4", "connect"}


def writable(settings: Settings, daemon: Daemon) -> list[str]:
    """
    The directories that a daemon writes to: its socket's, and those that the site's options name.

    Returns absolute paths, the socket's first, each once.
    """
    options = settings.opendkim.settings
    named = [str(options[name]) for name in _DIRECTORIES if name in options]
    named += [posixpath.dirname(str(options[name])) for name in _FILES if name in options]
    found = [posixpath.dirname(daemon.socket), *(path for path in named if path.startswith("/"))]
    return list(dict.fromkeys(found))


def closes_sockets(families: Sequence[str]) -> bool:
    """
    Tell whether AF_UNIX is out after these values of RestrictAddressFamilies=, which follow the
    formula's own. Values add up, ~ takes away, an empty one takes the restriction off:
    systemd.exec(5).
    """
    # Of what is allowed, or where is_list is False, of what is denied.
    named, is_list = {"AF_UNIX"}, True
    for value in families:
        words = set(value.removeprefix("~").split())
        if not value or value == "none":
            named, is_list = set(), bool(value)
        elif not named and not is_list:
            named, is_list = words, not value.startswith("~")
        elif value.startswith("~") == is_list:
            named = named - words
        else:
            named = named | words
    return ("AF_UNIX" in named) != is_list


def paths(value: str) -> list[str]:
    """Return the paths of a list; + and - before one, and a mount's options, are left out."""
    found = [word.lstrip("+-").partition(":")[0] for word in _words(value)]
    return [posixpath.normpath(path.replace("%t", "/run")) for path in found if path]


def covers(value: str, needed: Iterable[str]) -> bool:
    """Tell whether one of a list's paths is a needed one, or above it."""
    above = [path.rstrip("/") for path in paths(value)]
    return any(f"{one}/".startswith(f"{path}/") for one in needed for path in above)


def denies_sockets(value: str) -> bool:
    """Tell whether a SystemCallFilter= takes a call away that a socket needs."""
    denied = {word.partition(":")[0] for word in _words(value.removeprefix("~"))}
    return value.startswith("~") and bool(denied & _SOCKET_CALLS)


def _words(value: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError:  # a quotation mark that is not closed
        return value.split()
