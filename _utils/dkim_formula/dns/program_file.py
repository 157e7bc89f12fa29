"""The file of an administrator's own program: only root may be able to change it."""

from __future__ import annotations

import stat
from pathlib import Path

from ..errors import DnsError


def check_file(path: str, where: str) -> None:
    """
    Check that only root can change a program, because it runs as root. Raises DnsError.

    where
        The pillar key that names the program.
    """
    try:
        resolved = Path(path).resolve(strict=True)
        found = resolved.stat()
    except OSError as error:
        raise DnsError(f"{where}: {path}: {error.strerror}; put the program there") from None
    if not stat.S_ISREG(found.st_mode) or not found.st_mode & stat.S_IXUSR:
        raise DnsError(f"{where}: {path} is not an executable file; run: chmod 0755 {path}")
    for one in (resolved, *resolved.parents):
        state = one.stat()
        # In a directory with the sticky bit, such as /tmp, other users can't replace root's files.
        is_open = state.st_mode & 0o022 and not (one != resolved and state.st_mode & stat.S_ISVTX)
        if state.st_uid != 0 or is_open:
            raise DnsError(
                f"{where}: {one} has another owner than root, or other users can write it, and "
                f"{path} runs as root; run: chown root {one}; chmod go-w {one}"
            )
