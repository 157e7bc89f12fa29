"""``dkim:watch``: what is watched, how often, and when it is worth a word."""

from ..errors import InvalidValue
from .check import Check, Notes, absolute_path, boolean, choice, read_section
from .duration import UNITS, duration
from .model import Watch

WHERE = "dkim:watch"

_DAY = UNITS["d"]
_YEAR = 365 * _DAY


def _or_false(check: Check) -> Check:
    """The check, for a setting that ``false`` turns off; None stands for that."""

    def checked(value: object, where: str) -> object:
        return None if value is False else check(value, where)

    return checked


def directory(value: object, where: str) -> str:
    """An absolute path that a unit file can hold as it is: systemd.syntax(7)."""
    path = absolute_path(value, where)
    if any(character in path for character in " \t\"'\\%$;"):
        raise InvalidValue(
            where, value, "has a character that systemd gives a meaning to", "give a plain path"
        )
    return path.rstrip("/") or "/"


_WATCH = {
    "beacon": boolean,
    "textfile": _or_false(directory),
    # A beat of Salt's beacons is a second at its shortest.
    "every": duration(1, _DAY),
    "textfile_every": duration(1, _DAY),
    "database_every": duration(1, _DAY),
    "dns_every": _or_false(duration(1, 30 * _DAY)),
    "down_for": duration(0, _DAY),
    "differs_for": duration(0, 30 * _DAY),
    "overdue": duration(0, _YEAR),
    "repeat": _or_false(duration(1, _YEAR)),
    "unsigned": choice("hosted", "chosen"),
}


def read_watch(value: object, notes: Notes) -> Watch:
    """The section's settings; whatever is wrong is noted and stands at its default."""
    return Watch(**read_section(value, WHERE, _WATCH, notes))
