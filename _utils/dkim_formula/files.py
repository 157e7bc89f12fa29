"""Replacement of a file in one step, and the reason why a path can't be used."""

from __future__ import annotations

import contextlib
import os
import tempfile


def replace_file(path: str, text: str, mode: int, owner: tuple[int, int] | None = None) -> None:
    """
    Write a file under a temporary name and rename it. A reader sees the complete old text or the
    complete new text, also after a crash. Only root and the owner can read the temporary file.

    text
        Written in UTF-8; octets that ``surrogateescape`` read are written unchanged.
    mode
        The permissions, as chmod(2) takes them.
    owner
        The numbers of user and group; None: those of the process.

    Raises OSError; the old file is unchanged then.
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


def reason_of(error: OSError | ValueError) -> str:
    """Return why a path can't be used. A ValueError is a text that can't be a path, as with NUL."""
    return getattr(error, "strerror", None) or "it is not a path"
