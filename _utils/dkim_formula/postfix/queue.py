"""For how long a message may wait in Postfix's queue before it is verified by its receiver."""

import re

from ..errors import PostfixError
from . import main_cf

# postconf(5): both are 5d by default, and days where no unit is given.
DEFAULT = 5 * 86400
PARAMETERS = ("maximal_queue_lifetime", "bounce_queue_lifetime")

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_TIME = re.compile(r"([0-9]+)([smhdw]?)")


def longest() -> tuple[int, str]:
    """
    The longest that this machine's Postfix keeps a message, or that one which sends elsewhere by
    default does; in seconds, and what says so.
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
