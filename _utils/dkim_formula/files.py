"""A file written anew in one step."""

from __future__ import annotations

import contextlib
import os
import tempfile


def replace_file(path: str, text: str, mode: int, owner: tuple[int, int] | None = None) -> None:
    """
    Writes a file beside its place and puts it there whole: who reads it sees the old text or the
    new one, after a crash too, and nobody without a right to it can read it meanwhile.

    text
        In UTF-8; what ``surrogateescape`` read comes out as it was.
    mode
        The permissions, as chmod(2) has them.
    owner
        Its user's and group's number; those of the process where None.

    Raises OSError; then the old file is as it was.
    """
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".")  # mode 0600
    try:
        with os.fdopen(
            handle, "w", encoding="utf-8", errors="surrogateescape", newline=""
        ) as stream:
            stream.write(text)
            stream.flush()
            if owner is not None:
                os.fchown(handle, *owner)
            os.fchmod(handle, mode)
            os.fsync(handle)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
