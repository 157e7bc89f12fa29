"""
The verification of a DKIM signature with a public key: RFC 6376 section 6.1.3, RFC 8463.

The module verifies the signatures that the formula's daemons make: rsa-sha256 and ed25519-sha256,
both canonicalizations, no body length. It uses cryptography, which is part of Salt's Python. The
known verifier dkimpy would need a second such library (PyNaCl, for Ed25519) in Salt's Python. The
tests compare this module with dkimpy and with the example of RFC 8463.
"""

import base64
import binascii
import hashlib
import re
import time
from collections.abc import Mapping, Sequence

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

Headers = Sequence[tuple[str, str]]

ALGORITHMS = {"rsa": "rsa-sha256", "ed25519": "ed25519-sha256"}
# RFC 6376, section 3.5
REQUIRED_TAGS = ("v", "a", "b", "bh", "d", "h", "s")
# RFC 6376, section 3.5, «x=»: the clocks of verifiers may differ.
CLOCK_SKEW = 300  # seconds

_SIGNATURE_VALUE = re.compile(r"(^|;)([ \t\r\n]*b[ \t\r\n]*=)[^;]*")
_WHITE_SPACE = re.compile(rb"[ \t]+")
_FOLDED_SPACE = re.compile(r"(\r\n(?=[ \t])|[ \t])+")


class NotVerified(Exception):
    """A signature that is not valid; the text gives the reason."""


def tags(text: str) -> dict[str, str]:
    """
    Return the values of a tag-list by name, without surrounding white space: RFC 6376, section 3.2.

    Raises NotVerified if the text is not a tag-list, or has a tag twice.
    """
    found: dict[str, str] = {}
    for part in text.rstrip("; \t\r\n").split(";"):
        name, equals, value = part.partition("=")
        name = name.strip()
        if not equals or not name or name in found:
            raise NotVerified(f"{part.strip()[:60]!r} is no tag, or a duplicate tag")
        found[name] = value.strip()
    return found


def verify(
    signature: str, headers: Headers, body: bytes, record: str, now: float | None = None
) -> Mapping[str, str]:
    """
    Return the tags of a valid signature.

    signature
        The value of the DKIM-Signature header, without the space after the colon.
    headers
        The message's other headers as (name, value), topmost first. A value has the space after
        the colon if the message has one there.
    body
        The body; lines end with CRLF.
    record
        The key record's text, ``v=DKIM1; k=…; p=…``.
    now
        The time to compare with ``t=`` and ``x=``, in seconds; by default this machine's time.

    Raises NotVerified with the reason if the signature is not valid.
    """
    found = tags(signature)
    missing = [name for name in REQUIRED_TAGS if not found.get(name)]
    if missing:
        raise NotVerified(f"the signature lacks {', '.join(f'{name}=' for name in missing)}")
    if found["v"] != "1" or "l" in found:
        raise NotVerified("the signature is of an unknown version or covers a part of the body")
    _check_times(found, time.time() if now is None else now)
    canonical = _canonicalizations(found)
    body_hash = hashlib.sha256(_canonical_body(body, canonical[1])).digest()
    if body_hash != _decoded(found["bh"], "bh="):
        raise NotVerified("the body is not the one that was signed (bh=)")
    data = _signed_data(found, signature, headers, canonical[0])
    _check_signature(found, data, tags(record))
    return found


def _check_times(found: Mapping[str, str], now: float) -> None:
    made, ends = (_seconds(found, name) for name in ("t", "x"))
    if made is not None and made > now + CLOCK_SKEW:
        raise NotVerified(f"the signature is {made - now:.0f} s in the future (t=)")
    if ends is not None and ends < now - CLOCK_SKEW:
        raise NotVerified(f"the signature has expired {now - ends:.0f} s ago (x=)")


def _seconds(found: Mapping[str, str], name: str) -> int | None:
    text = found.get(name)
    if text is None:
        return None
    # RFC 6376, section 3.5: at most 12 digits.
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise NotVerified(f"{name}={text[:20]} is not a time")
    return int(text)


def _canonicalizations(found: Mapping[str, str]) -> tuple[str, str]:
    header, _, body = found.get("c", "simple").partition("/")
    chosen = (header, body or "simple")
    if any(one not in ("simple", "relaxed") for one in chosen):
        raise NotVerified(f"c={found['c'][:40]} is no canonicalization")
    return chosen


def _canonical_body(body: bytes, how: str) -> bytes:
    """Return the canonical form of a body: RFC 6376, sections 3.4.3 and 3.4.4."""
    if how == "relaxed":
        lines = body.split(b"\r\n")
        body = b"\r\n".join(_WHITE_SPACE.sub(b" ", line).rstrip(b" ") for line in lines)
    stripped = body
    while stripped.endswith(b"\r\n"):
        stripped = stripped[:-2]
    if not stripped and how == "relaxed":
        return b""
    return stripped + b"\r\n"


def _canonical_header(name: str, value: str, how: str) -> bytes:
    """Return a header's canonical form without line end: RFC 6376, sections 3.4.1 and 3.4.2."""
    if how == "simple":
        return f"{name}:{value}".encode("utf-8", "surrogateescape")
    unfolded = _FOLDED_SPACE.sub(" ", value).strip(" ")
    return f"{name.strip().lower()}:{unfolded}".encode("utf-8", "surrogateescape")


def _signed_data(found: Mapping[str, str], signature: str, headers: Headers, how: str) -> bytes:
    """
    Return the octets that the signature covers.

    If several headers have the same name, the lowest is signed first: RFC 6376, section 5.4.2.
    """
    left: dict[str, list[tuple[str, str]]] = {}
    for name, value in headers:
        left.setdefault(name.strip().lower(), []).append((name, value))
    signed = [name.strip().lower() for name in found["h"].split(":")]
    if "from" not in signed:
        raise NotVerified("From is not signed (h=)")
    lines = [
        _canonical_header(*left[name].pop(), how) + b"\r\n" for name in signed if left.get(name)
    ]
    emptied = _SIGNATURE_VALUE.sub(r"\1\2", signature, count=1)
    own = emptied if how == "relaxed" else f" {emptied}"
    return b"".join(lines) + _canonical_header("DKIM-Signature", own, how)


def _check_signature(found: Mapping[str, str], data: bytes, record: Mapping[str, str]) -> None:
    kind = record.get("k", "rsa")
    if record.get("v", "DKIM1") != "DKIM1" or kind not in ALGORITHMS:
        raise NotVerified("the record is no key record that this verifier knows")
    if ALGORITHMS[kind] != found["a"]:
        raise NotVerified(f"the signature is {found['a']}, the record's key is {kind}")
    if not record.get("p"):
        raise NotVerified("the key is revoked: the record has an empty p=")
    key = _public_key(kind, _decoded(record["p"], "p="))
    signature = _decoded(found["b"], "b=")
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            # RFC 8463, section 3: the hash is signed, not the data.
            key.verify(signature, hashlib.sha256(data).digest())
        else:
            key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        raise NotVerified("the signature was made with another key or for other headers") from None


def _public_key(kind: str, data: bytes) -> ed25519.Ed25519PublicKey | rsa.RSAPublicKey:
    try:
        if kind == "ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(data)
        key = serialization.load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise NotVerified("the record's p= is no public key") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise NotVerified("the record's p= is no RSA key")
    return key


def _decoded(text: str, what: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise NotVerified(f"{what} is not base64") from None
