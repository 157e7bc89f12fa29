"""
Comparison of a text in DNS with a desired record, by meaning.

DNS panels rewrite values: they reorder tags, drop or add spaces, split strings elsewhere and write
defaults out. A text passes if every verifier must read the same from it. Its differences in writing
are advice. Any other difference is a problem, with one reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .record import Record

# RFC 6376, section 3.2: FWS is space and tab here, since a record has no line breaks. A tag name is
# a letter and then letters, digits and "_". A value has printable ASCII and blanks inside.
_BLANKS = " \t"
_TAG_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_PRINTABLE = re.compile(r"[\t\x20-\x7e]*")
# RFC 6376, section 3.6.1, "t=": a flag is a hyphenated word.
_WORD = re.compile(r"[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?")
# RFC 7208, section 4.6.1: a qualifier, the name of a mechanism, and its argument.
_MECHANISM = re.compile(
    r"([-+?~]?)(all|include|a|mx|ptr|ip4|ip6|exists)(?=[:/]|$)(.*)", re.IGNORECASE
)
_SIZE = re.compile(r"![0-9]+[kmgt]?$", re.IGNORECASE)

QUOTES = (
    "quotes were pasted into the value, but only a zone file writes them; give the text without "
    "quotes"
)
BACKSLASHES = (
    'backslashes were pasted into the value, but only a zone file writes them before ";"; give the '
    "text without backslashes"
)

PEM = "p= has the first or last line of a PEM file in it; give the base64 between them"


@dataclass(frozen=True)
class Comparison:
    """
    The result of a comparison.

    problem
        Why the text has another meaning; empty if the meaning is the same.
    advice
        How the writing differs, if the meaning is the same.
    """

    problem: str = ""
    advice: str = ""


class _Invalid(Exception):
    """An invalid tag-list. The only argument is the reason."""


def compare(record: Record, found: bytes) -> Comparison:
    """Return how a text that DNS has at the name of ``record`` differs from ``record``."""
    desired = record.value.encode()
    if found == desired:
        return Comparison()
    compare_kind = _BY_PURPOSE.get(record.purpose)
    if compare_kind is None or record.type != "TXT":
        return Comparison(f"it is {cut(found.decode('utf-8', 'backslashreplace'))}")
    return compare_kind(record.value, found)


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


def cut(text: str, most: int = 80) -> str:
    """Return a text from outside for people: short, and without codes that move a cursor."""
    shown = text if len(text) <= most else f"{text[: most - 1]}…"
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in shown)


def _tag_list(text: bytes, section: str) -> list[tuple[str, str]]:
    """
    Return the tags in order. Raises _Invalid if every reader, or the RFC, refuses the text.

    section
        The section of the RFC by which a repeated tag invalidates the record.
    """
    shown = text.decode("utf-8", "backslashreplace")
    if not _PRINTABLE.fullmatch(shown):
        raise _Invalid(f"it has octets that are no printable ASCII: {cut(shown)}")
    parts = shown.split(";")
    if len(parts) > 1 and not parts[-1].strip(_BLANKS):
        parts.pop()
    if all("=" not in part for part in parts):
        raise _Invalid(f"it is {cut(shown)}")
    found: list[tuple[str, str]] = []
    for part in parts:
        name, equals, value = (one.strip(_BLANKS) for one in part.partition("="))
        if not (name or equals or value):
            raise _Invalid('there is nothing between two ";", and verifiers drop the whole record')
        if '"' in name or name.startswith("'") or value.endswith(('"', "\\")):
            raise _Invalid(BACKSLASHES if value.endswith("\\") else QUOTES)
        if not equals or not _TAG_NAME.fullmatch(name):
            raise _Invalid(f"{cut(part.strip(_BLANKS))!r} is no tag such as p=…")
        if any(name == earlier for earlier, _ in found):
            raise _Invalid(
                f"{name}= is there twice, and verifiers drop the whole record ({section})"
            )
        found.append((name, value))
    return found


# --- Key records: RFC 6376, section 3.6.1 ---------------------------------------------------------


def _key(desired: str, found: bytes) -> Comparison:
    try:
        listed = _tag_list(found, "RFC 6376, section 3.2")
    except _Invalid as invalid:
        return Comparison(str(invalid))
    desired_tags, found_tags = dict(_tag_list(desired.encode(), "")), dict(listed)
    problem = (
        _version_problem(listed)
        or _key_problem(desired_tags.get("p", ""), found_tags.get("p"))
        or ("" if not desired_tags.get("p") else _use_problem(desired_tags, found_tags))
    )
    if problem:
        return Comparison(problem)
    notes = _key_notes(desired_tags, found_tags)
    return Comparison(advice=_writing(desired, found, [*desired_tags], listed, notes))


def _version_problem(listed: Sequence[tuple[str, str]]) -> str:
    for position, (name, value) in enumerate(listed):
        if name != "v":
            continue
        if value != "DKIM1":
            return f"v= is {cut(value)}, should be DKIM1"
        if position:
            return "v= has to be the first tag where it is there (RFC 6376, section 3.6.1)"
    return ""


def _key_problem(desired: str, found: str | None) -> str:
    if found is None:
        return "p= is missing: there is no key"
    key = "".join(found.split())
    if not desired:
        return "p= still holds a key, should be empty" if key else ""
    if not key:
        return "p= is empty: the key is revoked there"
    # Only the padding may be missing: both tested verifiers read the key without it.
    if key == desired or key == desired.rstrip("="):
        return ""
    if '"' in key or "-----" in key:
        return QUOTES if '"' in key else PEM
    is_cut = desired.startswith(key)
    return f"p= is cut off after {len(key)} of {len(desired)} characters" if is_cut else _OTHER_KEY


_OTHER_KEY = "p= is another key"


def _use_problem(desired: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Return why verifiers don't use the right key for mail, or use it in another way."""
    return next(_use_problems(desired, found), "")


