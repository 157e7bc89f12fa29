"""Keys that stand in the database already, read in bulk."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from ..keys import EXPONENT, MAX_BITS, MIN_BITS, PrivateKey


def read_row(pem: str, where: str) -> PrivateKey:
    """
    The key of a row, checked for consistency but not for primality.

    OpenSSL's full check costs 60 ms for 2048 bits, so an hour and a half for a hundred thousand
    rows (measured); who wrote the row could as well have written another key. Whatever is not
    plainly right goes the full way, :meth:`PrivateKey.from_pem`, and fails as that does.

    where
        What the key is called in an error.

    Raises InvalidValue, without anything of the key.
    """
    try:
        key = serialization.load_pem_private_key(
            pem.encode(), password=None, unsafe_skip_rsa_key_validation=True
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return PrivateKey.from_pem(pem, where)
    plain = isinstance(key, ed25519.Ed25519PrivateKey) or (
        isinstance(key, rsa.RSAPrivateKey) and _is_consistent(key)
    )
    return PrivateKey(key) if plain else PrivateKey.from_pem(pem, where)


def _is_consistent(key: rsa.RSAPrivateKey) -> bool:
    """RFC 8017, section 3.2: what the two primes and the exponents have to do with each other."""
    private = key.private_numbers()
    public = private.public_numbers
    p, q, d, e = private.p, private.q, private.d, public.e
    return (
        MIN_BITS <= key.key_size <= MAX_BITS
        and e == EXPONENT
        and p * q == public.n
        and e * d % (p - 1) == 1
        and e * d % (q - 1) == 1
        and private.dmp1 == d % (p - 1)
        and private.dmq1 == d % (q - 1)
        and private.iqmp * q % p == 1
    )
