"""
A parser for the plain part of rspamd's configuration: keys, strings, sections, lists (libucl).

Macros (``.include``), variables and units are not expanded. The parser lists macros and leaves
variables as they are written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_BLANK = re.compile(r"(?:[ \t\r\f]|\#[^\n]*|/\*.*?\*/)*", re.DOTALL)
_SPACE = re.compile(r"(?:[\s;,]|\#[^\n]*|/\*.*?\*/)*", re.DOTALL)
_MACRO = re.compile(r"\.[a-z_]+[^\n]*")
_QUOTED = re.compile(r"\"((?:[^\"\\\n]|\\.)*)\"|'([^'\n]*)'")
_NAME = re.compile(r"[A-Za-z0-9_.*@$/-]+")
_BARE = re.compile(r"[^\n;,{}\[\]#\"']+")
_ESCAPE = re.compile(r"\\(.)")
_DEPTH = 20


class NotUnderstood(Exception):
    """Text that the parser does not support; the argument is the number of the line."""


@dataclass
class Section:
    """
    A section of the configuration.

    values
        Strings, lists and sections by their keys. If a key is given twice, the last value counts;
        sections of the same name are merged.
    macros
        The macros of the section, as they are written.
    """

    values: dict[str, object] = field(default_factory=dict)
    macros: list[str] = field(default_factory=list)

    def text(self, key: str) -> str | None:
        """Return a string by its key, or None."""
        value = self.values.get(key)
        return value if isinstance(value, str) else None

    def section(self, key: str) -> Section:
        """Return a section by its key, or an empty section."""
        value = self.values.get(key)
        return value if isinstance(value, Section) else Section()

    def merge(self, other: Section) -> None:
        """Merge another section into this section; the other section's values win."""
        self.macros += other.macros
        for key, value in other.values.items():
            present = self.values.get(key)
            if isinstance(value, Section) and isinstance(present, Section):
                present.merge(value)
            else:
                self.values[key] = value

    def is_off(self, key: str) -> bool:
        """Return whether a switch is set to off."""
        return (self.text(key) or "").lower() in ("false", "no", "off")

    def is_on(self, key: str) -> bool:
        """Return whether a switch is set to on."""
        return (self.text(key) or "").lower() in ("true", "yes", "on")

    def all_macros(self) -> list[str]:
        """Return the macros of the section and of the sections in it."""
        return [
            *self.macros,
            *(macro for value in self.values.values() for macro in _macros(value)),
        ]


def _macros(value: object) -> list[str]:
    if isinstance(value, Section):
        return value.all_macros()
    return [one for item in value for one in _macros(item)] if isinstance(value, list) else []


def parse(text: str) -> Section:
    """Return the section of a file's text. Raises NotUnderstood."""
    return _Parser(text).section("", 0)


class _Parser:
    def __init__(self, text: str):
        self._text = text
        self._at = 0

    def section(self, end: str, depth: int) -> Section:
        """Return the section up to ``end``, or up to the end of the text if ``end`` is empty."""
        if depth > _DEPTH:
            raise self._wrong()
        found = Section()
        while True:
            self._match(_SPACE)
            if self._ends(end):
                return found
            macro = self._match(_MACRO)
            if macro:
                found.macros.append(macro[0])
                continue
            key = self._string(_NAME)
            other = Section()
            other.values[key] = self._value(depth)
            found.merge(other)

    def _value(self, depth: int) -> object:
        self._match(_BLANK)
        separated = self._takes("=") or self._takes(":")
        self._match(_SPACE if self._opens_next() else _BLANK)
        if self._takes("{"):
            return self.section("}", depth + 1)
        if self._takes("["):
            return self._list(depth + 1)
        if separated:
            return self._string(_BARE)
        name = self._string(_NAME)
        if not self._opens_next():
            return name
        # section NAME { … }
        self._match(_SPACE)
        self._takes("{")
        return Section({name: self.section("}", depth + 1)})

    def _opens_next(self) -> bool:
        after = _SPACE.match(self._text, self._at).end()
        return self._text[after : after + 1] in ("{", "[")

    def _list(self, depth: int) -> list[object]:
        if depth > _DEPTH:
            raise self._wrong()
        found: list[object] = []
        while True:
            self._match(_SPACE)
            if self._ends("]"):
                return found
            if self._takes("{"):
                found.append(self.section("}", depth + 1))
            elif self._takes("["):
                found.append(self._list(depth + 1))
            else:
                found.append(self._string(_BARE))

    def _string(self, bare: re.Pattern[str]) -> str:
        quoted = self._match(_QUOTED)
        if quoted:
            return quoted[2] if quoted[1] is None else _ESCAPE.sub(r"\1", quoted[1])
        found = self._match(bare)
        if not found or not found[0].strip():
            raise self._wrong()
        return found[0].strip()

    def _ends(self, end: str) -> bool:
        if not end:
            return self._at == len(self._text)
        return self._takes(end)

    def _takes(self, sign: str) -> bool:
        if not self._text.startswith(sign, self._at):
            return False
        self._at += 1
        return True

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self._text, self._at)
        if found:
            self._at = found.end()
        return found

    def _wrong(self) -> NotUnderstood:
        return NotUnderstood(self._text.count("\n", 0, self._at) + 1)
