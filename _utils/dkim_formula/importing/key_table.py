"""OpenDKIM's KeyTable: the signing domain, selector and private key for each key name."""

from dataclasses import dataclass

from ..errors import InvalidValue
from ..names import mail_domain, served_selector
from ..secret import Secret
from .data_set import REFILE, DataSet, Row

# Instead of a domain or a key name: the domain of the message's sender.
SENDER = "%"


@dataclass(frozen=True)
class Refusal:
    """
    A key or a line that is not imported.

    entry
        Its name and location, as text.
    reason
        The reason why it is not imported.
    domain
        The domain whose mail the key signs, if known.
    """

    entry: str
    reason: str
    domain: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return the data for a function's return."""
        return {"entry": self.entry, "reason": self.reason}


@dataclass(frozen=True)
class Entry:
    """
    A row of the KeyTable.

    name
        The name that the SigningTable uses; OpenDKIM compares names case-sensitively.
    domain
        The signing domain (``d=``), or ``%`` for the sender's domain.
    selector
        The selector (``s=``).
    key_or_path
        The third field: the path of a key file, or the key itself.
    location
        The table and the line, as text.
    """

    name: str
    domain: str
    selector: str
    key_or_path: Secret
    location: str

    def label(self) -> str:
        """Return name and location as text."""
        return f"{self.name} ({self.location})"


def read_key_table(table: DataSet) -> tuple[dict[str, Entry], list[Refusal]]:
    """
    Return the entries by name, and the refused rows. Source: opendkim.conf(5), «KeyTable».

    If two rows have the same name, OpenDKIM reads the first row. The second row is refused.
    """
    entries: dict[str, Entry] = {}
    refused = []
    for row in table.rows:
        try:
            entry = _entry(row, table.kind)
        except InvalidValue as error:
            refused.append(Refusal(_shown(row), str(error), valid_domain(_fields(row)[0])))
            continue
        if entry.name in entries:
            problem = f"is a duplicate: OpenDKIM reads {entries[entry.name].location}"
            error = InvalidValue("name", entry.name, problem)
            refused.append(Refusal(_shown(row), str(error)))
        else:
            entries[entry.name] = entry
    return entries, refused


def _fields(row: Row) -> list[str]:
    return [field.strip() for field in row.value.reveal().split(":", 2)]


def valid_domain(text: object) -> str:
    """Return the domain that a text names, in the form of a key's domain; ``''`` for any other."""
    try:
        return mail_domain(text)
    except InvalidValue:
        return ""


def _shown(row: Row) -> str:
    # The first word of a malformed row may be a line of a key's text.
    is_entry = len(_fields(row)) == 3
    return f"{row.key} ({row.location})" if is_entry else row.location


def _entry(row: Row, kind: str) -> Entry:
    fields = _fields(row)
    if len(fields) != 3 or not all(fields):
        raise InvalidValue("row", Secret(""), "is not NAME DOMAIN:SELECTOR:KEY")
    if not row.key:
        raise InvalidValue("name", "", "is empty: OpenDKIM passes over an indented line")
    if kind == REFILE and "*" in row.key:
        raise InvalidValue("name", row.key, "is a pattern", "give each key a name")
    return entry(row.key, fields[0], fields[1], Secret(fields[2]), row.location)


def entry(name: str, domain: str, selector: str, key_or_path: Secret, location: str) -> Entry:
    """Return an entry. Raises InvalidValue for a wrong domain or selector."""
    signing_domain = domain if domain == SENDER else mail_domain(domain, "domain")
    return Entry(name, signing_domain, served_selector(selector, "selector"), key_or_path, location)
