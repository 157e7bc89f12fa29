"""Private keys in the forms that OpenDKIM accepts: a key file, or the key itself in a table."""

import os
import stat
from collections.abc import Callable

from .errors import InvalidValue
from .files import reason_of
from .key_text import read_stored
from .private_key import DEFAULT_BITS, PrivateKey
from .secret import Secret

# OpenDKIM reads no more of a key file (opendkim.h, MAXBUFRSZ).
MOST_BYTES = 65536

# The value shown in an error about a key, so that no error shows the key.
_HIDDEN = Secret("")


def is_path(text: str) -> bool:
    """Return whether the third field of a KeyTable names a file: opendkim.conf(5), «KeyTable»."""
    return text.startswith(("/", "./", "../"))


def read_file(
    path: object, where: str, check: Callable[[int], None] = lambda descriptor: None
) -> bytes:
    """
    Return the content of a key file.

    path
        An absolute path: the meaning of a relative path depends on the daemon's BaseDirectory.
    check
        A function that gets the descriptor of the open file, and raises InvalidValue to refuse it.

    Raises InvalidValue if the file can't be read, is not a regular file or is too large for a key.
    """
    if not isinstance(path, str) or not path.startswith("/"):
        raise InvalidValue(where, path, "is not an absolute path", "give the complete path")
    try:
        # To open a device may have an effect by itself.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InvalidValue(where, path, "is not a regular file")
        # Without O_NONBLOCK the opening of a FIFO waits for its other end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InvalidValue(where, path, "is not a regular file")
            check(descriptor)
            content = stream.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidValue):
            raise
        reason = reason_of(error)
        raise InvalidValue(where, path, f"can't be read: {reason}") from None
    if len(content) > MOST_BYTES:
        raise InvalidValue(where, path, f"is larger than {MOST_BYTES} bytes", "give a key file")
    return content


def exposure(path: str) -> str:
    """
    Return the end of a sentence about a key file that every account may read; empty for another.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return ""
    if not mode & stat.S_IROTH:
        return ""
    return f"has mode {stat.S_IMODE(mode):04o}: every account of this machine can read the key"


def private_key(data: bytes, where: str) -> PrivateKey:
    """
    Return the key in a text that OpenDKIM accepts: PEM, base64 of DER, or DER (dkim.c of
    libopendkim).

    A PEM text whose line ends are lost, as in a line of a table, is accepted too.

    Raises InvalidValue. No text of an error shows a part of the key.
    """
    stored = read_stored(data)
    if stored.private is None:
        raise InvalidValue(where, _HIDDEN, stored.problem, stored.remedy)
    return stored.private


def check_strength(key: PrivateKey, allow_weak: bool, where: str) -> None:
    """
    Refuse a key that verifiers need not accept, and RSA below 2048 bits, unless ``allow_weak``.
    Source: RFC 8301, section 3.2.
    """
    if allow_weak:
        return
    problem = key.weakness
    if not problem and key.algorithm == "rsa" and key.bits < DEFAULT_BITS:
        problem = f"is an RSA key of {key.bits} bits, and RFC 8301 recommends {DEFAULT_BITS}"
    if problem:
        raise InvalidValue(where, _HIDDEN, problem, "use allow_weak=True to accept it")
