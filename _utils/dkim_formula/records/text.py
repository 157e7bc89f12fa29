"""Records as text: for a zone file, for a provider's web form, for a program."""

import json
from collections.abc import Callable, Iterable

from ..errors import InvalidValue
from .record import Record

# RFC 1035, section 3.3: a character-string holds 255 octets; a TXT record holds several.
MAX_STRING = 255


def bind(records: Iterable[Record]) -> str:
    """
    Lines that paste into a zone file (RFC 1035, section 5.1), names absolute, long texts split.

    The strings of one record are joined with nothing between by who reads it: RFC 6376,
    section 3.6.2.2.
    """
    return "".join(_zone_lines(record) for record in records)


def oneline(records: Iterable[Record]) -> str:
    """A line a record: name, type and whole value with tabs between, for web forms."""
    return "".join(f"{record.name}\t{record.type}\t{record.value}\n" for record in records)


def as_json(records: Iterable[Record]) -> str:
    """A JSON array of the records, each as :meth:`Record.as_plain` gives it."""
    return json.dumps([record.as_plain() for record in records], indent=2) + "\n"


FORMATS: dict[str, Callable[[Iterable[Record]], str]] = {
    "bind": bind,
    "oneline": oneline,
    "json": as_json,
}


def render(records: Iterable[Record], format_: str, where: str = "format") -> str:
    """
    The records in one of :data:`FORMATS`. Raises :class:`InvalidValue` for another format.
    """
    if format_ not in FORMATS:
        raise InvalidValue(where, format_, "is not a format", f"use one of {', '.join(FORMATS)}")
    return FORMATS[format_](records)


def _zone_lines(record: Record) -> str:
    head = f"{record.name}. {record.ttl} IN {record.type}"
    strings = [_quoted(part) for part in _split(record.value.encode())]
    if len(strings) == 1:
        return f"{head} {strings[0]}\n"
    body = "".join(f"\n\t{string}" for string in strings)
    return f"{head} ({body} )\n"


def _split(data: bytes) -> list[bytes]:
    # An empty text is one empty string: a TXT record holds one at least.
    return [data[at : at + MAX_STRING] for at in range(0, len(data) or 1, MAX_STRING)]


def _quoted(data: bytes) -> str:
    return f'"{"".join(_ESCAPED[octet] for octet in data)}"'


def _escaped(octet: int) -> str:
    if octet in b'"\\':
        return f"\\{chr(octet)}"
    return chr(octet) if 0x20 <= octet <= 0x7E else f"\\{octet:03d}"


_ESCAPED = [_escaped(octet) for octet in range(256)]
