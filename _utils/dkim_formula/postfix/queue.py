"""The longest time that a message waits in Postfix's queue before its receiver verifies it."""

import re

from ..errors import PostfixError
from . import main_cf

# postconf(5): both are 5d by default; a number without a unit means days.
DEFAULT = 5 * 86400
PARAMETERS = ("maximal_queue_lifetime", "bounce_queue_lifetime")

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_TIME = re.compile(r"([0-9]+)([smhdw]?)")


def longest() -> tuple[int, str]:
    """
    Return the longest time in seconds that Postfix keeps a message, and the source of the value.

    If a parameter can't be read, another machine may send the mail: its Postfix is assumed to have
    the default.
    """
    found = {name: _lifetime(name) for name in PARAMETERS}
    known = {name: seconds for name, seconds in found.items() if seconds is not None}
    if len(known) < len(found):
        known["Postfix's default queue lifetime"] = DEFAULT
    name = max(known, key=known.get)
    return known[name], name


def _lifetime(name: str) -> int | None:
    try:
        text = main_cf.in_force(name)
    except PostfixError:
        return None
    found = _TIME.fullmatch(text)
    return None if found is None else int(found[1]) * _UNITS[found[2] or "d"]
