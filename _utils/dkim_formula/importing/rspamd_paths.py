"""
The template of rspamd's key files, ``path`` of its module dkim_signing.

rspamd replaces ``$domain``, ``${domain}``, ``$selector`` and ``${selector}``. A name ends at the
first character that is no letter, digit or underscore, and an unknown name is replaced by itself
(lua_util.template; measured, 3.4).
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from ..errors import InvalidValue
from ..names import mail_domain

_VARIABLE = re.compile(r"\$(?:\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+))")
_KNOWN = ("domain", "selector")


@dataclass(frozen=True)
class Match:
    """
    A file that the template fits.

    domain, selector
        The parts of the path; empty if the template has no such variable.
    """

    domain: str
    selector: str
    path: str


def has_variable(template: str, name: str) -> bool:
    """Return whether a template has ``$domain`` or ``$selector``."""
    return name in _names(template)


def filled(template: str, domain: str, selector: str) -> str:
    """Return the path of the key file of a domain and a selector."""
    values = {"domain": domain, "selector": selector}
    return _VARIABLE.sub(lambda found: values.get(_name(found), _name(found)), template)


def moved(template: str, folder: str) -> str:
    """Return the template with its components from the first variable on in another folder."""
    parts = template.split("/")
    first = next(
        (number for number, part in enumerate(parts) if not _names(part).isdisjoint(_KNOWN)),
        len(parts) - 1,
    )
    return "/".join([folder.rstrip("/"), *parts[min(first, len(parts) - 1) :]])


def files(template: str, domains: Collection[str]) -> Iterator[Match]:
    """
    Yield the files that fit an absolute template. A missing folder counts as empty.

    domains
        Known domains. They show which part of a name is the domain and which the selector.
    """
    yield from _files("", template.split("/")[1:], {}, domains)


def _files(
    folder: str, parts: list[str], values: dict[str, str], domains: Collection[str]
) -> Iterator[Match]:
    part, rest = parts[0], parts[1:]
    open_names = _names(part) & {*_KNOWN} - values.keys()
    if open_names:
        names: list[str] = []
        with contextlib.suppress(OSError):
            names = sorted(os.listdir(folder or "/"))
        matches = [(name, _match(part, name, values, domains)) for name in names]
    else:
        text = filled(part, values.get("domain", ""), values.get("selector", ""))
        matches = [(text, {})]
    for name, more in matches:
        if more is None:
            continue
        path, found = f"{folder}/{name}", {**values, **more}
        if rest:
            yield from _files(path, rest, found, domains)
        elif os.path.isfile(path):
            yield Match(found.get("domain", ""), found.get("selector", ""), path)


def _match(
    part: str, name: str, values: dict[str, str], domains: Collection[str]
) -> dict[str, str] | None:
    """
    Return the variables in a component of a path, or None if the component doesn't fit.

    A known domain is preferred. In a component with any other domain the selector has no dot.
    """
    given = {variable: re.escape(value) for variable, value in values.items()}
    candidates: list[dict[str, str]] = [{"selector": ".+", **given}]
    if "domain" in _names(part) and "domain" not in values:
        labels = name.lower().split(".")
        size = len(labels)
        parts = (".".join(labels[i:j]) for i in range(size) for j in range(i + 1, size + 1))
        known = sorted(_known_in(parts, part, domains), key=len, reverse=True)
        candidates = [{"selector": ".+", "domain": re.escape(one), **given} for one in known]
        candidates.append({"selector": "[^.]+", "domain": ".+", **given})
    for groups in candidates:
        found = re.fullmatch(_pattern(part, groups), name, re.IGNORECASE)
        if found and is_domain(found.groupdict().get("domain", "a.example")):
            # rspamd looks for the domain in lower case.
            return {
                variable: value.lower() if variable == "domain" else value
                for variable, value in found.groupdict().items()
            }
    return None


def _known_in(names: Iterator[str], part: str, domains: Collection[str]) -> set[str]:
    """Return the known domains of a name, cut at dots, or at any text of the template."""
    edges = [edge for edge in _VARIABLE.split(part)[::3] if edge.strip(".")]
    found = set()
    for name in names:
        found.add(name)
        for edge in edges:
            found |= {*name.split(edge.strip(".").lower())}
    return {name for name in found if name in domains}


def _pattern(part: str, groups: dict[str, str]) -> str:
    """Return a component as a regular expression with a group for each variable."""
    pattern, seen, end = "", set(), 0
    for found in _VARIABLE.finditer(part):
        pattern += re.escape(part[end : found.start()])
        name, end = _name(found), found.end()
        if name not in _KNOWN:
            pattern += re.escape(name)
        elif name in seen:
            pattern += f"(?P={name})"
        else:
            pattern += f"(?P<{name}>{groups[name]})"
            seen.add(name)
    return pattern + re.escape(part[end:])


def _name(found: re.Match[str]) -> str:
    return found[1] or found[2]


def _names(text: str) -> set[str]:
    return {_name(found) for found in _VARIABLE.finditer(text)}


def is_domain(text: str) -> bool:
    """Return whether a text is a domain that can have a key."""
    try:
        return mail_domain(text) == text.lower()
    except InvalidValue:
        return False
