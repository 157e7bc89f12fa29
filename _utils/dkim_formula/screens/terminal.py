"""The terminal that a screen is drawn for: its size, its letters, its colours."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "bold": "1"}
# Where the output is no terminal, no line is broken.
_NO_LIMIT = 10**6

GAP = "  "


@dataclass(frozen=True)
class Terminal:
    """
    width
        Columns; None where lines are not to be broken, as in a file.
    height
        Lines: what is longer is cut down to what is not at rest.
    colour
        Use escape sequences (ECMA-48, section 8.3.117).
    utf8
        Use letters and signs beyond ASCII.
    """

    width: int | None = 80
    height: int = 24
    colour: bool = False
    utf8: bool = True

    @property
    def columns(self) -> int:
        """The width, a great number where there is no limit."""
        return self.width or _NO_LIMIT

    @property
    def ok(self) -> str:
        """The mark of what is right."""
        return self.paint("✓" if self.utf8 else "ok", "green")

    @property
    def bad(self) -> str:
        """The mark of what is wrong."""
        return self.paint("✗" if self.utf8 else "!!", "red")

    @property
    def unknown(self) -> str:
        """The mark of what nobody can tell."""
        return self.paint("?" if self.utf8 else "??", "yellow")

    @property
    def more(self) -> str:
        """The sign that a text is cut."""
        return "…" if self.utf8 else "..."

    def paint(self, text: str, colour: str) -> str:
        """Return a text in a colour, where colours are wanted."""
        return f"\033[{_COLOURS[colour]}m{text}\033[0m" if self.colour and text else text

    def printable(self, text: object) -> str:
        """
        Return foreign text without control characters, which could steer a terminal (CWE-150), and
        without letters that the terminal lacks.
        """
        shown = "".join(char if char.isprintable() else _escaped(char) for char in str(text))
        return shown if self.utf8 else shown.encode("ascii", "backslashreplace").decode("ascii")

    def wrapped(self, text: object, indent: int = 0, hang: int | None = None) -> list[str]:
        """Return a text as lines that fit, indented; a word that is too long keeps whole."""
        lines = textwrap.wrap(
            self.printable(" ".join(str(text).split())),
            max(self.columns, indent + 20),
            initial_indent=" " * indent,
            subsequent_indent=" " * (indent if hang is None else hang),
            break_long_words=False,
            break_on_hyphens=False,
        )
        return lines or [""]

    def marked(self, mark: str, text: object) -> list[str]:
        """Return a text as lines that fit, the first one behind a mark."""
        first, *others = self.wrapped(text, 2 if self.utf8 else 3)
        return [f"{mark} {first.lstrip()}", *others]


def cell_width(text: str) -> int:
    """Return how many columns a text takes: Unicode Standard Annex #11."""
    if text.isascii():
        return len(text)
    return sum(map(_columns_of, text))


def padded(text: str, width: int) -> str:
    """Return a text with blanks behind, up to a width."""
    return text + " " * (width - cell_width(text))


def widths(rows: Iterable[Sequence[str]]) -> list[int]:
    """Return how wide each column of a table is."""
    return [max(map(cell_width, column)) for column in zip(*rows, strict=True)]


def row(cells: Sequence[str], wide: Sequence[int]) -> str:
    """Return one line of a table."""
    pairs = zip(cells, wide, strict=True)
    return GAP.join(padded(text, width) for text, width in pairs).rstrip()


def total(wide: Sequence[int]) -> int:
    """Return how wide a table is."""
    return sum(wide) + len(GAP) * (len(wide) - 1)


def _columns_of(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
