"""What the modules of Salt call: the settings of a job, kept or taken away."""

import contextlib
import os
import sys
from collections.abc import Mapping

from . import saved
from .saved import JOBS

__all__ = ["JOBS", "for_states", "manage", "remove"]

# A folder that has this library and nothing else: Python finds the job's module from there, and no
# other module of the site's that has a name of Python's own.
LIBRARY = "dkim_formula"


def manage(
    job: str, pillar: Mapping[str, object], health: str, host: str, test: bool = False
) -> dict[str, object]:
    """
    Keep a sound pillar for a job, and the way to the library that this process has loaded.

    job
        ``metrics``, ``report`` or ``rotation``.
    pillar, health, host
        As :class:`unattended.saved.Saved`.

    Returns ``{"changes": {path: {"old", "new"}}, "notes": [text]}``, no value of the pillar in it.
    """
    wanted, found = saved.of(pillar, health, host), saved.load(job)
    changes: dict[str, dict[str, str | None]] = {}
    path = saved.path_of(job)
    is_there = os.path.exists(path)
    if found != wanted or os.stat(path).st_mode & 0o777 != 0o600:
        old = "other settings" if is_there else None
        changes[path] = {"old": old, "new": "these settings"}
    link, library = os.path.join(saved.FOLDER, LIBRARY), _library()
    if _target(link) != library:
        changes[link] = {"old": _target(link), "new": library}
    if not test:
        if path in changes:
            saved.store(job, wanted)
        if link in changes:
            _put_link(link, library)
    return {"changes": changes, "notes": []}


def remove(job: str, test: bool = False) -> dict[str, object]:
    """Remove what :func:`manage` keeps for a job; the library's link goes with the last job."""
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
    """Return ``{"python", "folder"}`` for the units: what runs the jobs, and where."""
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
