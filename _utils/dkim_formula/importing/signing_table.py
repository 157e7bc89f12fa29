"""The SigningTable: from a sender's address to the name of a key."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import InvalidValue
from ..names import email_address, mail_domain
from ..secret import Secret
from .data_set import REFILE, DataSet, Row
from .key_table import Refusal

# The kinds of pattern that the formula has a counterpart for.
ADDRESS = "address"  # user@example.com
HOST = "host"  # example.com and nothing under it
SUBDOMAINS = "subdomains"  # everything under example.com
EVERY = "every"  # any sender

NO_COUNTERPART = "is a pattern that the formula has no counterpart for"


@dataclass(frozen=True)
class Line:
    """
    A row of the table.

    kind, subject
        What it matches: a kind from above, and the address or domain (``''`` for ``EVERY``).
    key_name
        The KeyTable's name of the key, or ``%`` for the sender's domain.
    signer
        What goes into ``i=``, or ``''``.
    number
        Its rank in the table.
    """

    kind: str
    subject: str
    key_name: str
    signer: str
    number: int
    pattern: str
    place: str

    def label(self) -> str:
        """For people."""
        return f"{self.pattern} ({self.place})"


class SigningTable:
    """
    The lines of a table, looked up as OpenDKIM does. Source: opendkim.conf(5), «SigningTable».

    table
        Patterns with wildcards where it is a ``refile:``, else literal ones.
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
                shown = f"{row.key} ({row.place})" if row.value.reveal() else row.place
                self.refused.append(Refusal(shown, str(error)))
            else:
                self.lines.append(line)
                self._by_subject.setdefault((line.kind, line.subject.lower()), []).append(line)

    def _line(self, number: int, row: Row) -> Line:
        key_name, _, signer = row.value.reveal().partition(":")
        if not key_name.strip():
            # The row is not shown: of a KeyTable given by mistake it may be a line of a key.
            raise InvalidValue("row", Secret(""), "is not PATTERN KEYNAME")
        kind, subject = classify(row.key, self.wild)
        if not self.wild and (kind, subject.lower()) in self._by_subject:
            raise InvalidValue(
                "pattern", row.key, "is given before; OpenDKIM takes the first row of such a table"
            )
        return Line(kind, subject, key_name.strip(), signer.strip(), number, row.key, row.place)

    def signing(self, host: str, address: str = "") -> list[Line]:
        """
        The lines that sign for a sender: those with the pattern that OpenDKIM comes to first.

        host
            The sender's domain.
        address
            The sender, for lines that are for one address; ``''`` is anybody else.
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
    What a pattern matches: a kind, and the address or domain.

    wild
        The pattern is one of a ``refile:``, held against the whole ``user@host``, with ``*`` for
        any text; else it is literal, and OpenDKIM looks for ``user@host``, ``host``, ``.parent``
        and ``*`` in turn.

    Raises InvalidValue for a pattern that never matches or that the formula can't have.
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
    Tell whether a pattern of a refile: is ``*example.com``, which stands for ``*@example.com``.

    The asterisk is any text, so that sub.example.com and myexample.com match too (measured).
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
