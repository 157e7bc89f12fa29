"""A private key as OpenDKIM takes one: a PEM file, or the key itself in a table."""

import base64
import binascii
import os
import re
import stat
import textwrap

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from ..database.material import read_row
from ..errors import InvalidValue
from ..keys import DEFAULT_BITS, PrivateKey
from ..secret import Secret

# OpenDKIM reads no more of a key file (opendkim.h, MAXBUFRSZ).
MOST_BYTES = 65536

# Stands for a key in an error: what was given is never shown.
_HIDDEN = Secret("")
_ONE_LINE_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(.*)-----END \1-----")
_BASE64 = re.compile(rb"[A-Za-z0-9+/\s]+={0,2}\s*")


def is_path(text: str) -> bool:
    """Whether a KeyTable's third field names a file: opendkim.conf(5), «KeyTable»."""
    return text.startswith(("/", "./", "../"))


def read_file(path: object, where: str) -> bytes:
    """
    The content of a key file.

    path
        Absolute: what a relative one means depends on the daemon's BaseDirectory.

    Raises InvalidValue where it can't be read, is no regular file or too large for a key.
    """
    if not isinstance(path, str) or not path.startswith("/"):
        raise InvalidValue(where, path, "is not an absolute path", "give the whole path")
    try:
        # A FIFO would have the open wait for its other end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InvalidValue(where, path, "is not a regular file")
            content = stream.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidValue):
            raise
        reason = getattr(error, "strerror", None) or "it is not a path"
        raise InvalidValue(where, path, f"can't be read: {reason}") from None
    if len(content) > MOST_BYTES:
        raise InvalidValue(where, path, f"is larger than {MOST_BYTES} bytes", "give a key file")
    return content


def private_key(data: bytes, where: str) -> PrivateKey:
    """
    The key in what OpenDKIM takes: PEM, base64 of DER, or DER (libopendkim's dkim.c).

    A PEM text that a table's line forced into one line is taken too.

    Raises InvalidValue as ``PrivateKey.from_pem`` does; no text shows anything of the key.
    """
    if b"-----BEGIN" in data:
        return read_row(_unfolded(data).decode("utf-8", "replace"), where)
    return PrivateKey.from_pem(_pem_of_der(_decoded(data), where), where)


def check_strength(key: PrivateKey, allow_weak: bool, where: str) -> None:
    """
    Refuses an RSA key below 2048 bits, unless weak ones are allowed; below 1024 there is no key at
    all, by ``PrivateKey``. Source: RFC 8301, section 3.2.
    """
    if key.algorithm == "rsa" and key.bits < DEFAULT_BITS and not allow_weak:
        raise InvalidValue(
            where,
            _HIDDEN,
            f"is an RSA key of {key.bits} bits",
            f"RFC 8301, section 3.2, wants {DEFAULT_BITS}; allow_weak takes it all the same",
        )


def _unfolded(data: bytes) -> bytes:
    found = _ONE_LINE_PEM.fullmatch(data.strip())
    if found is None:
        return data
    label, body = found.groups()
    lines = textwrap.wrap(re.sub(rb"\\n|\s", b"", body).decode("ascii", "replace"), 64)
    pem = [f"-----BEGIN {label.decode()}-----", *lines, f"-----END {label.decode()}-----", ""]
    return "\n".join(pem).encode("ascii", "replace")


def _decoded(data: bytes) -> bytes:
    if not _BASE64.fullmatch(data):
        return data
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error:
        return data


def _pem_of_der(der: bytes, where: str) -> bytes:
    try:
        key = serialization.load_der_private_key(der, password=None)
    except TypeError:
        raise InvalidValue(where, _HIDDEN, "is encrypted", "give it without a passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidValue(
            where, _HIDDEN, "does not parse as a private key", "give it as PEM, or as base64 of DER"
        ) from None
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
