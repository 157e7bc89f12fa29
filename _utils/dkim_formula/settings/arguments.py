"""
Arguments of functions, which come from a terminal: of the right kind, or an error names them.

Salt reads each argument as YAML, so that what a person typed may come as a number, a boolean or
nothing. :func:`as_meant` brings the arguments of every function to their kinds at one place; what
a domain name or a selector may be, the functions of the library say themselves.
"""

import difflib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence

from ..errors import InvalidValue, as_yaml
from ..record_names import KEY_LABEL, has_key_label
from .validation import Check, absolute_path, boolean, choice, integer, shown, text

__all__ = ["absolute_path", "as_meant", "choice", "list_of", "milter", "text"]

# postconf(5), smtpd_milters: blanks and commas part the entries, braces hold settings, $ is a
# parameter's name.
_MILTER = re.compile(r"(unix|local|inet6?):[^\s,{}$]+")

_DOMAIN = "give a domain name such as example.com"
_SELECTOR = "give letters, digits and hyphens, such as s2026"


def list_of(check: Check, value: object, where: str) -> list[object]:
    """Each member as ``check`` gives it. Raises InvalidValue for what is no list."""
    if not isinstance(value, (list, tuple)):
        raise InvalidValue(where, shown(value), "is not a list", "give one such as '[a, b]'")
    return [check(member, where) for member in value]


def milter(value: object, where: str) -> str:
    """A milter's address, as main.cf has it: ``unix:opendkim/opendkim.sock``."""
    given = text(value, where)
    if not _MILTER.fullmatch(given):
        raise InvalidValue(
            where,
            given,
            "is not a milter's address",
            "give one such as unix:opendkim/opendkim.sock or inet:127.0.0.1:8891",
        )
    return given


def as_meant(
    signature: inspect.Signature,
    arguments: inspect.BoundArguments,
    typed: Sequence[object] = (),
) -> inspect.BoundArguments:
    """
    Return a call's arguments, each of its kind by its name.

    signature
        Of the function that is called: an argument that stands at its default is left as it is, and
        one whose default is True or False is a boolean.
    typed
        What a person typed, where that is known: ``NAME=VALUE`` or ``VALUE``.

    Raises InvalidValue.
    """
    for name, value in arguments.arguments.items():
        default = signature.parameters[name].default
        check = boolean if isinstance(default, bool) else _CHECKS.get(name)
        if check and value is not default:
            arguments.arguments[name] = check(_as_typed(name, value, typed), name)
    return arguments


class _Number:
    """A number that stands for a text: what was typed is unknown, or reads otherwise."""

    def __init__(self, value: float, typed: str | None):
        self.value = value
        self.typed = typed


def _as_typed(name: str, value: object, typed: Sequence[object]) -> object:
    """Return the value; of a text's number what was typed, where that is another text."""
    if name not in _TEXTS or isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    texts = [one.removeprefix(f"{name}=").strip() for one in typed if isinstance(one, str)]
    if isinstance(value, int) and (not typed or as_yaml(value) in texts):
        return value
    return _Number(value, _nearest_text(value, texts))


def _nearest_text(value: float, texts: Sequence[str]) -> str | None:
    numbers = [one for one in texts if re.fullmatch(r"[-+0-9][0-9a-zA-Z_.:+-]*", one)]
    near = difflib.get_close_matches(as_yaml(value), numbers, 1, 0)
    return near[0] if near else None


def _domain(value: object, where: str) -> str:
    if not isinstance(value, str):
        given = value.value if isinstance(value, _Number) else value
        raise InvalidValue(where, shown(given), "is not a domain name", _DOMAIN)
    name = value.strip()
    if not name:
        raise InvalidValue(where, value, "is empty", _DOMAIN)
    if "@" in name:
        raise InvalidValue(where, value, "is an address, not a domain name", _DOMAIN)
    if "://" in name:
        raise InvalidValue(where, value, "is a URL, not a domain name", _DOMAIN)
    if has_key_label(name):
        raise InvalidValue(
            where, value, "is the name of a key record", f"give what stands after .{KEY_LABEL}."
        )
    return name


def _selector(value: object, where: str) -> str:
    if isinstance(value, _Number):
        typed = value.typed or as_yaml(value.value)
        raise InvalidValue(
            where,
            value.value,
            "is what YAML makes of a text that looks like a number",
            f"quote the selector for YAML and the shell, as in selector=\"'{typed}'\"",
        )
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return as_yaml(value)
    if not isinstance(value, str):
        raise InvalidValue(
            where,
            shown(value),
            "is not a selector",
            f"{_SELECTOR}; quote a word of YAML, as in selector=\"'true'\"",
        )
    name = value.strip()
    if not name:
        raise InvalidValue(where, value, "is empty", _SELECTOR)
    if has_key_label(name):
        raise InvalidValue(
            where, value, "is the name of a key record", f"give what stands before .{KEY_LABEL}"
        )
    return name


def _word(remedy: str) -> Check:
    """Return a check for a word of a function's own, without blanks around."""

    def check(value: object, where: str) -> str:
        if not isinstance(value, str):
            given = value.value if isinstance(value, _Number) else value
            raise InvalidValue(where, shown(given), "is not a word", remedy)
        return value.strip()

    return check


def _algorithm(value: object, where: str) -> str:
    return _word("use rsa or ed25519")(value, where).lower()


_CHECKS: Mapping[str, Callable[[object, str], object]] = {
    "domain": _domain,
    "selector": _selector,
    "algorithm": _algorithm,
    "format": _word("use one of the function's formats, or leave it out"),
    "interval": integer(1, 86400, "(seconds)"),
}
_TEXTS = ("domain", "selector", "algorithm", "format")
