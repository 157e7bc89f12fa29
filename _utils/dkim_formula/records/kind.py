"""Selection of the texts at a name that are records of one kind."""

import re
from collections.abc import Iterable

from ..record_names import is_key_record, is_report_record

# The beginnings of records that share their name with other records of their type. A reader ignores
# records with another beginning. Capitals count except in SPF, and DMARC alone allows blanks around
# the "=".
# RFC 9989 sections 4.8 and 4.10, RFC 9990 section 4, RFC 7208 section 4.5, RFC 8460 section 3,
# RFC 8461 section 3.1.
_END = rb"(?=[;\s]|$)"
_DMARC = re.compile(rb"v[ \t]*=[ \t]*DMARC1" + _END)
_BEGINNINGS = {
    "dmarc": _DMARC,
    "dmarc-report": _DMARC,
    "spf": re.compile(rb"v=spf1" + _END, re.IGNORECASE),
    "tls-rpt": re.compile(rb"v=TLSRPTv1" + _END),
    "mta-sts": re.compile(rb"v=STSv1" + _END),
}
# The beginnings for messages.
_REQUIRED = {
    "dmarc": "v=DMARC1 (RFC 9989, section 4.8)",
    "dmarc-report": "v=DMARC1 (RFC 9990, section 4)",
    "spf": "v=spf1 (RFC 7208, section 4.5)",
    "tls-rpt": "v=TLSRPTv1 (RFC 8460, section 3)",
    "mta-sts": "v=STSv1 (RFC 8461, section 3.1)",
}
# The versions by which a text is meant as such a record, although every reader ignores it for its
# pasted quotes or blanks, its capitals, or another first tag.
_MEANT = {
    "dmarc": b"DMARC1",
    "dmarc-report": b"DMARC1",
    "spf": b"spf1",
    "tls-rpt": b"TLSRPTv1",
    "mta-sts": b"STSv1",
}
# Blanks, quotes and backslashes that were pasted before a text.
_PASTED = b" \t\n\r\f\v\"'\\"


def of_kind(purpose: str, values: Iterable[bytes]) -> list[bytes]:
    """
    Return the texts at a name that readers take for a record of a purpose.

    At a key record's name these are all texts: ``v=`` may be left out (RFC 6376, section 3.6.1).
    """
    beginning = _BEGINNINGS.get(purpose)
    return [value for value in values if beginning is None or beginning.match(value)]


def required_beginning(purpose: str) -> str:
    """Return the beginning that a text of a purpose needs, with the RFC that requires it."""
    return _REQUIRED[purpose]


def meant_as(purpose: str, values: Iterable[bytes]) -> list[bytes]:
    """Return the texts that are a record of a purpose, or are meant as one but malformed."""
    version = _MEANT.get(purpose)
    if version is None:
        return list(values)
    meant = re.compile(
        rb"([^\"]*;[ \t]*)?v[ \t]*=[ \t]*" + version + rb"(?=[;\s\"'\\]|$)", re.IGNORECASE
    )
    # Not a part of the expression: its time would grow with the square of the number of blanks.
    return [value for value in values if meant.match(value.lstrip(_PASTED))]


def purpose_of(name: str, value: str) -> str:
    """Return the purpose of a text that the formula published, by its name and its beginning."""
    if is_key_record(name):
        return "dkim"
    purposes = (one for one, begins in _BEGINNINGS.items() if begins.match(value.encode()))
    found = next(purposes, "")
    return "dmarc-report" if found == "dmarc" and is_report_record(name) else found
