"""The file of an administrator's own program: only root may be able to change it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from ..errors import DnsError


def check_file(path: str, where: str) -> None:
    """
    Check that only root can change a program, because it runs as root. Raises DnsError.

    where
        The pillar key that names the program.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        raise DnsError(f"{where}: {path}: {error.strerror}; put the program there") from None
    if not stat.S_ISREG(found.st_mode) or not found.st_mode & stat.S_IXUSR:
        raise DnsError(f"{where}: {path} is not an executable file; run: chmod 0755 {path}")
    for one in _followed(path):
        if _is_open(os.lstat(one)):
            raise DnsError(
                f"{where}: {one} has another owner than root, or other users can write it, and "
                f"{path} runs as root; run: chown -h root {one}; chmod go-w {one}"
            )


def _followed(path: str) -> Iterator[str]:
    """Yield every directory and link that leads to a file, then the file."""
    at, left = "/", path.split("/")[::-1]
    yield at
    while left:
        name = left.pop()
        at = os.path.normpath(os.path.join(at, name))
        yield at
        if os.path.islink(at):
            target = os.readlink(at)
            left += target.split("/")[::-1]
            at = "/" if target.startswith("/") else os.path.dirname(at)


def _is_open(found: os.stat_result) -> bool:
    """Return whether another account than root can replace a file, or what is in a directory."""
    if found.st_uid != 0:
        return True
    if stat.S_ISLNK(found.st_mode):
        return False
    # In a directory with the sticky bit, such as /tmp, other users can't replace root's files.
    is_sticky = stat.S_ISDIR(found.st_mode) and bool(found.st_mode & stat.S_ISVTX)
    return bool(found.st_mode & 0o022) and not is_sticky
