"""A private key as OpenDKIM takes one: a PEM file, or the key itself in a table."""

import os
import stat

from .errors import InvalidValue
from .key_text import read_stored
from .private_key import DEFAULT_BITS, PrivateKey
from .secret import Secret

# OpenDKIM reads no more of a key file (opendkim.h, MAXBUFRSZ).
MOST_BYTES = 65536

# Stands for a key in an error: what was given is never shown.
_HIDDEN = Secret("")


def is_path(text: str) -> bool:
    """Whether a KeyTable's third field names a file: opendkim.conf(5), «KeyTable»."""
    return text.startswith(("/", "./", "../"))


def read_file(path: object, where: str, below: str = "") -> bytes:
    """
    The content of a key file.

    path
        Absolute: what a relative one means depends on the daemon's BaseDirectory.
    below
        The folder that the file has to be in, symbolic links followed; any where it is empty.

    Raises InvalidValue where it can't be read, is no regular file or too large for a key.
    """
    if not isinstance(path, str) or not path.startswith("/"):
        raise InvalidValue(where, path, "is not an absolute path", "give the whole path")
    try:
        # The opening of a device may do something by itself.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InvalidValue(where, path, "is not a regular file")
        # A FIFO would have the open wait for its other end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InvalidValue(where, path, "is not a regular file")
            if below and not _is_below(descriptor, below):
                raise InvalidValue(
                    where, path, f"is not in {below}", "give the keys' folder as folder="
                )
            content = stream.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidValue):
            raise
        reason = getattr(error, "strerror", None) or "it is not a path"
        raise InvalidValue(where, path, f"can't be read: {reason}") from None
    if len(content) > MOST_BYTES:
        raise InvalidValue(where, path, f"is larger than {MOST_BYTES} bytes", "give a key file")
    return content


def _is_below(descriptor: int, folder: str) -> bool:
    # Of the open file, so that nobody can put a link in its place in between (proc(5)).
    opened = os.readlink(f"/proc/self/fd/{descriptor}")
    return opened.startswith(f"{os.path.realpath(folder).rstrip('/')}/")


def exposure(path: str) -> str:
    """Return who else may read a key file, as the end of a sentence about the file; or ''."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return ""
    if not mode & stat.S_IROTH:
        return ""
    return f"has mode {stat.S_IMODE(mode):04o}: every account of this machine can read the key"


def private_key(data: bytes, where: str) -> PrivateKey:
    """
    The key in what OpenDKIM takes: PEM, base64 of DER, or DER (libopendkim's dkim.c).

    A PEM text that a table's line forced into one line is taken too.

    Raises InvalidValue, which says what is wrong; no text shows anything of the key.
    """
    stored = read_stored(data)
    if stored.private is None:
        raise InvalidValue(where, _HIDDEN, stored.problem, stored.remedy)
    return stored.private


def check_strength(key: PrivateKey, allow_weak: bool, where: str) -> None:
    """
    Refuse a key that verifiers may not take, and RSA below 2048 bits, unless weak ones are allowed.
    Source: RFC 8301, section 3.2.
    """
    if allow_weak:
        return
    problem = key.weakness
    if not problem and key.algorithm == "rsa" and key.bits < DEFAULT_BITS:
        problem = f"is an RSA key of {key.bits} bits, and RFC 8301 wants {DEFAULT_BITS}"
    if problem:
        raise InvalidValue(where, _HIDDEN, problem, "use allow_weak=True to take it all the same")
