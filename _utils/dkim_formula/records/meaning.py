"""
Whether a text in DNS means what a record should say, however it is written.

DNS panels write values anew: tags in another order, spaces dropped or added, strings cut elsewhere,
defaults spelt out. A text passes where every verifier has to read the same from it; how it differs
in writing is advice. Everything else is a difference, with one reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .record import Record

# RFC 6376, section 3.2: FWS is space and tab here, since no line ends stand in a record. A tag name
# is a letter and then letters, digits and "_"; a value has printable ASCII and blanks inside.
_BLANKS = " \t"
_TAG_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_PRINTABLE = re.compile(r"[\t\x20-\x7e]*")
# RFC 6376, section 3.6.1, "t=": a flag is a hyphenated word.
_WORD = re.compile(r"[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?")
# RFC 7208, section 4.6.1: a qualifier, the name of a mechanism, what follows.
_MECHANISM = re.compile(
    r"([-+?~]?)(all|include|a|mx|ptr|ip4|ip6|exists)(?=[:/]|$)(.*)", re.IGNORECASE
)
_SIZE = re.compile(r"![0-9]+[kmgt]?$", re.IGNORECASE)

QUOTES = (
    "quotes were pasted into the value, which are the zone file's way of writing; give the text "
    "without them"
)
BACKSLASHES = (
    'backslashes were pasted into the value, which are the zone file\'s way of writing ";"; give '
    "the text without them"
)

PEM = "p= has the first or last line of a PEM file in it; give the base64 between them"


@dataclass(frozen=True)
class Comparison:
    """
    problem
        Why the text does not say what it should; empty where it does.
    advice
        How it is written differently, where it says the same.
    """

    problem: str = ""
    advice: str = ""


class _Invalid(Exception):
    """A text that is no tag-list; the reason is its only argument."""


def compare(record: Record, found: bytes) -> Comparison:
    """What a text that stands where ``record`` should be says, against what it should say."""
    desired = record.value.encode()
    if found == desired:
        return Comparison()
    compare_kind = _BY_PURPOSE.get(record.purpose)
    if compare_kind is None or record.type != "TXT":
        return Comparison(f"it is {cut(found.decode('utf-8', 'backslashreplace'))}")
    return compare_kind(record.value, found)


def tags(value: bytes) -> dict[str, str]:
    """The tags of a text, as far as it is a tag-list (RFC 6376, section 3.2)."""
    found = {}
    for part in value.decode("utf-8", "replace").split(";"):
        name, equals, text = part.partition("=")
        if equals:
            found[name.strip()] = text.strip()
    return found


def public_key(value: bytes) -> str | None:
    """The ``p=`` of a key record without white space, which has no meaning in it; None for none."""
    found = tags(value).get("p")
    return None if found is None else "".join(found.split())


def cut(text: str, most: int = 80) -> str:
    """A text of somebody else's for people: not long, and nothing in it that moves a cursor."""
    shown = text if len(text) <= most else f"{text[: most - 1]}…"
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in shown)


