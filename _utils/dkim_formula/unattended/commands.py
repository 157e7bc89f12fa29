"""Functions that Salt's modules call: store or remove the settings of a job."""

import contextlib
import os
import sys
from collections.abc import Mapping

from . import saved
from .saved import JOBS

__all__ = ["JOBS", "for_states", "manage", "remove"]

# A link in a folder with nothing else to import. Python finds the library by this folder, and finds
# no other module that could hide one of Python's own.
LIBRARY = "dkim_formula"


def manage(
    job: str, pillar: Mapping[str, object], health: str, host: str, call: str, test: bool = False
) -> dict[str, object]:
    """
    Store a valid pillar for a job, and a link to the library that this process has loaded.

    job
        ``metrics``, ``report`` or ``rotation``.
    pillar, health, host, call
        The attributes of :class:`unattended.saved.Saved`.

    Returns ``{"changes": {path: {"old", "new"}}, "notes": [text]}``, without values of the pillar.
    """
    desired, found = saved.of(pillar, health, host, call), saved.load(job)
    changes: dict[str, dict[str, str | None]] = {}
    path = saved.path_of(job)
    exists = os.path.exists(path)
    if found != desired or os.stat(path).st_mode & 0o777 != 0o600:
        old = "other settings" if exists else None
        changes[path] = {"old": old, "new": "these settings"}
    link, library = os.path.join(saved.FOLDER, LIBRARY), _library()
    if _target(link) != library:
        changes[link] = {"old": _target(link), "new": library}
    if not test:
        if path in changes:
            saved.store(job, desired)
        if link in changes:
            _put_link(link, library)
    return {"changes": changes, "notes": []}


def remove(job: str, test: bool = False) -> dict[str, object]:
    """Remove the files of :func:`manage` for a job, and after the last job the library's link."""
    path, link = saved.path_of(job), os.path.join(saved.FOLDER, LIBRARY)
    left = set(_listed()) - {os.path.basename(path), LIBRARY}
    gone = [one for one in (path, *([] if left else [link])) if os.path.lexists(one)]
    old = {path: "settings", link: _target(link) or "library"}
    if not test:
        for one in gone:
            os.unlink(one)
        if not left:
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(saved.FOLDER)
    return {"changes": {one: {"old": old[one], "new": None} for one in gone}, "notes": []}


def for_states() -> dict[str, str]:
    """Return ``{"python", "folder"}`` for the units: the interpreter and the working directory."""
    return {"python": sys.executable, "folder": saved.FOLDER}


def _library() -> str:
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _target(link: str) -> str | None:
    try:
        return os.readlink(link)
    except OSError:
        return None


def _put_link(link: str, library: str) -> None:
    new = f"{link}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    os.symlink(library, new)
    os.replace(new, link)


def _listed() -> list[str]:
    try:
        return os.listdir(saved.FOLDER)
    except FileNotFoundError:
        return []
