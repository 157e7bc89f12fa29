"""A length of time in the pillar: a number of days, or text with a unit."""

import re

from ..errors import InvalidValue
from .validation import Check, as_text, shown

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

_FORM = re.compile(r"([0-9]{1,9})([smhd]?)")


def duration(low: int, high: int) -> Check:
    """
    Return a check for a length of time, which returns seconds.

    low, high
        The shortest and the longest valid time, in seconds.

    The value is a whole number of days (``14``), or text with a unit: ``90s``, ``15m``, ``2h``,
    ``14d``.
    """
    expected = f"use {in_words(low)} to {in_words(high)}, such as 90s, 15m, 2h, or 14 (days)"

    def check(value: object, where: str) -> int:
        given = (
            "" if isinstance(value, bool) or not isinstance(value, (int, str)) else as_text(value)
        )
        match = _FORM.fullmatch(given.strip())
        if match is None:
            raise InvalidValue(where, shown(value), "is not a length of time", expected)
        seconds = int(match[1]) * UNITS[match[2] or "d"]
        if not low <= seconds <= high:
            raise InvalidValue(where, value, "is out of range", expected)
        return seconds

    return check


def in_words(seconds: float) -> str:
    """Return a length of time in the pillar's form and largest whole unit: ``90s``, ``14d``."""
    whole = int(seconds)
    for unit, length in reversed(UNITS.items()):
        if whole and whole % length == 0:
            return f"{whole // length}{unit}"
    return f"{whole}s"
