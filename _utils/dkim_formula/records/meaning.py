"""
Comparison of a text in DNS with a desired record, by meaning.

DNS panels rewrite values: they reorder tags, drop or add spaces, split strings elsewhere and write
defaults out. A text passes if every verifier must read the same from it. Its differences in writing
are advice. Any other difference is a problem, with one reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .comparison import Comparison, cut
from .key_meaning import compare_key
from .kind import of_kind, required_beginning
from .policy_meaning import compare_dmarc, compare_dmarc_report, compare_mta_sts, compare_tls_rpt
from .record import Record
from .spf_meaning import compare_spf

_BY_PURPOSE: Mapping[str, Callable[[str, bytes], Comparison]] = {
    "dkim": compare_key,
    "dmarc": compare_dmarc,
    "dmarc-report": compare_dmarc_report,
    "spf": compare_spf,
    "tls-rpt": compare_tls_rpt,
    "mta-sts": compare_mta_sts,
}


def compare(record: Record, found: bytes) -> Comparison:
    """Return how a text that DNS has at the name of ``record`` differs from ``record``."""
    desired = record.value.encode()
    if found == desired:
        return Comparison()
    compare_kind = _BY_PURPOSE.get(record.purpose)
    if compare_kind is None or record.type != "TXT":
        return Comparison(f"it is {cut(found.decode('utf-8', 'backslashreplace'))}")
    compared = compare_kind(record.value, found)
    if not compared.problem and not of_kind(record.purpose, [found]):
        return Comparison(
            f"readers ignore it: it does not begin with {required_beginning(record.purpose)}; "
            "remove the blanks before v="
        )
    return compared


def tags(value: bytes) -> dict[str, str]:
    """Return the tags of a text, as far as it is a tag-list (RFC 6376, section 3.2)."""
    found = {}
    for part in value.decode("utf-8", "replace").split(";"):
        name, equals, text = part.partition("=")
        if equals:
            found[name.strip()] = text.strip()
    return found


def public_key(value: bytes) -> str | None:
    """Return a key record's ``p=`` without its meaningless white space; None if it is missing."""
    found = tags(value).get("p")
    return None if found is None else "".join(found.split())
