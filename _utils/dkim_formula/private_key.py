"""Private keys: generation, PEM, and the public half for a key record. No text shows a key."""

import base64

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from .errors import InvalidValue
from .multi_prime import MultiPrimeKey

ALGORITHMS = ("rsa", "ed25519")

# RFC 8301, section 3.2: signers use at least 1024 bits, verifiers must accept 1024 to 4096.
MIN_BITS = 1024
MAX_BITS = 4096
DEFAULT_BITS = 2048

ED25519_BITS = 256

EXPONENT = 65537
# FIPS 186-5, section A.1.1 requires more than 2**16. Go's crypto/rsa, and with it the verifiers
# written in Go, accepts at most 31 bits.
_EXPONENTS = range(EXPONENT, 2**31)
_EXPONENT_AS_DER = b"\x02\x03\x01\x00\x01"


def check_algorithm(value: object, where: str = "algorithm") -> str:
    """
    Return one of :data:`ALGORITHMS`. Raises :class:`InvalidValue` for anything else.

    Source: RFC 6376, section 3.3.1 (rsa); RFC 8463, section 3 (ed25519).
    """
    if value not in ALGORITHMS:
        raise InvalidValue(where, value, "is not an algorithm", f"use {' or '.join(ALGORITHMS)}")
    return value


def check_bits(value: object, where: str = "bits") -> int:
    """
    Return the size of an RSA key in bits, an int from 1024 to 4096. A string of digits is accepted.

    Raises :class:`InvalidValue`. Source: RFC 8301, section 3.2.
    """
    allowed = f"use {MIN_BITS} to {MAX_BITS}, best {DEFAULT_BITS}"
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        bits = int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        bits = value
    else:
        raise InvalidValue(where, value, "is not a number of bits", allowed)
    if bits < MIN_BITS:
        raise InvalidValue(
            where, value, f"is too small: RFC 8301 forbids RSA keys below {MIN_BITS} bits", allowed
        )
    if bits > MAX_BITS:
        raise InvalidValue(
            where,
            value,
            f"is too large: verifiers need not take more than {MAX_BITS} bits",
            allowed,
        )
    return bits


def public_weakness(algorithm: str, bits: int | None, public: str | None) -> str:
    """
    Return why verifiers may refuse a key; empty for a key that every verifier must accept.

    public
        The public key as :meth:`PrivateKey.public_base64` returns it.
    """
    if algorithm != "rsa" or bits is None or public is None:
        return ""
    if not MIN_BITS <= bits <= MAX_BITS:
        return f"is an RSA key of {bits} bits: RFC 8301 allows {MIN_BITS} to {MAX_BITS}"
    # RFC 8017, appendix A.1.1: the exponent comes last. Most keys have the usual exponent, which
    # is found without parsing the key.
    try:
        if base64.b64decode(public[-16:]).endswith(_EXPONENT_AS_DER):
            return ""
        key = serialization.load_der_public_key(base64.b64decode(public))
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, rsa.RSAPublicKey):
        return "has a public half that does not parse as an RSA key"
    exponent = key.public_numbers().e
    if exponent in _EXPONENTS:
        return ""
    return f"is an RSA key with the public exponent {exponent}, which verifiers may refuse"


class PrivateKey:
    """
    A private key that signs for a domain.

    ``repr`` shows only algorithm and size. The object can't be pickled or copied, and only
    :meth:`pem` returns the private key.

    algorithm
        ``rsa`` or ``ed25519``.
    bits
        The size; always 256 for an Ed25519 key.
    """

    __slots__ = ("_key", "algorithm", "bits")

    def __init__(self, key: rsa.RSAPrivateKey | MultiPrimeKey | ed25519.Ed25519PrivateKey):
        self._key = key
        if isinstance(key, (rsa.RSAPrivateKey, MultiPrimeKey)):
            self.algorithm, self.bits = "rsa", key.key_size
        else:
            self.algorithm, self.bits = "ed25519", ED25519_BITS

    @property
    def weakness(self) -> str:
        """The reason why verifiers may refuse the key; empty if every verifier must accept it."""
        return public_weakness(self.algorithm, self.bits, self.public_base64())

    @property
    def oddity(self) -> str:
        """The reason why other programs may not read the private half; verifiers don't see it."""
        if isinstance(self._key, MultiPrimeKey):
            return "is an RSA key of more than two primes, which few programs read"
        return ""

    @classmethod
    def generate(cls, algorithm: str = "rsa", bits: int = DEFAULT_BITS) -> "PrivateKey":
        """
        Generate a key.

        algorithm
            ``rsa`` or ``ed25519``.
        bits
            The size of an RSA key; ignored for Ed25519.

        Raises :class:`InvalidValue` as :func:`check_algorithm` and :func:`check_bits` do.
        """
        if check_algorithm(algorithm) == "ed25519":
            return cls(ed25519.Ed25519PrivateKey.generate())
        return cls(rsa.generate_private_key(public_exponent=EXPONENT, key_size=check_bits(bits)))

    def public_base64(self) -> str:
        """
        Return the public key as the tag ``p=`` of the record holds it.

        RSA: base64 of the SubjectPublicKeyInfo in DER, as in RFC 6376, appendix C, which verifiers
        accept. Ed25519: base64 of the 32 octets (RFC 8463, section 4.2).
        """
        public = self._key.public_key()
        if self.algorithm == "ed25519":
            data = public.public_bytes_raw()
        else:
            data = public.public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        return base64.b64encode(data).decode("ascii")

    def pem(self) -> str:
        """
        Return the private key as unencrypted PEM: PKCS#8, or PKCS#1 for a key of more than two
        primes. Use it for the table alone, by COPY.
        """
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode("ascii")

    def __repr__(self) -> str:
        return f"<PrivateKey {self.algorithm} {self.bits}>"

    def __reduce__(self):
        raise TypeError("a private key is not serialised")
