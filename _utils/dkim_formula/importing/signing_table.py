"""OpenDKIM's SigningTable: the name of a key for each sender's address."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import InvalidValue
from ..names import email_address, mail_domain
from ..secret import Secret
from .data_set import REFILE, DataSet, Row
from .key_table import Refusal

# The kinds of patterns that the formula supports.
ADDRESS = "address"  # user@example.com
HOST = "host"  # example.com without its subdomains
SUBDOMAINS = "subdomains"  # all subdomains of example.com
EVERY = "every"  # any sender

NO_COUNTERPART = "is a pattern that the formula has no counterpart for"


@dataclass(frozen=True)
class Line:
    """
    A row of the SigningTable.

    kind, subject
        The kind of the pattern, and the address or domain that the pattern matches (``''`` for
        ``EVERY``).
    key_name
        The key's name in the KeyTable, or ``%`` for the sender's domain.
    signer
        The value for ``i=``, or ``''``.
    number
        The rank in the table.
    pattern, location
        The pattern as written; the table and the line, as text.
    """

    kind: str
    subject: str
    key_name: str
    signer: str
    number: int
    pattern: str
    location: str

    def label(self) -> str:
        """Return pattern and location as text."""
        return f"{self.pattern} ({self.location})"


class SigningTable:
    """
    The lines of a SigningTable, with OpenDKIM's lookup: opendkim.conf(5), «SigningTable».

    table
        The rows; their patterns have wildcards in a ``refile:`` and are literal in other tables.
    """

    def __init__(self, table: DataSet):
        self.wild = table.kind == REFILE
        self.lines: list[Line] = []
        self.refused: list[Refusal] = []
        self._by_subject: dict[tuple[str, str], list[Line]] = {}
        for number, row in enumerate(table.rows):
            try:
                line = self._line(number, row)
            except InvalidValue as error:
                shown = f"{row.key} ({row.location})" if row.value.reveal() else row.location
                self.refused.append(Refusal(shown, str(error)))
            else:
                self.lines.append(line)
                self._by_subject.setdefault((line.kind, line.subject.lower()), []).append(line)

    def _line(self, number: int, row: Row) -> Line:
        key_name, _, signer = row.value.reveal().partition(":")
        if not key_name.strip():
            # The error hides the row: in a KeyTable given by mistake it may be a line of a key.
            raise InvalidValue("row", Secret(""), "is not PATTERN KEYNAME")
        kind, subject = classify(row.key, self.wild)
        if not self.wild and (kind, subject.lower()) in self._by_subject:
            raise InvalidValue(
                "pattern", row.key, "is a duplicate; OpenDKIM takes the first row of such a table"
            )
        return Line(kind, subject, key_name.strip(), signer.strip(), number, row.key, row.location)

    def signing(self, host: str, address: str = "") -> list[Line]:
        """
        Return the lines that sign for a sender: those with the first pattern that matches.

        host
            The sender's domain.
        address
            The sender's address, or ``''`` for a sender without a line of its own.
        """
        found = [
            lines
            for subject in _subjects(host, address)
            if (lines := self._by_subject.get(subject)) is not None
        ]
        if not found:
            return []
        return min(found, key=lambda lines: lines[0].number) if self.wild else found[0]


def classify(pattern: str, wild: bool) -> tuple[str, str]:
    """
    Return the kind of a pattern, and the address or domain that the pattern matches.

    wild
        Whether the pattern is from a ``refile:``. OpenDKIM compares such a pattern with the whole
        ``user@host``, and ``*`` matches any text. In other tables patterns are literal: OpenDKIM
        looks up ``user@host``, ``host``, ``.parent`` and ``*`` in this order.

    Raises InvalidValue for a pattern that never matches or that the formula does not support.
    """
    if not pattern:
        raise InvalidValue("pattern", "", "is empty: OpenDKIM passes over an indented line")
    if pattern == "*" or (wild and pattern == "*@*"):
        return EVERY, ""
    return _wild(pattern) if wild else _literal(pattern)


def _wild(pattern: str) -> tuple[str, str]:
    for prefix, kind in (("*@*.", SUBDOMAINS), ("*@", HOST), ("*.", SUBDOMAINS)):
        rest = pattern.removeprefix(prefix)
        if rest != pattern and "*" not in rest and "@" not in rest:
            return kind, mail_domain(rest, "pattern")
    if is_any_ending(pattern):
        return HOST, mail_domain(pattern[1:], "pattern")
    if "*" in pattern:
        raise InvalidValue("pattern", pattern, NO_COUNTERPART)
    if "@" not in pattern:
        raise InvalidValue(
            "pattern",
            pattern,
            "never matches: a refile: holds its patterns against user@host",
            f"*@{pattern} is meant, perhaps",
        )
    return ADDRESS, email_address(pattern, "pattern")


def is_any_ending(pattern: str) -> bool:
    """
    Return whether a pattern of a refile: has the form ``*example.com``, without an at sign.

    The asterisk matches any text, so sub.example.com and myexample.com match too (measured).
    """
    rest = pattern[1:]
    return pattern.startswith("*") and rest[:1] not in ("", ".", "@") and not {*"*@"} & {*rest}


def _literal(pattern: str) -> tuple[str, str]:
    if "@" not in pattern:
        if pattern.startswith("."):
            return SUBDOMAINS, mail_domain(pattern[1:], "pattern")
        return HOST, mail_domain(pattern, "pattern")
    user, _, host = pattern.rpartition("@")
    if user == "*":
        raise InvalidValue(
            "pattern",
            pattern,
            "never matches: an asterisk is a wildcard in a refile: alone",
            "give the table as refile: if OpenDKIM reads it so",
        )
    if host == "*" or host.startswith("."):
        raise InvalidValue("pattern", pattern, NO_COUNTERPART)
    return ADDRESS, email_address(pattern, "pattern")


def _subjects(host: str, address: str) -> Iterator[tuple[str, str]]:
    if address:
        yield ADDRESS, address.lower()
    yield HOST, host
    parent = host.partition(".")[2]
    while parent:
        yield SUBDOMAINS, parent
        parent = parent.partition(".")[2]
    yield EVERY, ""
