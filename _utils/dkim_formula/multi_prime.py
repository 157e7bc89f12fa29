"""
RSA private keys of more than two primes, which pyca/cryptography can't read.

OpenSSL signs with such keys, and therefore OpenDKIM does (measured with three and four primes, as
PKCS#1 and as PKCS#8, in a row and in a file). The public half is like that of any RSA key.
"""

from __future__ import annotations

import base64
import math
import textwrap

from cryptography.hazmat.primitives.asymmetric import rsa

# The largest modulus that OpenSSL works with (OPENSSL_RSA_MAX_MODULUS_BITS of rsa.h).
MOST_BITS = 16384

_INTEGER, _OCTETS, _SEQUENCE = 0x02, 0x04, 0x30
# The part of PKCS#8 between the version and the octets: rsaEncryption, with NULL parameters.
_RSA = bytes.fromhex("300d06092a864886f70d0101010500")


class MultiPrimeKey:
    """A key of more than two primes, with the methods that :class:`PrivateKey` needs."""

    __slots__ = ("_der", "_public")

    def __init__(self, der: bytes, public: rsa.RSAPublicKey):
        self._der = der
        self._public = public

    @property
    def key_size(self) -> int:
        """The size of the modulus in bits."""
        return self._public.key_size

    def public_key(self) -> rsa.RSAPublicKey:
        """Return the public half."""
        return self._public

    def private_bytes(self, *_: object) -> bytes:
        """Return the key as PEM of PKCS#1, whatever form is asked for."""
        lines = textwrap.wrap(base64.b64encode(self._der).decode("ascii"), 64)
        label = "RSA PRIVATE KEY-----"
        return "\n".join([f"-----BEGIN {label}", *lines, f"-----END {label}", ""]).encode()

    def __reduce__(self):
        raise TypeError("a private key is not serialised")


def read(der: bytes) -> MultiPrimeKey | None:
    """
    Return the key of a PKCS#1 or PKCS#8 structure of more than two primes whose numbers agree, or
    None. Source: RFC 8017, appendix A.1.2; RFC 5208, section 5.
    """
    try:
        inner = _unwrapped(der)
        _, whole, _ = _element(inner, _SEQUENCE)
        numbers, rest = [], whole
        while rest and rest[0] == _INTEGER:
            _, number, rest = _element(rest, _INTEGER)
            numbers.append(int.from_bytes(number, "big"))
        version, n, e, d, p, q, *_ = numbers
        more = _more_primes(rest) if version == 1 else []
        if not more or not _agree(n, e, d, [p, q, *more]):
            return None
        return MultiPrimeKey(inner, rsa.RSAPublicNumbers(e, n).public_key())
    except (ValueError, IndexError):
        return None


def _agree(n: int, e: int, d: int, primes: list[int]) -> bool:
    """
    Return whether signatures of the key verify. OpenSSL signs with the primes; if that signature
    does not verify, OpenSSL signs with the exponent (measured with two primes).
    """
    if max(n, e, d).bit_length() > MOST_BITS or n < 3 or e < 3:
        return False
    by_primes = math.prod(primes) == n and all(
        p > 2 and math.gcd(e, p - 1) == 1 and e * d % (p - 1) == 1 for p in primes
    )
    return by_primes or pow(pow(2, d, n), e, n) == 2


def _more_primes(octets: bytes) -> list[int]:
    """Return the third and all later primes."""
    found = []
    _, rest, _ = _element(octets, _SEQUENCE)
    while rest:
        _, info, rest = _element(rest, _SEQUENCE)
        _, prime, _ = _element(info, _INTEGER)
        found.append(int.from_bytes(prime, "big"))
    return found


def _unwrapped(der: bytes) -> bytes:
    """Return the PKCS#1 structure in a PKCS#8 structure; a PKCS#1 structure as it is."""
    whole, content, _ = _element(der, _SEQUENCE)
    _, _, rest = _element(content, _INTEGER)
    if not rest.startswith(_RSA):
        return whole
    _, inner, _ = _element(rest[len(_RSA) :], _OCTETS)
    return _element(inner, _SEQUENCE)[0]


def _element(octets: bytes, tag: int) -> tuple[bytes, bytes, bytes]:
    """Split the first DER element off: the element, its content, and what follows."""
    if octets[0] != tag:
        raise ValueError("another type")
    start, length = 2, octets[1]
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(octets[2:start], "big")
    end = start + length
    if end > len(octets):
        raise ValueError("cut")
    return octets[:end], octets[start:end], octets[end:]
