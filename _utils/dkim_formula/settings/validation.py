"""
The checks that every section of the pillar is read with.

A section is a table from key to check. A check is a function of a value and its whole pillar key.
It returns the value in its stored form or raises :class:`InvalidValue`. A refused value is noted as
a problem and replaced by its default, so one pass finds every problem.
"""

import datetime
import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote

from .. import names
from ..errors import InvalidValue, as_yaml
from ..secret import Secret

Check = Callable[[object, str], object]

# RFC 7489, section 6.2
_SIZE_LIMIT = re.compile(r"![0-9]+[kmgtKMGT]?$")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# The limit for problems and for pieces of advice that are reported one by one; the rest is counted.
MAX_REPORTED = 100
# RFC 2181, section 8
MAX_TTL = 2**31 - 1
_WORDS = {
    **dict.fromkeys(("true", "yes", "on", "y"), True),
    **dict.fromkeys(("false", "no", "off", "n"), False),
}


@dataclass
class Notes:
    """
    The notes of one reading: ``problems`` stop a run, ``advice`` does not.

    Each text is stored once, in the order of finding. Dictionaries keep that fast for a hundred
    thousand texts.
    """

    problems: dict[str, None] = field(default_factory=dict)
    advice: dict[str, None] = field(default_factory=dict)

    def problem(self, problem: InvalidValue | str) -> None:
        """Note a problem once."""
        self.problems[str(problem)] = None

    def nearest(self, given: object, known: Mapping) -> str | None:
        """
        Return the known word that was probably meant, or None.

        Problems past ``MAX_REPORTED`` are not shown and need no word: a search among all options of
        opendkim.conf(5) takes 0.6 ms, so 100,000 mistakes would take a minute (measured).
        """
        if len(self.problems) >= MAX_REPORTED:
            return None
        return nearest(given, tuple(known))

    def advise(self, where: str, text: str) -> None:
        """Note once that the value of the pillar key ``where`` is legal but unwise."""
        self.advice[f"{where}: {text}"] = None

    def attempt(self, check: Check, value: object, where: str, default: object = None) -> object:
        """Return the checked value. If the check refuses, note a problem and return the default."""
        try:
            return check(value, where)
        except InvalidValue as error:
            self.problem(error)
            return default


