"""The copy of an opendkim.conf(5) made by hand, which is made before the file is replaced."""

import contextlib
import errno
import itertools
import os
import re
from collections.abc import Iterator

from ..errors import OpenDKIMError
from ..files import replace_file
from .daemons import Daemon
from .existing_config import is_custom, text_of

COPY = ".before-dkim-formula"

# A password in a data set's name, user:password@host, and the only option that is a password:
# opendkim(8), opendkim.conf(5).
_PASSWORDS = (
    re.compile(r"(://[^:/@\s]*):\S*@"),
    re.compile(r"^(\s*LDAPBindPassword\s+)\S.*$", re.IGNORECASE | re.MULTILINE),
)
_LEFT_OUT = "LEFT-OUT"


def copy_path(daemon: Daemon) -> str:
    """Return the path for the copy of a custom file, or an empty string."""
    path = daemon.config_file
    if not is_custom(path):
        return ""
    text = _without_passwords(text_of(path))
    same = next((copy for copy in copies(path) if text_of(copy) == text), None)
    return same or next(copy for copy in _names(path) if not os.path.lexists(copy))


def _names(path: str) -> Iterator[str]:
    """Yield the names for copies of a file: ``.before-dkim-formula``, then with a number from 2."""
    yield f"{path}{COPY}"
    for number in itertools.count(2):
        yield f"{path}{COPY}.{number}"


def lacks_copy(path: str, copy: str) -> bool:
    """Return whether a file exists and its copy is missing."""
    return os.path.isfile(path) and not os.path.lexists(copy)


def save_copy(path: str, copy: str) -> None:
    """
    Copy a file so that only root can read the copy (mode 0400).

    Passwords are left out: a secret should be in as few files as possible, and the role that used
    this password loses it. An existing copy is left as it is.

    Raises OpenDKIMError if the copy can't be written. The copy is written in one step, because the
    next run would take a partial file for the copy.
    """
    try:
        if os.path.lexists(copy):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        replace_file(copy, _without_passwords(text_of(path)), 0o400)
    except OSError as error:
        raise OpenDKIMError(
            f"{path}: can't be copied to {copy}: {error.strerror}; make room there, and run again"
        ) from None


def copies(path: str) -> list[str]:
    """Return the copies that the formula made of a file, in the order of their numbers."""
    folder, name = os.path.split(path)
    with contextlib.suppress(OSError):
        found = [one for one in os.listdir(folder) if one.startswith(f"{name}{COPY}")]
        return [os.path.join(folder, one) for one in sorted(found, key=lambda one: (len(one), one))]
    return []


def _without_passwords(text: str) -> str:
    in_name, option = _PASSWORDS
    return option.sub(rf"\g<1>{_LEFT_OUT}", in_name.sub(rf"\g<1>:{_LEFT_OUT}@", text))
