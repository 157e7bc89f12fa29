"""
The daemons that the formula set up on this machine, found by the first line of their files.

The pillar is not used: it may be empty, unreadable or changed since the set-up.
"""

import glob
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from . import daemons
from .former_sockets import previous_addresses
from .unit import DROP_IN

UNITS = "/etc/systemd/system"

_CONFIG = re.compile(r"^ExecStart=/\S*/opendkim -f -x (/\S+)$", re.MULTILINE)
_SOCKET = re.compile(r"^Socket\s+local:(/\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Installed:
    """A daemon that the formula set up."""

    service: str
    files: tuple[str, ...]  # the configuration, and the unit or drop-in
    directories: tuple[str, ...]  # the directories of the socket
    milters: tuple[str, ...]  # the spellings of the socket in main.cf


def installed(lookup: Mapping[str, object], units: str = UNITS) -> list[Installed]:
    """
    Return the daemons that the formula set up here.

    lookup
        Names and paths of this machine. A configuration file at its path counts too, with or
        without a unit.
    units
        systemd's folder for units of the administrator.
    """
    found: dict[str, list[str]] = {}
    patterns = (f"{units}/*.service.d/{DROP_IN}", f"{units}/*.service")
    for unit in sorted(path for pattern in patterns for path in glob.glob(pattern)):
        config = _CONFIG.search(_managed_text(unit))
        if config:
            name = os.path.basename(os.path.dirname(unit) if unit.endswith(DROP_IN) else unit)
            service = name.removesuffix(".d").removesuffix(".service")
            found[service] = [unit, *([config[1]] if _managed_text(config[1]) else [])]
    for algorithm in daemons.SIGNATURE_ALGORITHMS:
        daemon = daemons.daemon(algorithm, lookup)
        files = found.get(daemon.service, [])
        if daemon.config_file not in files and _managed_text(daemon.config_file):
            found[daemon.service] = [*files, daemon.config_file]
    return [_daemon(service, files, lookup) for service, files in sorted(found.items())]


def _daemon(service: str, files: list[str], lookup: Mapping[str, object]) -> Installed:
    chroot = str(lookup["postfix_chroot"])
    texts = [_managed_text(path) for path in files]
    sockets = [found[1] for text in texts for found in _SOCKET.finditer(text)]
    directories = dict.fromkeys(os.path.dirname(path) for path in sockets)
    milters = [one for text in texts for one in previous_addresses(text, chroot, "")]
    return Installed(
        service,
        tuple(files),
        tuple(path for path in directories if path not in (chroot, "/")),
        tuple(dict.fromkeys(milters)),
    )


def _managed_text(path: str) -> str:
    """Return the text of a file that the formula wrote, or ''."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
    except OSError:
        return ""
    return text if text.startswith(daemons.HEADER) else ""
