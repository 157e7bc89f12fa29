"""
Fast generation of hundreds of thousands of RSA-2048 keys, for benchmarks only.

The usual generation of 100,000 keys takes an hour. Here each modulus is a product of two primes
from a small pool, so that a key costs a millisecond. Such keys must never sign real mail: two
moduli that share a prime reveal it.
"""

import itertools
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import rsa
from dkim_formula.private_key import PrivateKey

_EXPONENT = 65537
_BATCH = 500


@dataclass(frozen=True)
class Key:
    """A key of a domain, in the form that the programs' tables and files use."""

    domain: str
    selector: str
    pem: str
    public: str

    @property
    def name(self) -> str:
        """The name of the key's record, which identifies the key in tables in files."""
        return f"{self.selector}._domainkey.{self.domain}"


def make(count: int, selector: str) -> list[Key]:
    """Return keys of d1.example, d2.example and so on; all keys of all calls differ."""
    # n primes have n (n - 1) / 2 products.
    primes = _primes(2 + math.isqrt(2 * count))
    pairs = list(itertools.islice(itertools.combinations(primes, 2), count))
    batches = [pairs[start : start + _BATCH] for start in range(0, count, _BATCH)]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        texts = [text for batch in pool.map(_texts, batches) for text in batch]
    return [
        Key(f"d{number}.example", selector, pem, public)
        for number, (pem, public) in enumerate(texts, 1)
    ]


def _primes(count: int) -> Sequence[int]:
    def drawn() -> Iterator[int]:
        while True:
            numbers = rsa.generate_private_key(_EXPONENT, 2048).private_numbers()
            yield from (numbers.p, numbers.q)

    return list(itertools.islice(drawn(), count))


def _texts(pairs: Sequence[tuple[int, int]]) -> list[tuple[str, str]]:
    keys = [_key(*pair) for pair in pairs]
    return [(key.pem(), key.public_base64()) for key in keys]


def _key(p: int, q: int) -> PrivateKey:
    d = pow(_EXPONENT, -1, math.lcm(p - 1, q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=d % (p - 1),
        dmq1=d % (q - 1),
        iqmp=pow(q, -1, p),
        public_numbers=rsa.RSAPublicNumbers(_EXPONENT, p * q),
    )
    # Validation takes sixty times as long as the rest of this function.
    return PrivateKey(numbers.private_key(unsafe_skip_rsa_key_validation=True))