def _use_problems(desired: Mapping[str, str], found: Mapping[str, str]) -> Iterator[str]:
    algorithm, desired_algorithm = found.get("k", "rsa"), desired.get("k", "rsa")
    if algorithm != desired_algorithm:
        present = f"is {cut(algorithm)}" if "k" in found else "is missing, which means rsa"
        yield f"k= {present}, should be {desired_algorithm}"
    if "h" in found and "sha256" not in _listed(found["h"]):
        yield f"h= is {cut(found['h'])}, without sha256, which the key signs with"
    if "s" in found and not {"*", "email"} & {*_listed(found["s"])}:
        yield f"s= is {cut(found['s'])}: the key is not for mail there"
    if found.get("g") not in (None, "", "*"):
        yield f"g= is {cut(found['g'])}: verifiers by RFC 4871 accept no other address"
    flags, desired_flags = _listed(found.get("t", "s")), _listed(desired.get("t", ""))
    if not flags or not all(map(_WORD.fullmatch, flags)):
        yield f"t= is {cut(found['t'])!r}, which is no list of flags (RFC 6376, section 3.6.1)"
    if "y" in flags and "y" not in desired_flags:
        yield "t= has y: the domain tests DKIM, and verifiers may treat its mail as unsigned"
    if "t" in found and "s" in flags and "s" not in desired_flags:
        yield "t= has s: verifiers refuse signatures for subdomains"


