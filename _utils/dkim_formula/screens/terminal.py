"""The terminal that a screen is drawn for: its size, characters and colours."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..calls import typed

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "bold": "1"}
# The width without a terminal, where no line is broken.
_NO_LIMIT = 10**6

GAP = "  "


@dataclass(frozen=True)
class Terminal:
    """
    A terminal, or a file in its place.

    width
        The number of columns. None means that lines are not broken, as in a file.
    height
        The number of lines. Longer screens are shortened.
    colour
        Whether the terminal supports escape sequences (ECMA-48, section 8.3.117).
    utf8
        Whether the terminal shows characters beyond ASCII.
    """

    width: int | None = 80
    height: int = 24
    colour: bool = False
    utf8: bool = True

    @property
    def columns(self) -> int:
        """The width, or a large number without a limit."""
        return self.width or _NO_LIMIT

    @property
    def ok(self) -> str:
        """The mark of a passed check or a success."""
        return self.paint("✓" if self.utf8 else "ok", "green")

    @property
    def bad(self) -> str:
        """The mark of a problem."""
        return self.paint("✗" if self.utf8 else "!!", "red")

    @property
    def unknown(self) -> str:
        """The mark of an unknown result or a note."""
        return self.paint("?" if self.utf8 else "??", "yellow")

    @property
    def more(self) -> str:
        """The sign of a shortened text."""
        return "…" if self.utf8 else "..."

    def paint(self, text: str, colour: str) -> str:
        """Return a text in a colour, if the terminal supports colours."""
        return f"\033[{_COLOURS[colour]}m{text}\033[0m" if self.colour and text else text

    def printable(self, text: object) -> str:
        """
        Return untrusted text with escapes for some characters.

        These are control characters, which could control the terminal (CWE-150), and characters
        that the terminal does not support.
        """
        shown = "".join(char if char.isprintable() else _escaped(char) for char in str(text))
        return shown if self.utf8 else shown.encode("ascii", "backslashreplace").decode("ascii")

    def wrapped(self, text: object, indent: int = 0, hang: int | None = None) -> list[str]:
        """Return a text as indented lines that fit. A word that is too long is not broken."""
        lines = textwrap.wrap(
            self.printable(typed(" ".join(str(text).split()))),
            max(self.columns, indent + 20),
            initial_indent=" " * indent,
            subsequent_indent=" " * (indent if hang is None else hang),
            break_long_words=False,
            break_on_hyphens=False,
        )
        return lines or [""]

    def marked(self, mark: str, text: object, indent: int = 0) -> list[str]:
        """Return a text as indented lines that fit, with a mark before the first line."""
        first, *others = self.wrapped(text, indent + (2 if self.utf8 else 3))
        return [f"{' ' * indent}{mark} {first.lstrip()}", *others]


def has_utf8(environment: Mapping[str, str]) -> bool:
    """
    Return whether the locale has UTF-8, by the first of three variables that is set: locale(7).

    If none is set, Python sets LC_CTYPE to C.UTF-8 (PEP 538) whatever the terminal can show.
    """
    names = ("LC_ALL", "LC_CTYPE", "LANG")
    values = {name: environment.get(name, "") for name in names}
    if values["LC_CTYPE"] == "C.UTF-8" and values["LANG"] in ("", "C", "POSIX"):
        values["LC_CTYPE"] = ""
    chosen = next((value for value in values.values() if value), "")
    return "utf8" in chosen.lower().replace("-", "")


def cell_width(text: str) -> int:
    """Return the number of columns of a text: Unicode Standard Annex #11."""
    if text.isascii():
        return len(text)
    return sum(map(_columns_of, text))


def padded(text: str, width: int) -> str:
    """Return a text with blanks after it, up to a width."""
    return text + " " * (width - cell_width(text))


def widths(rows: Iterable[Sequence[str]]) -> list[int]:
    """Return the width of each column of a table."""
    return [max(map(cell_width, column)) for column in zip(*rows, strict=True)]


def row(cells: Sequence[str], wide: Sequence[int]) -> str:
    """Return one line of a table."""
    pairs = zip(cells, wide, strict=True)
    return GAP.join(padded(text, width) for text, width in pairs).rstrip()


def rows(cells: Sequence[Sequence[str]], columns: int, indent: int) -> list[str]:
    """Return a table's lines; if it exceeds the columns, each first cell above its other cells."""
    wide = widths(cells)
    if total(wide) <= columns:
        return [row(one, wide) for one in cells]
    return [f"{one[0]}\n{' ' * indent}{row(one[1:], wide[1:])}" for one in cells]


def total(wide: Sequence[int]) -> int:
    """Return the width of a table."""
    return sum(wide) + len(GAP) * (len(wide) - 1)


def _columns_of(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
