"""The keys of a program and the mail that each key signs, in the form of OpenDKIM's tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..errors import InvalidValue
from ..secret import Secret
from .data_set import FILE, REFILE, DataSet, Row
from .key_table import Entry, Refusal, entry, valid_domain
from .signing_table import SigningTable


@dataclass
class Held:
    """
    The keys of one program.

    entries
        The keys by a name: the program's own name, or one made of the key's location.
    signing
        The patterns of senders with the key for each; None if each key signs for its own domain.
    refused
        Keys and lines that are not imported.
    notes
        Sentences for the person who runs the import.
    is_on
        Whether the program signs mail today.
    signed_as
        Domains that the program signs as another domain without a line of their own, each with that
        domain.
    rows_name_files
        Whether rows of a database name the key files. The program that writes these rows may lack
        the right to read every file of the machine, so the files have to be below ``folder``.
    folder
        The folder of the key files; empty if the files may be anywhere.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    signing: SigningTable | None = None
    refused: list[Refusal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_on: bool = True
    signed_as: dict[str, str] = field(default_factory=dict)
    rows_name_files: bool = False
    folder: str = ""

    def add(
        self, name: str, domain: object, selector: object, key_or_path: str, location: str
    ) -> bool:
        """Add a key and return True, or refuse it for a wrong domain or selector."""
        label = f"{name} ({location})"
        try:
            self.entries[name] = entry(name, domain, selector, Secret(key_or_path), location)
        except InvalidValue as error:
            self.refuse(label, str(error), domain)
            return False
        return True

    def refuse(self, label: str, reason: str, domain: object = "") -> None:
        """
        Note that a key or a line is not imported, with the reason.

        domain
            The domain whose mail the key signs, if known. Its first key waits for its record.
        """
        self.refused.append(Refusal(label, reason, valid_domain(domain)))

    def sign(self, *lines: tuple[str, str, str]) -> None:
        """
        Set the lines of the signing table: pattern, key name and location.

        The patterns are literal (``user@example.com``, ``example.com``, ``.example.com``). If two
        lines have the same pattern, the first line counts.
        """
        self.signing = SigningTable(DataSet(FILE, _rows(lines)))

    def sign_with_all(self, *lines: tuple[str, str, str]) -> None:
        """Set the lines of the signing table; all lines with the same pattern sign."""
        # The first pattern that matches counts, so longer patterns come first.
        ranked = sorted(lines, key=lambda line: (line[0].startswith("."), -len(line[0])))
        rows = _rows((_wild(line[0]), *line[1:]) for line in ranked)
        self.signing = SigningTable(DataSet(REFILE, rows), all_sign=True)


def _rows(lines: Iterable[tuple[str, str, str]]) -> tuple[Row, ...]:
    return tuple(Row(pattern, Secret(name), location) for pattern, name, location in lines)


def _wild(pattern: str) -> str:
    if "@" in pattern:
        return pattern
    return f"*@*{pattern}" if pattern.startswith(".") else f"*@{pattern}"