def _key_notes(desired: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    if not desired.get("p"):
        return []
    notes = []
    desired_flags, flags = _listed(desired.get("t", "")), _listed(found.get("t", ""))
    if "s" in desired_flags and "s" not in flags:
        notes.append("t=s is missing, so the key also verifies for subdomains")
    if "y" in desired_flags and "y" not in flags:
        notes.append("t=y is missing, so receivers do not know that the domain tests DKIM")
    if found["p"] != "".join(found["p"].split()):
        notes.append("white space in p=")
    if "".join(found["p"].split()) != desired["p"]:
        notes.append('the last "=" of p= is missing')
    if ":" in found.get("s", ""):
        # RFC 6376, section 3.6.1, allows a list, but dkimpy 1.1.8 then finds no key (measured).
        notes.append("s= is a list, which dkimpy does not read: leave s= out")
    if found.get("g") == "":
        notes.append("g= is empty, and verifiers by RFC 4871 match no address")
    return notes


def _listed(value: str) -> list[str]:
    """Return the items of a list with colons (RFC 6376, section 3.6.1); none for an empty text."""
    return [one.strip(_BLANKS) for one in value.split(":")] if value else []


# --- Policies: DMARC (RFC 9989), TLS-RPT (RFC 8460), MTA-STS (RFC 8461) ---------------------------


def _dmarc(desired: str, found: bytes) -> Comparison:
    return _policy(desired, found, "DMARC1", "RFC 9989, section 4.7", _dmarc_meaning, _allow_blanks)


def _dmarc_report(desired: str, found: bytes) -> Comparison:
    def meaning(_tags: Mapping[str, str]) -> dict[str, str]:
        # "rua" lets the receiver itself choose where its reports go: RFC 9990, section 4.
        return {}

    return _policy(desired, found, "DMARC1", "RFC 9989, section 4.7", meaning, _allow_blanks)


def _tls_rpt(desired: str, found: bytes) -> Comparison:
    def meaning(tags: Mapping[str, str]) -> dict[str, str]:
        return {"rua": _uris(tags.get("rua", ""))}

    return _policy(desired, found, "TLSRPTv1", "RFC 8460, section 3", meaning, _refuse_blanks)


def _mta_sts(desired: str, found: bytes) -> Comparison:
    def meaning(tags: Mapping[str, str]) -> dict[str, str]:
        return {"id": tags.get("id", "")}

    return _policy(desired, found, "STSv1", "RFC 8461, section 3.1", meaning, _refuse_blanks)


_Meaning = Callable[[Mapping[str, str]], Mapping[str, str]]


def _policy(
    desired: str,
    found: bytes,
    version: str,
    section: str,
    meaning: _Meaning,
    check_blanks: Callable[[bytes, str], None],
) -> Comparison:
    try:
        listed = _tag_list(found, "RFC 6376, section 3.2")
        check_blanks(found, section)
    except _Invalid as invalid:
        return Comparison(str(invalid))
    name, value = listed[0]
    if name != "v":
        return Comparison(f"v={version} has to be the first tag ({section})")
    if value != version:
        return Comparison(f"v= is {cut(value)}, should be {version} (capitals count)")
    desired_tags, found_tags = dict(_tag_list(desired.encode(), "")), dict(listed)
    desired_meaning, found_meaning = meaning(desired_tags), meaning(found_tags)
    for tag, expected in desired_meaning.items():
        if found_meaning[tag] != expected:
            return Comparison(_tag_difference(tag, expected, found_meaning[tag], found_tags))
    return Comparison(advice=_writing(desired, found, [*desired_tags], listed, []))


def _tag_difference(tag: str, desired: str, found: str, found_tags: Mapping[str, str]) -> str:
    if tag not in found_tags:
        return f"{tag}= is missing, should be {cut(desired)}"
    if not desired:
        return f"{tag}={cut(found_tags[tag])} should not be there"
    return f"{tag}= is {cut(found)}, should be {cut(desired)}"


def _dmarc_meaning(tags: Mapping[str, str]) -> dict[str, str]:
    """Return each tag, with its default (RFC 9989, section 4.7). Unknown tags have no meaning."""
    lower = {name: value.lower() for name, value in tags.items()}
    policy = lower.get("p", "")
    subdomains = lower.get("sp", policy)
    return {
        "p": policy,
        "sp": subdomains,
        "np": lower.get("np", subdomains),
        "adkim": lower.get("adkim", "r"),
        "aspf": lower.get("aspf", "r"),
        "fo": ":".join(sorted(_listed(lower.get("fo", "0")))),
        "psd": lower.get("psd", "u"),
        "t": lower.get("t", "n"),
        "rua": _uris(tags.get("rua", ""), sizes=True),
        "ruf": _uris(tags.get("ruf", ""), sizes=True),
    }


def _uris(value: str, sizes: bool = False) -> str:
    """Return a list of URIs without blanks; if ``sizes``, without sizes (RFC 7489, section 6.2)."""
    found = [one.strip(_BLANKS) for one in value.split(",")] if value else []
    return ",".join(_SIZE.sub("", one) if sizes else one for one in found)


def _allow_blanks(_text: bytes, _section: str) -> None:
    """Accept blanks around "=" (RFC 9989, section 4.8)."""


def _refuse_blanks(text: bytes, section: str) -> None:
    """Raise _Invalid for blanks around "=" or before "v=", which the grammar does not have."""
    shown = text.decode("utf-8", "replace")
    if shown[:1] in _BLANKS or any(_has_blanks(part) for part in shown.split(";")):
        raise _Invalid(f'white space around a "=" or before v= is not allowed there ({section})')


def _has_blanks(part: str) -> bool:
    name, equals, value = part.strip(_BLANKS).partition("=")
    return bool(equals) and (name != name.strip(_BLANKS) or value != value.strip(_BLANKS))


# --- SPF: RFC 7208 --------------------------------------------------------------------------------


def _spf(desired: str, found: bytes) -> Comparison:
    shown = found.decode("utf-8", "backslashreplace")
    if '"' in shown:
        return Comparison(QUOTES)
    if _spf_terms(shown) != _spf_terms(desired):
        return Comparison(f"it is {cut(shown)}")
    return Comparison(advice="written differently: spaces, capitals or + signs")


def _spf_terms(text: str) -> list[str]:
    """Return the terms in order. Capitals and "+" of a mechanism have no meaning."""
    version, *terms = [one for one in text.split(" ") if one] or [""]
    return [version.lower(), *map(_spf_term, terms)]


def _spf_term(term: str) -> str:
    match = _MECHANISM.fullmatch(term)
    if match is None:
        return term
    return f"{match[1].replace('+', '')}{match[2].lower()}{match[3]}"


_BY_PURPOSE: Mapping[str, Callable[[str, bytes], Comparison]] = {
    "dkim": _key,
    "dmarc": _dmarc,
    "dmarc-report": _dmarc_report,
    "spf": _spf,
    "tls-rpt": _tls_rpt,
    "mta-sts": _mta_sts,
}


# --- Differences in writing -----------------------------------------------------------------------


def _writing(
    desired: str,
    found: bytes,
    desired_names: Sequence[str],
    listed: Sequence[tuple[str, str]],
    notes: Sequence[str],
) -> str:
    names = [name for name, _ in listed]
    missing = [name for name in desired_names if name not in names and name in ("v", "k")]
    others = [(name, value) for name, value in listed if name not in desired_names]
    said = [f"{name}= is left out" for name in missing]
    said += [f"{name}={cut(value, 40)} is there" for name, value in others]
    order = [name for name in desired_names if name in names]
    if [name for name in names if name in desired_names] != order:
        said.append("another order of tags")
    said += notes
    if not said:
        text = found.decode("utf-8", "replace")
        is_end = text.rstrip("; \t") == desired.rstrip("; \t")
        said.append('its end, a last ";" or blanks' if is_end else "blanks, defaults or capitals")
    return f"written differently: {', '.join(said)}"
