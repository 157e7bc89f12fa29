"""Which texts at a name are a record of one kind."""

import re
from collections.abc import Iterable

from ..record_names import is_key_record, is_report_record

# Records that share their name with others of their type: a reader takes those that begin so, and
# passes the rest over. Capitals count in all but SPF, blanks about the "=" are DMARC's alone.
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
# What begins so is meant as such a record, and no reader takes it for one: quotes and blanks that
# were pasted with it, capitals, a version that is not the first tag.
_MEANT = {
    "dmarc": b"DMARC1",
    "dmarc-report": b"DMARC1",
    "spf": b"spf1",
    "tls-rpt": b"TLSRPTv1",
    "mta-sts": b"STSv1",
}


def of_kind(purpose: str, values: Iterable[bytes]) -> list[bytes]:
    """
    Those of a name's texts that are taken for a record of a purpose. All are at a key record's
    name: its ``v=`` may be left out (RFC 6376, section 3.6.1).
    """
    beginning = _BEGINNINGS.get(purpose)
    return [value for value in values if beginning is None or beginning.match(value)]


def meant_as(purpose: str, values: Iterable[bytes]) -> list[bytes]:
    """Those that are of a kind, or were meant to be and are read by nobody."""
    version = _MEANT.get(purpose)
    if version is None:
        return list(values)
    meant = re.compile(
        rb"[\s\"'\\]*([^\"]*;[ \t]*)?v[ \t]*=[ \t]*" + version + rb"(?=[;\s\"'\\]|$)", re.IGNORECASE
    )
    return [value for value in values if meant.match(value)]


def purpose_of(name: str, value: str) -> str:
    """What a text that the formula published is for, by its name and its beginning."""
    if is_key_record(name):
        return "dkim"
    purposes = (one for one, begins in _BEGINNINGS.items() if begins.match(value.encode()))
    found = next(purposes, "")
    return "dmarc-report" if found == "dmarc" and is_report_record(name) else found
