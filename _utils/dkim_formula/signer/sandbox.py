"""What the sandbox of the unit has to leave open."""

import posixpath

from ..settings.model import Settings
from .daemons import Daemon

# What the daemon writes beside its socket and its log: opendkim.conf(5).
_DIRECTORIES = ("TemporaryDirectory", "DiagnosticDirectory")
_FILES = ("Statistics",)


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
