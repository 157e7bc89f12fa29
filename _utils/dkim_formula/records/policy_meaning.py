"""
Comparison of policies by meaning: DMARC (RFC 9989), TLS-RPT (RFC 8460), MTA-STS (RFC 8461).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from . import tag_list
from .comparison import Comparison, InvalidText, cut, writing
from .tag_list import BLANKS

_SIZE = re.compile(r"![0-9]+[kmgt]?$", re.IGNORECASE)

# The values of tags that readers replace by the default if they are invalid, the default first:
# RFC 9989, sections 4.7 and 4.8.
_DEFAULTED = {"adkim": "rs", "aspf": "rs", "psd": "uny", "t": "ny"}
_FO = frozenset("01ds")


def compare_dmarc(desired: str, found: bytes) -> Comparison:
    """Return how a DMARC policy differs from the desired text."""
    return _policy(desired, found, "DMARC1", tag_list.DMARC, _dmarc_meaning, _dmarc_notes)


def compare_dmarc_report(desired: str, found: bytes) -> Comparison:
    """Return how a report receiver's consent differs from the desired text."""

    def meaning(_tags: Mapping[str, str]) -> dict[str, str]:
        # "rua" lets the receiver itself choose where its reports go: RFC 9990, section 4.
        return {}

    return _policy(desired, found, "DMARC1", tag_list.DMARC, meaning)


def compare_tls_rpt(desired: str, found: bytes) -> Comparison:
    """Return how a record for TLS reports differs from the desired text."""

    def meaning(tags: Mapping[str, str]) -> dict[str, str]:
        return {"rua": _uris(tags.get("rua", ""))}

    return _policy(desired, found, "TLSRPTv1", tag_list.TLS_RPT, meaning)


def compare_mta_sts(desired: str, found: bytes) -> Comparison:
    """Return how a record that announces an MTA-STS policy differs from the desired text."""

    def meaning(tags: Mapping[str, str]) -> dict[str, str]:
        return {"id": tags.get("id", "")}

    return _policy(desired, found, "STSv1", tag_list.MTA_STS, meaning)


def _no_notes(_tags: Mapping[str, str]) -> list[str]:
    return []


def _policy(
    desired: str,
    found: bytes,
    version: str,
    grammar: tag_list.Grammar,
    meaning: Callable[[Mapping[str, str]], Mapping[str, str]],
    notes: Callable[[Mapping[str, str]], Sequence[str]] = _no_notes,
) -> Comparison:
    try:
        read = tag_list.read(found, grammar)
        if not grammar.discards:
            _refuse_blanks(found, grammar.section)
    except InvalidText as invalid:
        return Comparison(str(invalid))
    name, value = read.listed[0] if read.listed else ("", "")
    if name != "v":
        return Comparison(f"v={version} has to be the first tag ({grammar.section})")
    if value != version:
        return Comparison(f"v= is {cut(value)}, should be {version} (capitals count)")
    desired_tags = dict(tag_list.read(desired.encode(), grammar).listed)
    found_tags = dict(read.listed)
    desired_meaning, found_meaning = meaning(desired_tags), meaning(found_tags)
    for tag, expected in desired_meaning.items():
        if found_meaning[tag] != expected:
            return Comparison(_tag_difference(tag, expected, found_meaning[tag], found_tags))
    said = [*read.notes, *notes(found_tags)]
    return Comparison(advice=writing(desired, found, [*desired_tags], read.listed, said))


def _tag_difference(tag: str, desired: str, found: str, found_tags: Mapping[str, str]) -> str:
    if tag not in found_tags:
        return f"{tag}= is missing, should be {cut(desired)}"
    if not desired:
        return f"{tag}={cut(found_tags[tag])} should not be there"
    invalid = f" (invalid, so {cut(found)} counts)" if _is_invalid(tag, found_tags) else ""
    shown = found_tags[tag] if invalid else found
    return f"{tag}= is {cut(shown)}{invalid}, should be {cut(desired)}"


def _dmarc_meaning(tags: Mapping[str, str]) -> dict[str, str]:
    """
    Return each tag, with its default if it is missing or invalid (RFC 9989, section 4.7). Unknown
    tags have no meaning. An invalid policy stays: what it means depends on rua (section 4.10.1).
    """
    lower = {name: value.lower() for name, value in tags.items()}
    policy = lower.get("p", "none")
    subdomains = lower.get("sp", policy)
    return {
        "p": policy,
        "sp": subdomains,
        "np": lower.get("np", subdomains),
        **{
            tag: values[0] if tag not in lower or _is_invalid(tag, tags) else lower[tag]
            for tag, values in _DEFAULTED.items()
        },
        "rua": _uris(tags.get("rua", ""), sizes=True),
        "ruf": _uris(tags.get("ruf", ""), sizes=True),
        # RFC 9989, section 4.7: fo has no effect without ruf, so ruf comes before fo.
        "fo": (_failure_options(lower.get("fo", "0")) or "0") if lower.get("ruf") else "0",
    }


def _is_invalid(tag: str, tags: Mapping[str, str]) -> bool:
    if tag not in tags:
        return False
    value = tags[tag].lower()
    if tag == "fo":
        return not _failure_options(value)
    return tag in _DEFAULTED and (len(value) != 1 or value not in _DEFAULTED[tag])


def _failure_options(value: str) -> str:
    """Return the options of fo= in a fixed order; '' if RFC 9989, section 4.8, refuses them."""
    given = [one.strip(BLANKS) for one in value.split(":")]
    is_valid = {*given} <= _FO and len({*given}) == len(given) and not {"0", "1"} <= {*given}
    return ":".join(sorted(given)) if is_valid else ""


def _dmarc_notes(tags: Mapping[str, str]) -> list[str]:
    notes = [
        f"{tag}={cut(value, 40)} is invalid, so its default counts"
        for tag, value in tags.items()
        if _is_invalid(tag, tags)
    ]
    if "p" not in tags:
        # RFC 9989, sections 4.7 and 4.10.1; RFC 7489, section 6.6.3.
        ignored = "older verifiers" if tags.get("rua") else "verifiers"
        notes.append(f"p= is missing, which means none, but {ignored} may ignore such a record")
    return notes


def _uris(value: str, sizes: bool = False) -> str:
    """Return a list of URIs without blanks; if ``sizes``, without sizes (RFC 7489, section 6.2)."""
    found = [one.strip(BLANKS) for one in value.split(",")] if value else []
    return ",".join(_SIZE.sub("", one) if sizes else one for one in found)


def _refuse_blanks(text: bytes, section: str) -> None:
    """Raise InvalidText for blanks around "=" or before "v=", which the grammar does not have."""
    shown = text.decode("utf-8", "replace")
    if shown[:1] in BLANKS or any(_has_blanks(part) for part in shown.split(";")):
        raise InvalidText(f'white space around a "=" or before v= is not allowed there ({section})')


def _has_blanks(part: str) -> bool:
    name, equals, value = part.strip(BLANKS).partition("=")
    return bool(equals) and (name != name.strip(BLANKS) or value != value.strip(BLANKS))