def _tag_list(text: bytes, section: str) -> list[tuple[str, str]]:
    """
    The tags in their order. Raises _Invalid where every reader, or the RFC, refuses the text.

    section
        Where the RFC says that a repeated tag spoils the record.
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
    ours, theirs = dict(_tag_list(desired.encode(), "")), dict(listed)
    problem = (
        _version_problem(listed)
        or _key_problem(ours.get("p", ""), theirs.get("p"))
        or ("" if not ours.get("p") else _use_problem(ours, theirs))
    )
    if problem:
        return Comparison(problem)
    return Comparison(advice=_written(desired, found, [*ours], listed, _key_notes(ours, theirs)))


def _version_problem(listed: Sequence[tuple[str, str]]) -> str:
    for place, (name, value) in enumerate(listed):
        if name != "v":
            continue
        if value != "DKIM1":
            return f"v= is {cut(value)}, should be DKIM1"
        if place:
            return "v= has to be the first tag where it is there (RFC 6376, section 3.6.1)"
    return ""


def _key_problem(ours: str, theirs: str | None) -> str:
    if theirs is None:
        return "p= is missing: there is no key"
    key = "".join(theirs.split())
    if not ours:
        return "p= still holds a key, should be empty" if key else ""
    if not key:
        return "p= is empty: the key is revoked there"
    # The padding alone may be missing: both verifiers that were asked read the key without it.
    if key == ours or key == ours.rstrip("="):
        return ""
    if '"' in key or "-----" in key:
        return QUOTES if '"' in key else PEM
    is_cut = ours.startswith(key)
    return f"p= is cut off after {len(key)} of {len(ours)} characters" if is_cut else _OTHER_KEY


_OTHER_KEY = "p= is another key"


def _use_problem(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """What keeps verifiers from using the right key for mail, or has them use it otherwise."""
    return next(_use_problems(ours, theirs), "")


def _use_problems(ours: Mapping[str, str], theirs: Mapping[str, str]) -> Iterator[str]:
    algorithm, wanted_algorithm = theirs.get("k", "rsa"), ours.get("k", "rsa")
    if algorithm != wanted_algorithm:
        said = f"is {cut(algorithm)}" if "k" in theirs else "is missing, which is rsa"
        yield f"k= {said}, should be {wanted_algorithm}"
    if "h" in theirs and "sha256" not in _listed(theirs["h"]):
        yield f"h= is {cut(theirs['h'])}, without sha256, which the key signs with"
    if "s" in theirs and not {"*", "email"} & {*_listed(theirs["s"])}:
        yield f"s= is {cut(theirs['s'])}: the key is not for mail there"
    if theirs.get("g") not in (None, "", "*"):
        yield f"g= is {cut(theirs['g'])}: verifiers after RFC 4871 want that address"
    flags, wanted = _listed(theirs.get("t", "s")), _listed(ours.get("t", ""))
    if not flags or not all(map(_WORD.fullmatch, flags)):
        yield f"t= is {cut(theirs['t'])!r}, which is no list of flags (RFC 6376, section 3.6.1)"
    if "y" in flags and "y" not in wanted:
        yield "t= has y: the domain tests DKIM, and verifiers may take its mail for unsigned"
    if "t" in theirs and "s" in flags and "s" not in wanted:
        yield "t= has s: verifiers refuse signatures for subdomains"


def _key_notes(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    if not ours.get("p"):
        return []
    notes = []
    wanted, flags = _listed(ours.get("t", "")), _listed(theirs.get("t", ""))
    if "s" in wanted and "s" not in flags:
        notes.append("t=s is missing, so the key also verifies for subdomains")
    if "y" in wanted and "y" not in flags:
        notes.append("t=y is missing, so receivers do not take DKIM for tested")
    if theirs["p"] != "".join(theirs["p"].split()):
        notes.append("white space in p=")
    if "".join(theirs["p"].split()) != ours["p"]:
        notes.append('the last "=" of p= is missing')
    if ":" in theirs.get("s", ""):
        # RFC 6376, section 3.6.1 has a list; dkimpy 1.1.8 takes the key for none then (measured).
        notes.append("s= is a list, which dkimpy does not read: leave s= out")
    if theirs.get("g") == "":
        notes.append("g= is empty, and verifiers after RFC 4871 match nothing")
    return notes


def _listed(value: str) -> list[str]:
    """The items of a list with colons (RFC 6376, section 3.6.1); none of an empty text."""
    return [one.strip(_BLANKS) for one in value.split(":")] if value else []


# --- Policies: DMARC (RFC 9989), TLS-RPT (RFC 8460), MTA-STS (RFC 8461) ---------------------------


def _dmarc(desired: str, found: bytes) -> Comparison:
    return _policy(desired, found, "DMARC1", "RFC 9989, section 4.7", _dmarc_meaning, _as_written)


def _dmarc_report(desired: str, found: bytes) -> Comparison:
    # A "rua" there is the receiver's own choice of where the reports go: RFC 9990, section 4.
    return _policy(desired, found, "DMARC1", "RFC 9989, section 4.7", lambda _tags: {}, _as_written)


def _tls_rpt(desired: str, found: bytes) -> Comparison:
    def meaning(tags: Mapping[str, str]) -> dict[str, str]:
        return {"rua": _uris(tags.get("rua", ""))}

    return _policy(desired, found, "TLSRPTv1", "RFC 8460, section 3", meaning, _tight)


def _mta_sts(desired: str, found: bytes) -> Comparison:
    def meaning(tags: Mapping[str, str]) -> dict[str, str]:
        return {"id": tags.get("id", "")}

    return _policy(desired, found, "STSv1", "RFC 8461, section 3.1", meaning, _tight)


_Meaning = Callable[[Mapping[str, str]], Mapping[str, str]]


def _policy(
    desired: str,
    found: bytes,
    version: str,
    section: str,
    meaning: _Meaning,
    form: Callable[[bytes, str], None],
) -> Comparison:
    try:
        listed = _tag_list(found, "RFC 6376, section 3.2")
        form(found, section)
    except _Invalid as invalid:
        return Comparison(str(invalid))
    name, value = listed[0]
    if name != "v":
        return Comparison(f"v={version} has to be the first tag ({section})")
    if value != version:
        return Comparison(f"v= is {cut(value)}, should be {version} (capitals count)")
    ours, theirs = dict(_tag_list(desired.encode(), "")), dict(listed)
    wanted, said = meaning(ours), meaning(theirs)
    for tag, right in wanted.items():
        if said[tag] != right:
            return Comparison(_tag_difference(tag, right, said[tag], theirs))
    return Comparison(advice=_written(desired, found, [*ours], listed, []))


def _tag_difference(tag: str, wanted: str, said: str, theirs: Mapping[str, str]) -> str:
    if tag not in theirs:
        return f"{tag}= is missing, should be {cut(wanted)}"
    if not wanted:
        return f"{tag}={cut(theirs[tag])} should not be there"
    return f"{tag}= is {cut(said)}, should be {cut(wanted)}"


def _dmarc_meaning(tags: Mapping[str, str]) -> dict[str, str]:
    """Each tag with its default: RFC 9989, section 4.7. What it does not know has no meaning."""
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
    """A list of URIs without blanks; a size behind one (RFC 7489, section 6.2) is ignored."""
    found = [one.strip(_BLANKS) for one in value.split(",")] if value else []
    return ",".join(_SIZE.sub("", one) if sizes else one for one in found)


def _as_written(_text: bytes, _section: str) -> None:
    """Blanks may stand about "=" (RFC 9989, section 4.8)."""


def _tight(text: bytes, section: str) -> None:
    """Raises _Invalid for blanks about "=" or before "v=", which the grammar does not have."""
    shown = text.decode("utf-8", "replace")
    if shown[:1] in _BLANKS or any(_loose(part) for part in shown.split(";")):
        raise _Invalid(f'white space about a "=" or before v= is not allowed there ({section})')


def _loose(part: str) -> bool:
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
    """The terms in their order, which has meaning; a mechanism's capitals and "+" have none."""
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


# --- How the same is written ----------------------------------------------------------------------


def _written(
    desired: str,
    found: bytes,
    ours: Sequence[str],
    listed: Sequence[tuple[str, str]],
    notes: Sequence[str],
) -> str:
    names = [name for name, _ in listed]
    said = [f"{name}= is left out" for name in ours if name not in names and name in ("v", "k")]
    said += [f"{name}={cut(value, 40)} is there" for name, value in listed if name not in ours]
    if [name for name in names if name in ours] != [name for name in ours if name in names]:
        said.append("another order of tags")
    said += notes
    if not said:
        blanks = found.decode("utf-8", "replace")
        is_last = blanks.rstrip("; \t") == desired.rstrip("; \t")
        said.append('its end, a last ";" or blanks' if is_last else "blanks, defaults or capitals")
    return f"written differently: {', '.join(said)}"
