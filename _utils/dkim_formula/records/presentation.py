"""Values of records in the form of zone files. Source: RFC 1035, section 5.1."""

from .record import Record

# RFC 1035, section 3.3: a character-string holds 255 octets; a TXT record holds several.
MAX_STRING = 255


def rdata_lines(record: Record) -> list[str]:
    """Return the parts of the value: a TXT record's quoted strings, or a CNAME's target."""
    if record.type == "CNAME":
        return [f"{record.value}."]
    return [_quoted(part) for part in split(record.value.encode())]


def split(data: bytes) -> list[bytes]:
    """Return the strings of a TXT record: at least one, which is empty for an empty text."""
    return [data[at : at + MAX_STRING] for at in range(0, len(data) or 1, MAX_STRING)]


def _quoted(data: bytes) -> str:
    return f'"{"".join(_ESCAPED[octet] for octet in data)}"'


def _escaped(octet: int) -> str:
    if octet in b'"\\':
        return f"\\{chr(octet)}"
    return chr(octet) if 0x20 <= octet <= 0x7E else f"\\{octet:03d}"


_ESCAPED = [_escaped(octet) for octet in range(256)]
