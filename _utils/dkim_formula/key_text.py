"""
Private keys as other tools store them: which texts OpenDKIM signs with, and what is wrong with the
others.

The daemon treats a text that begins with five hyphens as PEM. OpenSSL then reads the first block
that it can, and ignores all text around the blocks. The daemon decodes a text that begins with MII
as base64; any other text gives 451 (libopendkim, dkim.c; measured on both releases,
tests/functional/keys/test_key_texts.py). This module reads every text that the daemon signs with,
and some others: PEM with lost, doubled or indented line ends, PEM behind other text, and Ed25519
keys of rspamd. A key in one of these others must be stored again as :meth:`PrivateKey.pem` writes
it, which the daemon reads.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from . import multi_prime
from .multi_prime import MOST_BITS, MultiPrimeKey
from .private_key import MIN_BITS, PrivateKey

# A text that the table holds as it is: PEM of one block with complete lines, and nothing else.
# PostgreSQL uses the same expression. OpenSSL reads each text that it matches (measured).
PLAIN_PEM = (
    "^-----BEGIN (PRIVATE KEY-----\\r?\\n([A-Za-z0-9+/=]+\\r?\\n)+-----END |"
    "RSA PRIVATE KEY-----\\r?\\n([A-Za-z0-9+/=]+\\r?\\n)+-----END RSA )PRIVATE KEY-----\\s*$"
)
_PLAIN = re.compile(PLAIN_PEM, re.ASCII)
# A text that OpenDKIM treats as the path of a file (measured): with a slash, and without blanks or
# line ends around it.
KEY_PATH = "^([.][.]?)?/[^\\r\\n]*[^\\r\\n\\t ]$"
_PATH = re.compile(KEY_PATH, re.ASCII)
# The beginning of a path, or of a PEM block with an RSA key of more than two primes, whose version
# number is 1 (RFC 8017, appendix A.1.2). PostgreSQL finds such rows among many with it.
ODD_TEXT = (
    "^([.]?[.]?/|-----BEGIN (RSA PRIVATE KEY-----\\s+MII..?[AQgw]IBAQK|"
    "PRIVATE KEY-----\\s+MII.{37}AgEBAo))"
)

# A limit for reading: longer than any key with other text around it.
MOST_CHARACTERS = 1 << 20

_BLOCK = re.compile(
    rb"-----BEGIN ((?:[A-Z0-9]+ )*PRIVATE KEY)-----((?:(?!-----).)*)-----END \1-----", re.DOTALL
)
_NOT_BASE64 = re.compile(rb"\\[nrt]|[^A-Za-z0-9+/]")
_HEADER = re.compile(rb"[A-Za-z-]+:")
# An Ed25519 key of rspamd: base64 of the seed, or of the seed and the public half (measured,
# rspamadm 3.4, dkim_keygen -t ed25519; rspamd's dkim.c accepts both).
_SEED_OCTETS = 32
_SEED = re.compile(rb"[A-Za-z0-9+/]{43}=|[A-Za-z0-9+/]{86}==")
_GIVE = "store an unencrypted RSA or Ed25519 private key as PEM"


@dataclass(frozen=True)
class StoredKey:
    """
    The content of a stored text.

    private
        The key; None if OpenDKIM can't sign with it.
    problem
        Why there is no key, as the end of a sentence that begins with "the key".
    remedy
        What to do about the problem.
    is_plain
        Whether the table can hold the text as it is. Otherwise store :meth:`PrivateKey.pem`.
    path
        The file that OpenDKIM reads the key from; empty if the text is no path.
    """

    private: PrivateKey | None = None
    problem: str = ""
    remedy: str = ""
    is_plain: bool = True
    path: str = ""


class _Unusable(Exception):
    """A text that holds no usable key: what is wrong, and what to do."""

    def __init__(self, problem: str, remedy: str = _GIVE, path: str = ""):
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy
        self.path = path


def read_stored(text: str | bytes | None) -> StoredKey:
    """
    Read a private key from the text of a row or a file. Never raises, and shows no part of the key.

    The primality of RSA factors is not checked: OpenSSL's full check takes 60 ms for 2048 bits,
    which is an hour and a half for a hundred thousand rows (measured). Whoever can write such a row
    can also write another key.
    """
    try:
        return _read(text)
    except _Unusable as error:
        return StoredKey(problem=error.problem, remedy=error.remedy, path=error.path)


def _read(text: str | bytes | None) -> StoredKey:
    if text is None or not text.strip():
        raise _Unusable("is missing")
    if len(text) > MOST_CHARACTERS:
        raise _Unusable(f"has {len(text)} characters, more than any key")
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    plain = _PLAIN.match(data.decode("latin-1")) is not None
    found = _load_pem(data) if plain else None
    if found is None or not _is_consistent(found):
        found = _first_key(data)
        plain = plain and isinstance(found, MultiPrimeKey)
    _refuse_short(found)
    if not isinstance(found, MultiPrimeKey):
        found = _repaired(found)
    return StoredKey(PrivateKey(found), is_plain=plain)


def _load_pem(data: bytes):
    try:
        key = serialization.load_pem_private_key(
            data, password=None, unsafe_skip_rsa_key_validation=True
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key


def _first_key(data: bytes):
    """Return the first key in a text: a PEM block, a seed, DER, or base64 of DER."""
    problems = []
    for label, body in _blocks(data):
        try:
            return _key_of_block(label, body)
        except _Unusable as error:
            problems.append(error)
    if problems:
        raise problems[0]
    joined = b"".join(data.split())
    # The seed is tried first: base64 may begin with 0, as DER does, with a slash, or with MII.
    if _SEED.fullmatch(joined):
        return _of_seed(base64.b64decode(joined))
    if data.startswith(b"\x30"):
        return _load_der(data)
    bare = data.strip().removeprefix(b"\xef\xbb\xbf").strip()
    if bare.startswith((b"/", b"./", b"../")):
        raise _Unusable(
            "is the path of a file",
            "put the file's key into this row with dkim.import_key DOMAIN SELECTOR PATH",
            path=data.decode("utf-8", "replace") if _PATH.fullmatch(data.decode("latin-1")) else "",
        )
    if bare.startswith((b"MII", b"MC4")):
        return _load_der(_decoded(bare))
    raise _Unusable(*_not_pem(data))


def _of_seed(octets: bytes) -> ed25519.Ed25519PrivateKey:
    """Return the Ed25519 key of 32 octets, or of 64 whose second half is the public key."""
    key = ed25519.Ed25519PrivateKey.from_private_bytes(octets[:_SEED_OCTETS])
    public = octets[_SEED_OCTETS:]
    if public and public != key.public_key().public_bytes_raw():
        raise _Unusable("does not parse as a private key: its two halves contradict each other")
    return key


def _blocks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    for found in _BLOCK.finditer(data):
        yield found.group(1), found.group(2)


def _key_of_block(label: bytes, body: bytes):
    if label.startswith(b"ENCRYPTED") or b"ENCRYPTED" in body:
        raise _Unusable("is encrypted", "store it without a passphrase")
    if _HEADER.search(body):
        # OpenSSL takes header lines for an encryption that it can't undo (measured: 451).
        raise _Unusable(
            "has header lines between its BEGIN line and the base64 text", "remove these lines"
        )
    if label.startswith(b"OPENSSH"):
        raise _Unusable("is in OpenSSH's own form", "store it as PEM: ssh-keygen -p -m PEM")
    return _load_der(_decoded(body))


def _decoded(body: bytes) -> bytes:
    """Decode base64 text up to its padding. Other characters are ignored, as OpenDKIM does."""
    digits = _NOT_BASE64.sub(b"", body.partition(b"=")[0])
    digits = digits[: len(digits) - (len(digits) % 4 == 1)]
    return base64.b64decode(digits + b"=" * (-len(digits) % 4))


def _load_der(der: bytes):
    # OpenSSL ignores what follows the outermost element (measured).
    der = der[: _element_length(der)]
    try:
        key = serialization.load_der_private_key(
            der, password=None, unsafe_skip_rsa_key_validation=True
        )
    except TypeError:
        raise _Unusable("is encrypted", "store it without a passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        if (key := multi_prime.read(der)) is not None:
            return key
        raise _Unusable("does not parse as a private key") from None
    if not isinstance(key, (rsa.RSAPrivateKey, ed25519.Ed25519PrivateKey)):
        raise _Unusable("is of another algorithm: DKIM signs with RSA and Ed25519")
    return key


def _element_length(der: bytes) -> int:
    """Return how many octets the first DER element has, header included."""
    if len(der) < 2 or der[1] < 0x80:
        return len(der)
    octets = der[1] & 0x7F
    return 2 + octets + int.from_bytes(der[2 : 2 + octets], "big")


def _not_pem(data: bytes) -> tuple[str, str]:
    if b"PRIVATE KEY" in data:
        return "does not parse as a private key: its BEGIN or END line is damaged", _GIVE
    if b"PUBLIC KEY-----" in data:
        return "is not a private key: it is the public half", _GIVE
    if b"CERTIFICATE-----" in data:
        return "is not a private key: it is a certificate", _GIVE
    return "is not a private key in PEM form", _GIVE


def _is_consistent(key) -> bool:
    """Return whether a key's primes, exponents and modulus agree: RFC 8017, section 3.2."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return True
    if not isinstance(key, rsa.RSAPrivateKey):
        return False
    private = key.private_numbers()
    public = private.public_numbers
    p, q, d, e = private.p, private.q, private.d, public.e
    return (
        key.key_size <= MOST_BITS
        and e > 1
        and p > 1
        and q > 1
        and p * q == public.n
        and e * d % (p - 1) == 1
        and e * d % (q - 1) == 1
        and private.dmp1 == d % (p - 1)
        and private.dmq1 == d % (q - 1)
        and private.iqmp * q % p == 1
    )


