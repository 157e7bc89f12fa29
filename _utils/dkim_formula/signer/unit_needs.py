"""The access that a unit's sandbox has to allow, and settings of unit files that deny it."""

import posixpath
import shlex
from collections.abc import Iterable, Sequence

from ..settings.model import Settings
from .daemons import Daemon

# Options for paths that the daemon writes to, besides its socket and its log: opendkim.conf(5).
_DIRECTORIES = ("TemporaryDirectory", "DiagnosticDirectory")
_FILES = ("Statistics",)
_SOCKET_CALLS = {"@network-io", "socket", "bind", "listen", "accept", "accept4", "connect"}


def writable(settings: Settings, daemon: Daemon) -> list[str]:
    """
    Return the directories that a daemon writes to: its socket's, and those of the pillar's options.

    The paths are absolute and without duplicates. The socket's directory is the first.
    """
    options = settings.opendkim.settings
    named = [str(options[name]) for name in _DIRECTORIES if name in options]
    named += [posixpath.dirname(str(options[name])) for name in _FILES if name in options]
    found = [posixpath.dirname(daemon.socket), *(path for path in named if path.startswith("/"))]
    return list(dict.fromkeys(found))


def closes_sockets(families: Sequence[str]) -> bool:
    """
    Return whether these values of RestrictAddressFamilies=, after the formula's own, deny AF_UNIX.

    Values accumulate, ``~`` removes families, and an empty value removes the restriction:
    systemd.exec(5).
    """
    # The families that are allowed, or, if is_list is False, those that are denied.
    named, is_list = {"AF_UNIX"}, True
    for value in families:
        given = set(value.removeprefix("~").split())
        if not value or value == "none":
            named, is_list = set(), bool(value)
        elif not named and not is_list:
            named, is_list = given, not value.startswith("~")
        elif value.startswith("~") == is_list:
            named = named - given
        else:
            named = named | given
    return ("AF_UNIX" in named) != is_list


def paths(value: str) -> list[str]:
    """Return the paths of a list, without the prefixes + and - and without mount options."""
    found = [word.lstrip("+-").partition(":")[0] for word in words(value)]
    return [posixpath.normpath(path.replace("%t", "/run")) for path in found if path]


def covers(value: str, needed: Iterable[str]) -> bool:
    """Return whether a path of a list is a needed path or a parent of one."""
    above = [path.rstrip("/") for path in paths(value)]
    return any(f"{one}/".startswith(f"{path}/") for one in needed for path in above)


def denies_sockets(value: str) -> bool:
    """Return whether a SystemCallFilter= denies a system call that a socket needs."""
    denied = {word.partition(":")[0] for word in words(value.removeprefix("~"))}
    return value.startswith("~") and bool(denied & _SOCKET_CALLS)


def words(value: str) -> list[str]:
    """Return the words of a unit file's value, without quotation marks."""
    try:
        return shlex.split(value)
    except ValueError:  # an unclosed quotation mark
        return value.split()
