"""The KeyTable: from a key's name to signing domain, selector and private key."""

from dataclasses import dataclass

from ..errors import InvalidValue
from ..names import mail_domain, served_selector
from ..secret import Secret
from .data_set import REFILE, DataSet, Row

# In the place of a domain or a key's name: the domain of the message's sender.
SENDER = "%"


@dataclass(frozen=True)
class Refusal:
    """
    Something that is not taken: the ``entry`` as a person finds it, and the ``reason``; and the
    domain whose mail its key signs, where that is known.
    """

    entry: str
    reason: str
    domain: str = ""

    def to_dict(self) -> dict[str, str]:
        """For a function's return."""
        return {"entry": self.entry, "reason": self.reason}


@dataclass(frozen=True)
class Entry:
    """
    A KeyTable's row.

    name
        What the SigningTable calls it by; OpenDKIM compares it with its case.
    domain
        The signing domain (``d=``), or ``%`` for the sender's.
    selector
        ``s=``.
    material
        The third field: a path, or the key itself.
    place
        The table and the line.
    """

    name: str
    domain: str
    selector: str
    material: Secret
    place: str

    def label(self) -> str:
        """For people."""
        return f"{self.name} ({self.place})"


def read_key_table(table: DataSet) -> tuple[dict[str, Entry], list[Refusal]]:
    """
    The entries by name, and the rows that are none. Source: opendkim.conf(5), «KeyTable».

    Of two rows with one name OpenDKIM reads the first; the second is refused.
    """
    entries: dict[str, Entry] = {}
    refused = []
    for row in table.rows:
        try:
            entry = _entry(row, table.kind)
        except InvalidValue as error:
            refused.append(Refusal(_shown(row), str(error), _domain_of(row)))
            continue
        if entry.name in entries:
            said = f"is given before, {entries[entry.name].place}: that counts"
            error = InvalidValue("name", entry.name, said)
            refused.append(Refusal(_shown(row), str(error)))
        else:
            entries[entry.name] = entry
    return entries, refused


def _fields(row: Row) -> list[str]:
    return [field.strip() for field in row.value.reveal().split(":", 2)]


def _domain_of(row: Row) -> str:
    """Return the signing domain of a row that is no entry; empty where that is none."""
    try:
        return mail_domain(_fields(row)[0])
    except InvalidValue:
        return ""


def _shown(row: Row) -> str:
    # In a row that is no entry even the first word may be a line of a key's text.
    is_entry = len(_fields(row)) == 3
    return f"{row.key} ({row.place})" if is_entry else row.place


def _entry(row: Row, kind: str) -> Entry:
    fields = _fields(row)
    if len(fields) != 3 or not all(fields):
        raise InvalidValue("row", Secret(""), "is not NAME DOMAIN:SELECTOR:KEY")
    if not row.key:
        raise InvalidValue("name", "", "is empty: OpenDKIM passes over an indented line")
    if kind == REFILE and "*" in row.key:
        raise InvalidValue("name", row.key, "is a pattern", "give each key a name")
    return entry(row.key, fields[0], fields[1], Secret(fields[2]), row.place)


def entry(name: str, domain: str, selector: str, material: Secret, place: str) -> Entry:
    """Return an entry with its names checked. Raises InvalidValue."""
    signing_domain = domain if domain == SENDER else mail_domain(domain, "domain")
    return Entry(name, signing_domain, served_selector(selector, "selector"), material, place)
