"""The expansion of parameters that values of main.cf refer to."""

import re
from collections.abc import Mapping

# Debian's queue_directory: postconf(5).
QUEUE = "/var/spool/postfix"
_NAME = r"[A-Za-z0-9_]+"
# A plain reference to a parameter: $name, ${name} or $(name).
REFERENCE = re.compile(rf"\$(?:\{{({_NAME})\}}|\(({_NAME})\)|({_NAME}))")
_CONDITIONAL = re.compile(rf"({_NAME})([?:])(.*)", re.DOTALL)
_CLOSING = {"{": "}", "(": ")"}


def expand(value: str, parameters: Mapping[str, str], depth: int = 10) -> str:
    """
    Return ``value`` with ``$name``, ``${name?text}`` and ``${name:text}`` expanded.

    A missing parameter is empty. A comparison, ``${{a}=={b}?…}``, is left as it is: it counts as
    an entry of another milter. Source: postconf(5), «DESCRIPTION».
    """
    if depth == 0 or "$" not in value:
        return value
    text, at = "", 0
    while (found := value.find("$", at)) >= 0:
        text += value[at:found]
        expanded, at = _macro(value, found, parameters, depth)
        text += expanded
    return text + value[at:]


def references(value: str) -> list[str]:
    """Return the names of parameters that a value refers to, without duplicates."""
    return list(dict.fromkeys(_name(found) for found in REFERENCE.finditer(value)))


def _macro(value: str, at: int, parameters: Mapping[str, str], depth: int) -> tuple[str, int]:
    """Return the expansion of the macro at a dollar sign, and the position after the macro."""
    bare = REFERENCE.match(value, at)
    if bare:
        return _value(_name(bare), parameters, depth), bare.end()
    opening = value[at + 1 : at + 2]
    if opening == "$":
        return "$", at + 2
    end = _closed(value, at + 1)
    condition = _CONDITIONAL.fullmatch(value[at + 2 : end]) if opening in _CLOSING else None
    if condition is None or end < 0:
        return "$", at + 1
    name, operator, text = condition.groups()
    is_set = bool(_value(name, parameters, depth))
    then, otherwise = _branches(text)
    chosen = then if is_set == (operator == "?") else otherwise
    return expand(chosen, parameters, depth - 1), end + 1


def _branches(text: str) -> tuple[str, str]:
    """Return both texts of a conditional: ``text``, ``{text}`` or ``{text}:{text}``."""
    inner = text.strip()
    end = _closed(inner, 0) if inner.startswith("{") else -1
    if end < 0:
        return text, ""
    rest = inner[end + 1 :].strip().removeprefix(":").strip()
    if rest.startswith("{") and rest.endswith("}"):
        rest = rest[1:-1]
    return inner[1:end], rest


def _closed(value: str, at: int) -> int:
    """Return the position where the brace or parenthesis at ``at`` is closed, or -1."""
    opening = value[at : at + 1]
    depth = 0
    for position in range(at, len(value)):
        depth += (value[position] == opening) - (value[position] == _CLOSING.get(opening))
        if depth == 0:
            return position
    return -1


def _value(name: str, parameters: Mapping[str, str], depth: int) -> str:
    given = parameters.get(name, QUEUE if name == "queue_directory" else "")
    return expand(given, parameters, depth - 1)


def _name(found: re.Match) -> str:
    return next(group for group in found.groups() if group)
