"""What is kept between two looks: facts, and what was told of them. For root alone."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..files import replace_file
from .facts import Keys, Names

FACTS = "facts.json"
TOLD = "told.json"


@dataclass(frozen=True)
class Kept:
    """The facts that cost something, as they were last seen."""

    keys: Keys | None = None
    names: Names | None = None


@contextlib.contextmanager
def locked(folder: str, wait: bool) -> Iterator[bool]:
    """
    One process at a time gathers facts; makes the folder where it is absent.

    wait
        Wait for another that is at it; else False is given at once.
    """
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with open(os.path.join(folder, "lock"), "a", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        # Closing the file, or the end of the process, lets the next one in.
        yield True


def read_facts(folder: str) -> Kept:
    """What was kept. A file of another version, or a damaged one, is as none."""
    plain = _read(folder, FACTS)
    try:
        keys, names = plain.get("keys"), plain.get("names")
        return Kept(
            None if keys is None else Keys.from_plain(keys),
            None if names is None else Names.from_plain(names),
        )
    except (TypeError, KeyError, AttributeError):
        return Kept()


def write_facts(folder: str, kept: Kept) -> None:
    """Keep these in place of what was kept."""
    plain = {
        "keys": None if kept.keys is None else kept.keys.as_plain(),
        "names": None if kept.names is None else kept.names.as_plain(),
    }
    replace_file(os.path.join(folder, FACTS), json.dumps(plain), 0o600)


def read_told(folder: str) -> dict[str, dict]:
    """What was told of each trouble; empty where there is nothing, or nothing whole."""
    plain = _read(folder, TOLD)
    return plain if all(isinstance(one, dict) for one in plain.values()) else {}


def write_told(folder: str, told: Mapping[str, Mapping]) -> None:
    """Keep what was told."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    replace_file(os.path.join(folder, TOLD), json.dumps(told), 0o600)


def _read(folder: str, name: str) -> dict:
    try:
        with open(os.path.join(folder, name), encoding="utf-8") as stream:
            plain = json.load(stream)
    except (OSError, ValueError):
        return {}
    return plain if isinstance(plain, dict) else {}
