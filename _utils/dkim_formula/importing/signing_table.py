"""OpenDKIM's SigningTable: the name of a key for each sender's address."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..errors import InvalidValue
from ..names import email_address, mail_domain
from ..secret import Secret
from .data_set import REFILE, DataSet, Row

# The kinds of patterns that the formula supports.
ADDRESS = "address"  # user@example.com
HOST = "host"  # example.com without its subdomains
SUBDOMAINS = "subdomains"  # all subdomains of example.com
EVERY = "every"  # any sender

NO_COUNTERPART = "is a pattern that the formula has no counterpart for"

# OpenDKIM's dkimf_mkregexp() makes ``.*`` of each asterisk, so several in a row match as one does.
_ASTERISKS = re.compile(r"\*+")
_ANY_ENDING = re.compile(r"\*(?:@\*)?([^.@*][^@*]*)")


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


@dataclass(frozen=True)
class RefusedLine:
    """
    A row of the SigningTable that is not imported.

    entry, reason
        As in :class:`Refusal`.
    pattern, key_name
        As in :class:`Line`; the key's name is empty if the row has none.
    """

    entry: str
    reason: str
    # Not in a repr: in a KeyTable given by mistake they may be a line of a key.
    pattern: str = field(repr=False)
    key_name: str = field(repr=False)


class SigningTable:
    """
    The lines of a SigningTable, with OpenDKIM's lookup: opendkim.conf(5), «SigningTable».

    table
        The rows; their patterns have wildcards in a ``refile:`` and are literal in other tables.
    all_sign
        Whether several lines of a ``refile:`` with one pattern all sign (MultipleSignatures).
        Otherwise only the first of these lines counts.
    """

    def __init__(self, table: DataSet, all_sign: bool = False):
        self.wild = table.kind == REFILE
        self._all_sign = all_sign and self.wild
        self.lines: list[Line] = []
        self.refused: list[RefusedLine] = []
        self._by_subject: dict[tuple[str, str], list[Line]] = {}
        for number, row in enumerate(table.rows):
            try:
                line = self._line(number, row)
            except InvalidValue as error:
                named = row.value.reveal()
                shown = f"{row.key} ({row.location})" if named else row.location
                key_name = named.partition(":")[0].strip()
                self.refused.append(RefusedLine(shown, str(error), row.key, key_name))
            else:
                self.lines.append(line)
                self._by_subject.setdefault((line.kind, line.subject.lower()), []).append(line)

    def _line(self, number: int, row: Row) -> Line:
        key_name, _, signer = row.value.reveal().partition(":")
        if not key_name.strip():
            # The error hides the row: in a KeyTable given by mistake it may be a line of a key.
            raise InvalidValue("row", Secret(""), "is not PATTERN KEYNAME")
        kind, subject = classify(row.key, self.wild)
        line = Line(kind, subject, key_name.strip(), signer.strip(), number, row.key, row.location)
        earlier = self._by_subject.get((kind, subject.lower()))
        if earlier and not self._all_sign:
            self._refuse_duplicate(line, earlier[0])
        return line

    def _refuse_duplicate(self, line: Line, first: Line) -> None:
        """
        Raise InvalidValue for a line whose sender an earlier line has.

        In a refile: a second line that names the same key does no harm: its pattern may match more.
        """
        if not self.wild:
            problem = "is a duplicate; OpenDKIM takes the first row of such a table"
            raise InvalidValue("pattern", line.pattern, problem)
        if line.key_name == first.key_name:
            return
        matches_more = is_any_ending(line.pattern) and not is_any_ending(first.pattern)
        raise InvalidValue(
            "pattern",
            line.pattern,
            "is left out: without MultipleSignatures OpenDKIM signs with the first line that "
            f"matches, {first.label()}",
            f"give names such as sub.{line.subject} lines of their own" if matches_more else "",
        )

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
    if wild:
        return _wild(pattern)
    return (EVERY, "") if pattern == "*" else _literal(pattern)


def _wild(pattern: str) -> tuple[str, str]:
    pattern = _ASTERISKS.sub("*", pattern)
    if pattern in ("*", "*@*"):
        return EVERY, ""
    for prefix, kind in (("*@*.", SUBDOMAINS), ("*@", HOST), ("*.", SUBDOMAINS)):
        rest = pattern.removeprefix(prefix)
        if rest != pattern and "*" not in rest and "@" not in rest:
            return kind, mail_domain(rest, "pattern")
    if ending := _ANY_ENDING.fullmatch(pattern):
        return HOST, mail_domain(ending[1], "pattern")
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
    Return whether a pattern of a refile: has the form ``*example.com`` or ``*@*example.com``.

    The asterisk matches any text, so sub.example.com and myexample.com match too (measured).
    """
    return _ANY_ENDING.fullmatch(_ASTERISKS.sub("*", pattern)) is not None


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
