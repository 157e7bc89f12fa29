"""Text for people: text of other programs, lists, counts, times."""

import re
import shlex
from collections.abc import Sequence
from datetime import datetime

# The beginning of each line with advice in the comment of a state dkim.checked.
ADVICE = "Advice: "

_TYPED_OCTET = re.compile(r"\\x([89a-f][0-9a-f])")

# Texts that YAML reads as themselves, except words such as "no".
_PLAIN = re.compile(r"/?[A-Za-z][A-Za-z0-9_./@%-]*|[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.[a-z]{2,}")
# What a shell changes in double quotes.
_IN_DOUBLE_QUOTES = re.compile(r'["$`\\!]')
_NUMBER = re.compile(r"[1-9][0-9]{0,15}")
_WORDS = ("true", "false", "yes", "no", "on", "off", "y", "n", "null", "none")


def as_yaml_string(text: str) -> str:
    """Return a text of one line as a string of YAML in single quotes (YAML 1.2, section 7.3.2)."""
    return "'" + text.replace("'", "''") + "'"


def as_argument(text: str) -> str:
    """
    Return a text as an argument of salt-call, quoted for the shell and, if needed, for YAML.

    Salt reads each argument as YAML, so 0123 would become the number 83. The functions accept the
    number that YAML makes of digits without a 0 before them.
    """
    plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS
    if plain or _NUMBER.fullmatch(text):
        return text
    quoted = as_yaml_string(text)
    return shlex.quote(quoted) if _IN_DOUBLE_QUOTES.search(quoted) else f'"{quoted}"'


def octets_shown(value: object) -> object:
    """
    Return plain data in which octets that are not UTF-8 are written as ``\\xfc``.

    A database in SQL_ASCII may hold such octets; Python reads them as lone surrogates (PEP 383).
    msgpack packs no lone surrogate, so a minion can't return one (measured).
    """
    if isinstance(value, str):
        return value if value.isascii() else _shown(value)
    if isinstance(value, dict):
        return {octets_shown(key): octets_shown(below) for key, below in value.items()}
    if isinstance(value, list):
        return [octets_shown(below) for below in value]
    return value


def octets_meant(text: str) -> str:
    """Return the database's form of a name that was typed as :func:`octets_shown` writes it."""
    return _TYPED_OCTET.sub(lambda found: chr(0xDC00 + int(found.group(1), 16)), text)


def listed(names: Sequence[str], most: int = 20, count: int | None = None) -> str:
    """
    Return names separated by commas: the first ``most``, then the number of the others.

    count
        The number of all names, if ``names`` holds only the first of them.
    """
    left = (len(names) if count is None else count) - most
    more = f" and {left} more" if left > 0 else ""
    return f"{', '.join(names[:most])}{more}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 key``, ``2 keys``, ``100,000 keys``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def timestamp(time: datetime) -> str:
    """Return a time as text: ISO 8601, to the second, as in every return of the formula."""
    return time.isoformat(timespec="seconds")


def timestamp_if_known(time: datetime | None) -> str | None:
    """Return a time as :func:`timestamp` does; None stays None."""
    return None if time is None else timestamp(time)


def _shown(text: str) -> str:
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that represents no octet
        data = text.encode("utf-8", "backslashreplace")
    return data.decode("utf-8", "backslashreplace")
