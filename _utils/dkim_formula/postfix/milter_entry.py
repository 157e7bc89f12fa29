"""The text of a list of milters in main.cf or master.cf, and of its entries."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from ..errors import PostfixError
from .expansion import expand

_ACTION = re.compile(r"\{?\s*default_action\s*=\s*(\w+)\s*\}?")


def entries(value: str) -> list[str]:
    """
    Return a list's entries.

    Commas and white space separate entries, but not within braces. Braces can be nested:
    ``{ inet:host:port, { command_timeout = 30s } }``. Source: MILTER_README.
    """
    return [value[start:end] for start, end in _spans(value)]


def expanded(parameters: Mapping[str, str], name: str) -> list[str]:
    """Return the entries of a parameter, with those of the parameters that it refers to."""
    return entries(expand(parameters.get(name, ""), parameters))


def address(entry: str) -> str:
    """Return a milter's address: the entry, or the first word of ``{ address, name=value }``."""
    if not entry.startswith("{"):
        return entry
    inner = entries(entry[1:].removesuffix("}"))
    return inner[0] if inner else ""


def own_action(entry: str) -> str | None:
    """Return the ``default_action`` of an entry in braces, or None."""
    found = [_ACTION.fullmatch(setting) for setting in _settings(entry)]
    return next((match[1] for match in found if match), None)


def own_entry(entry: str, milter: str, chosen: str, force: bool = False) -> str:
    """
    Return the desired entry of a milter of the formula: its address and its default action.

    entry
        The present entry; its other settings stay.
    milter
        The address of the milter.
    chosen
        The default action.
    force
        Whether ``chosen`` replaces the present action of the entry.
    """
    settings = _settings(entry)
    present = own_action(entry)
    if present is None:
        settings.append(f"default_action={chosen}")
    elif force and present != chosen:
        settings = [
            f"default_action={chosen}" if _ACTION.fullmatch(one) else one for one in settings
        ]
    elif address(entry) == milter:
        return entry
    return f"{{ {', '.join([milter, *settings])} }}"


def moved(entry: str, milter: str) -> str:
    """Return an entry with another address and the same settings."""
    settings = _settings(entry)
    return f"{{ {', '.join([milter, *settings])} }}" if settings else milter


def _settings(entry: str) -> list[str]:
    return entries(entry[1:].removesuffix("}"))[1:] if entry.startswith("{") else []


def edited(value: str, edit: Callable[[str], str | None]) -> str:
    """Return a list's text with each entry edited; None drops it and the separator before it."""
    text, end, changed = "", 0, False
    for start, stop in _spans(value):
        entry = value[start:stop]
        new = edit(entry)
        changed = changed or new != entry
        if new is not None:
            text += (value[end:start] if text else "") + new
        end = stop
    return text if changed else value


def appended(value: str, added: Sequence[str]) -> str:
    """Return a list's text with entries added at the end."""
    return ", ".join([value.rstrip(", "), *added] if value.strip(", ") else added)


def refuse_open_brace(name: str, value: str) -> None:
    """Raise PostfixError if an unclosed brace makes it impossible to add to a list."""
    depth = 0
    for character in value:
        depth = max(0, depth + (character == "{") - (character == "}"))
    if depth:
        raise PostfixError(
            f"main.cf: {name} has a brace that is not closed, so that any text after the brace "
            f"belongs to that entry: {value[:200]}; close it"
        )


def _spans(value: str) -> Iterator[tuple[int, int]]:
    """Yield the positions where each entry of a list's text begins and ends."""
    depth, start = 0, None
    for at, character in enumerate(value):
        if depth == 0 and character in ", \t\r\n":
            if start is not None:
                yield start, at
            start = None
            continue
        start = at if start is None else start
        depth = max(0, depth + (character == "{") - (character == "}"))
    if start is not None:
        yield start, len(value)
