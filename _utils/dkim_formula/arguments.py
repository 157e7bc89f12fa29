"""Arguments of functions, which come from a terminal: of the right kind, or an error names them."""

import re

from .errors import InvalidValue
from .settings.check import Check, absolute_path, choice, shown, text

__all__ = ["absolute_path", "choice", "list_of", "milter", "text"]

# postconf(5), smtpd_milters: blanks and commas part the entries, braces hold settings, $ is a
# parameter's name.
_MILTER = re.compile(r"(unix|local|inet6?):[^\s,{}$]+")


def list_of(check: Check, value: object, where: str) -> list[object]:
    """Each member as ``check`` gives it. Raises InvalidValue for what is no list."""
    if not isinstance(value, (list, tuple)):
        raise InvalidValue(where, shown(value), "is not a list", "give one such as '[a, b]'")
    return [check(member, where) for member in value]


def milter(value: object, where: str) -> str:
    """A milter's address, as main.cf has it: ``unix:/opendkim/opendkim.sock``."""
    given = text(value, where)
    if not _MILTER.fullmatch(given):
        raise InvalidValue(
            where,
            given,
            "is not a milter's address",
            "give one such as unix:/opendkim/opendkim.sock or inet:127.0.0.1:8891",
        )
    return given