def _repaired(key):
    """
    Return the key with consistent numbers.

    OpenSSL signs with a key whose private exponent, or one of whose primes, is damaged (measured).
    It signs with the primes; if that signature does not verify, it signs with the exponent.
    """
    if _is_consistent(key):
        return key
    private = key.private_numbers()
    public = private.public_numbers
    if key.key_size <= MOST_BITS and public.e % 2 == 1 and public.e > 1:
        for primes in (_primes_by_exponent, _primes_as_given):
            try:
                found = _of_primes(public, *primes(private))
            except (ValueError, ZeroDivisionError):
                continue
            if _is_consistent(found):
                return found
    raise _Unusable("does not parse as a private key: its numbers contradict each other")


def _primes_by_exponent(private: rsa.RSAPrivateNumbers) -> tuple[int, int]:
    public = private.public_numbers
    if pow(pow(2, private.d, public.n), public.e, public.n) != 2:
        raise ValueError
    return rsa.rsa_recover_prime_factors(public.n, public.e, private.d)


def _primes_as_given(private: rsa.RSAPrivateNumbers) -> tuple[int, int]:
    n = private.public_numbers.n
    for p in (private.p, private.q):
        if 1 < p < n and n % p == 0:
            return p, n // p
    raise ValueError


def _of_primes(public: rsa.RSAPublicNumbers, p: int, q: int) -> rsa.RSAPrivateKey:
    d = pow(public.e, -1, (p - 1) * (q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=rsa.rsa_crt_dmp1(d, p),
        dmq1=rsa.rsa_crt_dmq1(d, q),
        iqmp=rsa.rsa_crt_iqmp(p, q),
        public_numbers=public,
    )
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def _refuse_short(key) -> None:
    """
    Raise for an RSA key that is too short for OpenDKIM, which then rejects the message.

    OpenDKIM counts whole octets: it accepts 1017 bits like 1024 (measured).
    """
    is_rsa = isinstance(key, (rsa.RSAPrivateKey, MultiPrimeKey))
    if is_rsa and (key.key_size + 7) // 8 * 8 < MIN_BITS:
        raise _Unusable(
            f"is an RSA key of {key.key_size} bits, and OpenDKIM refuses mail rather than sign "
            f"with less than {MIN_BITS}",
            "make another key with dkim.generate",
        )
