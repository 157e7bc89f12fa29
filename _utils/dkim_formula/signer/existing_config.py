"""An existing opendkim.conf(5): its options, and who wrote it."""

import hashlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from ..settings.model import Settings
from ..settings.opendkim_options import spelling
from . import config_options, daemons
from .daemons import Daemon

DPKG_QUERY = "/usr/bin/dpkg-query"

_LARGEST = 1_000_000  # octets
_DEPTH = 5  # levels of files that include files


@dataclass(frozen=True)
class Option:
    """A line of an opendkim.conf(5); a known ``name`` is in the manual's spelling."""

    name: str
    value: str
    path: str
    line: int


def parse(text: str, path: str) -> list[Option]:
    """Return the options of a file: a name, white space, a value; ``#`` begins a comment."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#", 1)[0].split(None, 1)
        if words:
            value = " ".join(words[1].split()) if len(words) > 1 else ""
            found.append(Option(spelling(words[0]) or words[0], value, path, number))
    return found


def differing(settings: Settings, daemon: Daemon) -> list[str]:
    """
    Return the names of options that differ between the daemon's file and the settings.

    Missing, surplus and duplicate options count too. Values are left out, because a value set by
    hand may contain a password.
    """
    desired = config_options.options(settings, daemon)
    present: dict[str, str] = {}
    found = []
    for option in parse(text_of(daemon.config_file), daemon.config_file):
        if option.name in present or option.name not in desired:
            found.append(option.name)
        present[option.name] = option.value
    found += [
        name for name, value in desired.items() if present.get(name) != " ".join(value.split())
    ]
    return list(dict.fromkeys(found))


def options(path: str, depth: int = _DEPTH) -> list[Option]:
    """Return the options of a file and of files that it includes; none if it can't be read."""
    found = []
    for option in parse(text_of(path), path):
        found.append(option)
        if option.name == "Include" and depth > 0:
            found += options(option.value, depth - 1)
    return found


def is_managed(path: str) -> bool:
    """Return whether the formula wrote a file."""
    return text_of(path).startswith(daemons.HEADER)


def is_custom(path: str) -> bool:
    """Return whether a file exists that neither the formula nor the package wrote."""
    text = text_of(path)
    return bool(text) and not text.startswith(daemons.HEADER) and not _is_packaged(path, text)


def text_of(path: str) -> str:
    """Return the text of a file; an empty one if it can't be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read(_LARGEST)
    except (OSError, ValueError):  # ValueError: the text is not a valid path
        return ""


def _is_packaged(path: str, text: str) -> bool:
    """Return whether a file is a package's unchanged file: dpkg knows its digest."""
    data = text.encode("utf-8", "surrogateescape")
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return any(line == f"{path} {digest}" for line in _conffiles())


def _conffiles() -> Iterator[str]:
    command = [DPKG_QUERY, "--show", "--showformat=${Conffiles}\n", "opendkim"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return
    yield from (line.strip() for line in done.stdout.splitlines())
