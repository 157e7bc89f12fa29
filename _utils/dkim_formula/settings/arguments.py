"""
Arguments of functions, as a person types them on a terminal.

Salt reads each argument as YAML, so a typed text may arrive as a number, a boolean or null.
:func:`check_arguments` converts the arguments of every function to their types in one place. The
functions of the library check what a domain name or a selector may be.
"""

import difflib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence

from ..errors import InvalidValue, as_yaml
from ..record_names import KEY_LABEL, has_key_label
from .validation import Check, absolute_path, boolean, choice, integer, shown, text

__all__ = ["absolute_path", "check_arguments", "choice", "list_of", "milter", "text"]

# postconf(5), smtpd_milters: blanks and commas separate entries, braces hold settings, $ begins a
# parameter's name. With another transport, such as OpenDKIM's inet6, Postfix refuses all mail with
# 451 (milter8.c).
_MILTER = re.compile(r"(unix|local|inet):[^\s,{}$]+")

_DOMAIN = "give a domain name such as example.com"
_SELECTOR = "give letters, digits and hyphens, such as s2026"


def list_of(check: Check, value: object, where: str) -> list[object]:
    """Return the members of a list, each checked. Raises InvalidValue for another type."""
    if not isinstance(value, (list, tuple)):
        raise InvalidValue(where, shown(value), "is not a list", "give one such as '[a, b]'")
    return [check(member, where) for member in value]


def milter(value: object, where: str) -> str:
    """Return a milter's address in main.cf's form, such as ``unix:opendkim/opendkim.sock``."""
    given = text(value, where)
    if not _MILTER.fullmatch(given):
        raise InvalidValue(
            where,
            given,
            "is not a milter's address",
            "give one such as unix:opendkim/opendkim.sock or inet:127.0.0.1:8891",
        )
    return given


def check_arguments(
    signature: inspect.Signature,
    arguments: inspect.BoundArguments,
    typed: Sequence[object] = (),
) -> inspect.BoundArguments:
    """
    Return a call's arguments, each converted to the type that its name requires.

    signature
        The signature of the called function. An argument at its default stays as it is. An argument
        with a default of True or False is a boolean.
    typed
        What a person typed, if known: ``NAME=VALUE`` or ``VALUE``.

    Raises InvalidValue.
    """
    for name, value in arguments.arguments.items():
        default = signature.parameters[name].default
        check = boolean if isinstance(default, bool) else _CHECKS.get(name)
        if check and value is not default:
            arguments.arguments[name] = check(_as_typed(name, value, typed), name)
    return arguments


class _Number:
    """A number where a text is expected. ``typed`` is the text that a person typed, or None."""

    def __init__(self, value: float, typed: str | None):
        self.value = value
        self.typed = typed


def _as_typed(name: str, value: object, typed: Sequence[object]) -> object:
    """Return the value, or a :class:`_Number` if another text than this number was typed."""
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
            where, value, "is the name of a key record", f"give the part after .{KEY_LABEL}."
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
            where, value, "is the name of a key record", f"give the part before .{KEY_LABEL}"
        )
    return name


def _word(remedy: str) -> Check:
    """Return a check for a keyword of a function, which removes blanks around the keyword."""

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
