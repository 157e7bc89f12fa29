"""
Tag-lists by the grammar of each kind of record.

Key records have the strict grammar of RFC 6376, section 3.2. TLS-RPT and MTA-STS have fields with
other names. Readers of DMARC discard a tag with an error and read the others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .comparison import BACKSLASHES, QUOTES, InvalidText, cut

# RFC 6376, section 3.2: FWS is space and tab here, since a record has no line breaks.
BLANKS = " \t"
_PRINTABLE = re.compile(r"[\t\x20-\x7e]*")
# RFC 8460, section 3; RFC 8461, section 3.1: the value of an extension.
_EXTENSION_VALUE = re.compile(r"[!-:<>-~]+")


@dataclass(frozen=True)
class Grammar:
    """
    The grammar of one kind of record.

    section
        The section of the RFC that has the grammar.
    name
        The names of tags.
    example
        A tag for a message.
    fields
        The tags with a meaning, if all others are extensions with a grammar of their own.
    discards
        Whether readers discard a tag with an error, and read the others.
    """

    section: str
    name: re.Pattern[str]
    example: str
    fields: frozenset[str] = frozenset()
    discards: bool = False

    def is_tag(self, name: str, equals: str, value: str) -> bool:
        """Return whether a part of the list is a tag."""
        if not equals or not self.name.fullmatch(name):
            return False
        if self.discards:
            return bool(value)
        is_extension = bool(self.fields) and name not in self.fields
        return not is_extension or bool(_EXTENSION_VALUE.fullmatch(value))


_EXTENSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
KEY = Grammar("RFC 6376, section 3.2", re.compile(r"[A-Za-z][A-Za-z0-9_]*"), "p=…")
DMARC = Grammar("RFC 9989, section 4.8", re.compile(r"[A-Za-z]+"), "p=…", discards=True)
TLS_RPT = Grammar("RFC 8460, section 3", _EXTENSION_NAME, "rua=…", fields=frozenset({"v", "rua"}))
MTA_STS = Grammar("RFC 8461, section 3.1", _EXTENSION_NAME, "id=…", fields=frozenset({"v", "id"}))


@dataclass(frozen=True)
class TagList:
    """The tags of a text in order, and notes on what readers discard."""

    listed: Sequence[tuple[str, str]]
    notes: Sequence[str] = ()


def read(text: bytes, grammar: Grammar) -> TagList:
    """Return the tags of a text. Raises InvalidText if readers, or the RFC, refuse the text."""
    shown = text.decode("utf-8", "backslashreplace")
    if not grammar.discards and not _PRINTABLE.fullmatch(shown):
        raise InvalidText(f"it has octets that are no printable ASCII: {cut(shown)}")
    parts = shown.split(";")
    if len(parts) > 1 and not parts[-1].strip(BLANKS):
        parts.pop()
    if all("=" not in part for part in parts):
        raise InvalidText(f"it is {cut(shown)}")
    found: list[tuple[str, str]] = []
    seen: set[str] = set()
    notes: list[str] = []
    for part in parts:
        name, equals, value = (one.strip(BLANKS) for one in part.partition("="))
        is_empty = not (name or equals or value)
        if is_empty and not grammar.discards:
            raise InvalidText(
                'there is nothing between two ";", and verifiers drop the whole record'
            )
        if '"' in name or name.startswith("'") or value.endswith(('"', "\\")):
            raise InvalidText(BACKSLASHES if value.endswith("\\") else QUOTES)
        if is_empty:
            notes.append('nothing between two ";", for which older verifiers drop the record')
        elif not grammar.is_tag(name, equals, value) or not _PRINTABLE.fullmatch(value):
            problem = f"{cut(part.strip(BLANKS))!r} is no tag such as {grammar.example}"
            if not grammar.discards:
                raise InvalidText(problem)
            notes.append(f"{problem}, for which older verifiers drop the record")
        else:
            if name in seen:
                _refuse_repeated(name, grammar)
            seen.add(name)
            found.append((name, value))
    return TagList(found, list(dict.fromkeys(notes)))


def _refuse_repeated(name: str, grammar: Grammar) -> None:
    """Raise InvalidText for a tag that is there twice, unless it is an extension."""
    if not grammar.fields:
        # RFC 9989, section 4.7: DMARC has the tag-list of RFC 6376.
        raise InvalidText(
            f"{name}= is there twice, and verifiers drop the whole record ({KEY.section})"
        )
    if name in grammar.fields:
        raise InvalidText(
            f"{name}= is there twice, and {grammar.section}, does not say which one counts"
        )
