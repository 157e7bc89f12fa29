"""What a program holds of keys, and whose mail it signs with each, in the form of two tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..errors import InvalidValue
from ..secret import Secret
from .data_set import FILE, REFILE, DataSet, Row
from .key_table import Entry, Refusal, entry
from .signing_table import SigningTable


@dataclass
class Held:
    """
    The keys of one program.

    entries
        By a name that is the program's own or stands for the place of the key.
    signing
        Whose mail is signed with which; None: each key signs for its own domain.
    rows_name_files
        Whether rows of a database name the key files: a program may write such a row that is not
        to read every file of the machine, so the files have to lie below ``folder``.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    signing: SigningTable | None = None
    refused: list[Refusal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rows_name_files: bool = False
    folder: str = ""

    def add(self, name: str, domain: object, selector: object, material: str, place: str) -> bool:
        """Add a key, or refuse it where its names are wrong; return whether it was added."""
        label = f"{name} ({place})"
        try:
            self.entries[name] = entry(name, domain, selector, Secret(material), place)
        except InvalidValue as error:
            self.refuse(label, str(error))
            return False
        return True

    def refuse(self, label: str, reason: str) -> None:
        """Say of something that it is not taken over, and why."""
        self.refused.append(Refusal(label, reason))

    def sign(self, *lines: tuple[str, str, str]) -> None:
        """
        Set whose mail is signed: pattern, name of the key and place, as in a SigningTable of
        literal patterns (``user@example.com``, ``example.com``, ``.example.com``). Of two lines
        with one pattern the first counts.
        """
        self.signing = _table(FILE, lines)

    def sign_with_all(self, *lines: tuple[str, str, str]) -> None:
        """Set whose mail is signed, with the key of each line that has the pattern."""
        # The first pattern that fits counts, so the more special ones come first.
        ranked = sorted(lines, key=lambda line: (line[0].startswith("."), -len(line[0])))
        self.signing = _table(REFILE, [(_wild(line[0]), *line[1:]) for line in ranked])


def _table(kind: str, lines: Iterable[tuple[str, str, str]]) -> SigningTable:
    rows = [Row(pattern, Secret(name), place) for pattern, name, place in lines]
    return SigningTable(DataSet(kind, tuple(rows)))


def _wild(pattern: str) -> str:
    if "@" in pattern:
        return pattern
    return f"*@*{pattern}" if pattern.startswith(".") else f"*@{pattern}"