def read_section(
    value: object,
    where: str,
    checks: Mapping[str, Check],
    notes: Notes,
    hints: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """
    Return the valid keys of one mapping, with their values in stored form.

    value
        The mapping, or None for an empty one. Anything else is a problem. Its text names the type
        and does not show the value, which may hold a password.
    where
        The pillar key of the mapping.
    checks
        The keys that the mapping may have. None as a value means the default and is left out.
    notes
        Collects the problems.
    hints
        Messages for particular unknown keys.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        notes.problem(is_not(value, where, "settings", "give a mapping of keys to values"))
        return {}
    read = {}
    missing = object()
    for key, given in value.items():
        if key not in checks:
            notes.problem(_unknown_key(key, where, checks, notes, hints))
        elif given is not None:
            stored = notes.attempt(checks[key], given, f"{where}:{key}", missing)
            if stored is not missing:
                read[key] = stored
    return read


def _unknown_key(
    key: object, where: str, known: Mapping, notes: Notes, hints: Mapping[str, str] | None
) -> str:
    """Return the problem of an unknown key, with the nearest known key."""
    pillar_key = f"{where}:{shown_key(key)}"
    if hints and key in hints:
        return f"{pillar_key}: {hints[key]}"
    meant = notes.nearest(key, known)
    if meant:
        return f"{pillar_key}: unknown key; did you mean {meant!r}?"
    return f"{pillar_key}: unknown key; known keys: {', '.join(known)}"


def nearest(given: object, known: tuple[str, ...]) -> str | None:
    """Return the known word that was probably meant; None if none is near or none was given."""
    return _nearest(given.strip().lower()[:80], known) if isinstance(given, str) else None


# A long pillar often repeats the same mistake in every domain.
@lru_cache(maxsize=4096)
def _nearest(given: str, known: tuple[str, ...]) -> str | None:
    return next(iter(difflib.get_close_matches(given, known, 1)), None)


def shown_key(key: object) -> str:
    """Return a key as a part of the pillar key that a message names."""
    shown_ = key if isinstance(key, str) and key.isprintable() else as_yaml(key)
    return shown_ if len(shown_) <= 260 else f"{shown_[:257]}..."


def section(value: object, where: str) -> object:
    """Return a nested section unchanged: the section's own reader checks it."""
    return value


def kind_of(value: object) -> str:
    """Return the YAML type of a value, for messages that must not show the value."""
    if isinstance(value, Kind):
        return str(value)
    for kind, types in _KINDS.items():
        if isinstance(value, types):
            return kind
    return "a value of another kind"


def is_not(value: object, where: str, what: str, remedy: str) -> str:
    """Return the problem of a value that is no mapping. Of values only words of YAML are shown."""
    word = value.strip().lower() if isinstance(value, str) else None
    if word in (*_WORDS, "null", "none"):
        return f"{where}: {value!r} is a string and not {what}; write {word} without the quotes"
    return f"{where}: {kind_of(value)} is not {what}; {remedy}"


def unquoted(check: Check) -> Check:
    """Return a check that refuses a quoted word of YAML, which would become the name."""

    def check_unquoted(value: object, where: str) -> object:
        word = value.strip().lower() if isinstance(value, str) else None
        if word in (*_WORDS, "null", "none"):
            raise InvalidValue(
                where, value, "is a word of YAML in quotes", f"write {word} without them, or a name"
            )
        return check(value, where)

    return check_unquoted


class Kind:
    """The YAML type of a value, which an error shows instead of the value."""

    def __init__(self, value: object):
        self._kind = kind_of(value)

    def __repr__(self) -> str:
        return self._kind


# The order matters: in Python a boolean is an integer too. A datetime is a date too.
_KINDS = {
    "null": type(None),
    "a mapping": Mapping,
    "a list": (list, tuple, set, frozenset),
    "a boolean": bool,
    "a number": (int, float),
    "a string": str,
    "a date": datetime.date,
    "binary data": (bytes, bytearray),
}


def as_text(value: object) -> str:
    """Return a value as a person types it. A string is returned unchanged."""
    return value if isinstance(value, str) else as_yaml(value)


def is_plain(value: object) -> bool:
    """Return whether a value is a scalar that quotes turn into a string."""
    return isinstance(value, (str, int, float, datetime.date))


def shown(value: object) -> object:
    """Return a scalar itself, and of other values the type: a container may hold a secret."""
    return value if is_plain(value) or isinstance(value, Kind) else Kind(value)


def text(value: object, where: str) -> str:
    """Return a string that is not empty and has no control character."""
    if not isinstance(value, str):
        remedy = "quote it, or give another value" if is_plain(value) else "give a string"
        raise InvalidValue(where, shown(value), "is not a string", remedy)
    if not value.strip():
        raise InvalidValue(where, value, "is empty", "give a value or leave the key out")
    if _CONTROL.search(value):
        raise InvalidValue(where, value, "has a control character", "give one line of plain text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidValue(where, value, "is not UTF-8", "give plain text") from None
    return value


def secret(value: object, where: str) -> Secret:
    """Return a string without control characters as a :class:`Secret`, which no error shows."""
    if not isinstance(value, str):
        raise InvalidValue(where, Secret(""), "is not a string", "quote it")
    if not value:
        raise InvalidValue(where, Secret(""), "is empty", "give a value or leave the key out")
    if _CONTROL.search(value):
        raise InvalidValue(
            where, Secret(""), "has a control character, such as a line's end", "give one line"
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidValue(where, Secret(""), "is not UTF-8", "give plain text") from None
    return Secret(value)


def boolean(value: object, where: str) -> bool:
    """Return a boolean, also for a word that YAML reads as one."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _WORDS:
        return _WORDS[value.strip().lower()]
    raise InvalidValue(where, shown(value), "is not a boolean", "use true or false")


def integer(low: int, high: int, unit: str = "") -> Check:
    """Return a check for a whole number from ``low`` to ``high``, also as a string of digits."""
    expected = f"use a number from {low} to {high}{unit and ' ' + unit}"

    def check(value: object, where: str) -> int:
        number = value
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,10}", value):
            number = int(value)
        if not isinstance(number, int) or isinstance(number, bool):
            raise InvalidValue(where, shown(value), "is not a whole number", expected)
        if not low <= number <= high:
            raise InvalidValue(where, value, "is out of range", expected)
        return number

    return check


def choice(*choices: str) -> Check:
    """Return a check for one of the given words."""

    def check(value: object, where: str) -> str:
        if value not in choices:
            meant = nearest(value, choices)
            expected = f"did you mean {meant!r}?" if meant else f"use one of {', '.join(choices)}"
            raise InvalidValue(where, shown(value), "is not a choice", expected)
        return value

    return check


def word(*choices: str) -> Check:
    """Return a check for one of the given words in any case, for keywords of a grammar."""
    check_choice = choice(*choices)

    def check(value: object, where: str) -> str:
        return check_choice(value.lower() if isinstance(value, str) else value, where)

    return check


def mailbox(value: object, where: str) -> str:
    """Return an address, given as itself or as a ``mailto:`` URI with %XX (RFC 6068, section 2)."""
    given = text(value, where).strip()
    address = re.sub(r"(?i)^mailto:", "", given)
    if address != given:
        address = unquote(address)
    size = _SIZE_LIMIT.search(address)
    if size:
        raise InvalidValue(
            where,
            given,
            f"has the size limit {size[0]!r}, which RFC 9989 removed and receivers ignore",
            "leave it out",
        )
    return names.email_address(address, where)


def absolute_path(value: object, where: str) -> str:
    """Return an absolute path without control characters."""
    path = text(value, where)
    if not path.startswith("/"):
        raise InvalidValue(where, path, "is not an absolute path", "start it with /")
    return path


def ttl(value: object, where: str) -> int:
    """Return a TTL in seconds. Source: RFC 2181, section 8."""
    return integer(0, MAX_TTL, "(seconds)")(value, where)
