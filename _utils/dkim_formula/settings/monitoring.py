"""``dkim:monitoring``: the intervals of health checks, and the limits for events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import InvalidValue
from .duration import UNITS, duration
from .validation import (
    Check,
    Notes,
    absolute_path,
    boolean,
    choice,
    read_section,
    section,
    text,
)

WHERE = "dkim:monitoring"

_DAY = UNITS["d"]
_YEAR = 365 * _DAY


@dataclass(frozen=True)
class Report:
    """The page of ``dkim.report`` (pillar ``dkim:monitoring:report``)."""

    path: str
    group: str = "root"  # may read the page, besides root
    every: int = 900  # seconds


@dataclass(frozen=True)
class Monitoring:
    """
    The intervals of health checks, and the limits for events (pillar ``dkim:monitoring``). Times
    are in seconds. None means never.
    """

    beacon: bool = False
    textfile: str | None = None  # the directory that node_exporter reads
    every: int = 60  # interval of the checks of services and sockets
    textfile_every: int = 300
    database_every: int = 300
    dns_every: int | None = 3600
    down_for: int = 60  # how long a service may be down before an event reports it
    differs_for: int = 3600  # the same for DNS
    overdue: int = 7 * 86400  # how late a key's move to its next state may be
    repeat: int | None = 86400  # interval of events about a problem that continues
    unsigned: str = "hosted"  # or "chosen": which domains must sign
    report: Report | None = None


def _or_false(check: Check) -> Check:
    """Return a check that also takes ``false``, which it returns as None."""

    def checked(value: object, where: str) -> object:
        return None if value is False else check(value, where)

    return checked


def directory(value: object, where: str) -> str:
    """Return an absolute path that a unit file can hold unquoted: systemd.syntax(7)."""
    path = absolute_path(value, where)
    if any(character in path for character in " \t\"'\\%$;"):
        raise InvalidValue(
            where, value, "has a character that systemd gives a meaning to", "give a plain path"
        )
    return path.rstrip("/") or "/"


def page(value: object, where: str) -> str:
    """Return the file of a page. Its required ``.html`` protects other files from a mistake."""
    path = directory(value, where)
    if not path.endswith(".html"):
        raise InvalidValue(where, path, "does not end in .html", "name the file of the page")
    return path


def group(value: object, where: str) -> str:
    """Return the name of a group: useradd(8), «CAVEATS»."""
    name = text(value, where)
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", name):
        raise InvalidValue(where, name, "is no name of a group", "use one of /etc/group")
    return name


_REPORT = {"path": page, "group": group, "every": duration(60, _DAY)}

_MONITORING = {
    "beacon": boolean,
    "textfile": _or_false(directory),
    # Salt calls a beacon once a second at most.
    "every": duration(1, _DAY),
    "textfile_every": duration(1, _DAY),
    "database_every": duration(1, _DAY),
    "dns_every": _or_false(duration(1, 30 * _DAY)),
    "down_for": duration(0, _DAY),
    "differs_for": duration(0, 30 * _DAY),
    "overdue": duration(0, _YEAR),
    "repeat": _or_false(duration(1, _YEAR)),
    "unsigned": choice("hosted", "chosen"),
    "report": _or_false(section),
}


def read_monitoring(value: object, notes: Notes) -> Monitoring:
    """Return the section's settings. A wrong value is noted and replaced by its default."""
    read = read_section(value, WHERE, _MONITORING, notes)
    if read.get("report") is not None:
        read["report"] = _read_report(read["report"], notes)
    return Monitoring(**read)


def _read_report(value: object, notes: Notes) -> Report | None:
    where = f"{WHERE}:report"
    read = read_section(value, where, _REPORT, notes)
    if "path" in read:
        return Report(**read)
    if isinstance(value, Mapping) and value.get("path") is None:
        notes.problem(f"{where}:path: is missing; give the file of the page, or report: false")
    return None
