"""
The checker that every section of the pillar is read with.

A section is a table from key to check. A check is a function of a value and its place (the whole
pillar key) that returns the value in its stored form or raises :class:`InvalidValue`. What a check
refuses is noted, and the default stands in for it, so that one pass finds everything.
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
# So many problems, and pieces of advice, are told one by one; the rest is counted.
MOST_TOLD = 100
# RFC 2181, section 8
MAX_TTL = 2**31 - 1
_WORDS = {
    **dict.fromkeys(("true", "yes", "on", "y"), True),
    **dict.fromkeys(("false", "no", "off", "n"), False),
}


@dataclass
class Notes:
    """
    What a reading has to say: ``problems`` stop it, ``advice`` does not. Each text is there once,
    in the order of finding: the keys of a dictionary, so that a hundred thousand take no time.
    """

    problems: dict[str, None] = field(default_factory=dict)
    advice: dict[str, None] = field(default_factory=dict)

    def problem(self, problem: InvalidValue | str) -> None:
        """Note a problem, once."""
        self.problems[str(problem)] = None

    def nearest(self, given: object, known: Mapping) -> str | None:
        """
        Return the word that was probably meant, or None. What is not told is not sought: among all
        options of opendkim.conf(5) a word takes 0.6 ms, so 100,000 mistakes a minute (measured).
        """
        if len(self.problems) >= MOST_TOLD:
            return None
        return nearest(given, tuple(known))

    def advise(self, where: str, text: str) -> None:
        """Note that what stands at ``where`` is legal but unwise, once."""
        self.advice[f"{where}: {text}"] = None

    def attempt(self, check: Check, value: object, where: str, default: object = None) -> object:
        """What the check makes of the value; the default, and a problem noted, if it refuses."""
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
    The keys of one mapping that are given and right, in their stored form.

    value
        The mapping, or None for an empty one. Anything else is a problem, which says of what kind
        it is and does not show it: a password may be in it.
    where
        Its place in the pillar.
    checks
        The keys that it may have. None as a value means the default and is left out.
    notes
        Takes the problems.
    hints
        What to say of particular unknown keys.
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
    """The problem of a key that is not known, with the nearest one that is."""
    place = f"{where}:{shown_key(key)}"
    if hints and key in hints:
        return f"{place}: {hints[key]}"
    meant = notes.nearest(key, known)
    if meant:
        return f"{place}: unknown key; did you mean {meant!r}?"
    return f"{place}: unknown key; there are {', '.join(known)}"


def nearest(given: object, known: tuple[str, ...]) -> str | None:
    """Return the word that was probably meant; None where none is near, or it is no word."""
    return _nearest(given.strip().lower()[:80], known) if isinstance(given, str) else None


# The same slip is often made in every domain of a long pillar.
@lru_cache(maxsize=4096)
def _nearest(given: str, known: tuple[str, ...]) -> str | None:
    return next(iter(difflib.get_close_matches(given, known, 1)), None)


def shown_key(key: object) -> str:
    """A key as part of a place."""
    shown_ = key if isinstance(key, str) and key.isprintable() else as_yaml(key)
    return shown_ if len(shown_) <= 260 else f"{shown_[:257]}..."


def section(value: object, where: str) -> object:
    """Lets a nested section through as it is: its own reader says what is wrong with it."""
    return value


def kind_of(value: object) -> str:
    """Return the kind of a value in the words of YAML, where the value must not be shown."""
    if isinstance(value, Kind):
        return str(value)
    for kind, types in _KINDS.items():
        if isinstance(value, types):
            return kind
    return "a value of another kind"


def is_not(value: object, where: str, what: str, remedy: str) -> str:
    """Return the problem of a value that is of another kind than a mapping; it is not shown."""
    word = value.strip().lower() if isinstance(value, str) else None
    if word in (*_WORDS, "null", "none"):
        return f"{where}: {value!r} is a string and not {what}; write {word} without the quotes"
    return f"{where}: {kind_of(value)} is not {what}; {remedy}"


def unquoted(check: Check) -> Check:
    """Return a check of a name that refuses a word of YAML in quotes: it would be the name."""

    def check_unquoted(value: object, where: str) -> object:
        word = value.strip().lower() if isinstance(value, str) else None
        if word in (*_WORDS, "null", "none"):
            raise InvalidValue(
                where, value, "is a word of YAML in quotes", f"write {word} without them, or a name"
            )
        return check(value, where)

    return check_unquoted


class Kind:
    """Stands for a value in an error by its kind alone."""

    def __init__(self, value: object):
        self._kind = kind_of(value)

    def __repr__(self) -> str:
        return self._kind


# A boolean is an integer to Python, and a moment a date.
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
    """Return a value as a person types it; a string is itself."""
    return value if isinstance(value, str) else as_yaml(value)


def is_plain(value: object) -> bool:
    """Tell whether a value is one that quotes make a string of."""
    return isinstance(value, (str, int, float, datetime.date))


def shown(value: object) -> object:
    """The value if it is a plain one, else what stands for it: a container may hold a secret."""
    return value if is_plain(value) or isinstance(value, Kind) else Kind(value)


def text(value: object, where: str) -> str:
    """A string that is not empty and has no control character."""
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
    """Any string without a control character, as a :class:`Secret` that no error shows."""
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
    """A boolean, or one of the words that YAML takes for one."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _WORDS:
        return _WORDS[value.strip().lower()]
    raise InvalidValue(where, shown(value), "is not a boolean", "use true or false")


def integer(low: int, high: int, unit: str = "") -> Check:
    """A check for a whole number from ``low`` to ``high``; a string of digits is taken too."""
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
    """A check for one of some words."""

    def check(value: object, where: str) -> str:
        if value not in choices:
            meant = nearest(value, choices)
            expected = f"did you mean {meant!r}?" if meant else f"use one of {', '.join(choices)}"
            raise InvalidValue(where, shown(value), "is not a choice", expected)
        return value

    return check


def word(*choices: str) -> Check:
    """Return a check for one of some words in any case: keywords of a record's grammar."""
    check_choice = choice(*choices)

    def check(value: object, where: str) -> str:
        return check_choice(value.lower() if isinstance(value, str) else value, where)

    return check


def mailbox(value: object, where: str) -> str:
    """An address, or the ``mailto:`` URI of one, whose %XX are read (RFC 6068, section 2)."""
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
    """An absolute path without a control character."""
    path = text(value, where)
    if not path.startswith("/"):
        raise InvalidValue(where, path, "is not an absolute path", "start it with /")
    return path


def ttl(value: object, where: str) -> int:
    """A TTL in seconds. Source: RFC 2181, section 8."""
    return integer(0, MAX_TTL, "(seconds)")(value, where)
