"""Comparison of key records by meaning. Source: RFC 6376, section 3.6.1."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence

from . import tag_list
from .comparison import BACKSLASHES, QUOTES, Comparison, InvalidText, cut, writing
from .tag_list import BLANKS

# RFC 6376, section 3.6.1, "t=": a flag is a hyphenated word.
_WORD = re.compile(r"[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?")

PEM = "p= has the first or last line of a PEM file in it; give the base64 between them"
_PUBLISH = "publish the record as dkim.records shows it"
# The octets before the key of RFC 8017 in a SubjectPublicKeyInfo of RSA: two headers of a SEQUENCE,
# an AlgorithmIdentifier of 15 octets, the header of a BIT STRING. 512 to 65,536 bits.
_BEFORE_RSA_KEY = range(20, 29)
# RFC 8410, section 4: the octets before an Ed25519 key.
_BEFORE_ED25519_KEY = bytes.fromhex("302a300506032b6570032100")


def compare_key(desired: str, found: bytes) -> Comparison:
    """Return how a key record differs from the desired text."""
    try:
        listed = tag_list.read(found, tag_list.KEY).listed
    except InvalidText as invalid:
        return Comparison(str(invalid))
    desired_tags = dict(tag_list.read(desired.encode(), tag_list.KEY).listed)
    found_tags = dict(listed)
    problem = (
        _version_problem(listed)
        or _key_problem(desired_tags.get("p", ""), found_tags.get("p"))
        or ("" if not desired_tags.get("p") else _use_problem(desired_tags, found_tags))
    )
    if problem:
        return Comparison(problem)
    notes = _key_notes(desired_tags, found_tags)
    return Comparison(advice=writing(desired, found, [*desired_tags], listed, notes))


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
    return _other_format(desired, key) or _pasted(desired, key) or _lost(desired, key)


def _pasted(desired: str, key: str) -> str:
    """Return which other characters are in the right key, or ''."""
    if '"' in key or key.strip("'") == desired:
        return QUOTES
    if "-----" in key:
        return PEM
    if key.replace("\\", "") == desired:
        return BACKSLASHES
    if key == f"p={desired}":
        return "p= is there twice, in its own value; give the base64 alone after one p="
    if desired in key:
        return f"p= is the right key with other characters beside it; {_PUBLISH}"
    return ""


def _other_format(desired: str, key: str) -> str:
    """Return that the right key is encoded in another way, or ''."""
    right, octets = _decoded(desired), _decoded(key)
    if not right or not octets:
        return ""
    # DER begins a SEQUENCE with 30 (hexadecimal).
    lost = len(right) - len(octets)
    is_rsa_key = lost in _BEFORE_RSA_KEY and octets[:1] == b"\x30"
    if is_rsa_key and right.endswith(octets):
        return (
            "p= is the right key as RSAPublicKey (PKCS#1), which OpenDKIM refuses; publish it as "
            "SubjectPublicKeyInfo, as dkim.records shows it"
        )
    if octets == _BEFORE_ED25519_KEY + right:
        return (
            "p= is the right key as SubjectPublicKeyInfo; publish its 32 octets alone (RFC 8463, "
            "section 4.2), as dkim.records shows them"
        )
    return ""


def _decoded(text: str) -> bytes:
    unpadded = text.rstrip("=")
    try:
        return base64.b64decode(unpadded + "=" * (-len(unpadded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _lost(desired: str, key: str) -> str:
    """Return which part of the key is there, or that the key is another."""
    length = f"{len(key)} of {len(desired)} characters"
    if desired.startswith(key):
        return f"p= is cut off after {length}"
    if desired.endswith(key):
        return f"p= has only the last {length}: the first string of the value is lost; {_PUBLISH}"
    if len(key) == len(desired) and key in desired * 2:
        return f"p= has the strings of the value in another order; {_PUBLISH}"
    return "p= is another key"


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
    return [one.strip(BLANKS) for one in value.split(":")] if value else []
