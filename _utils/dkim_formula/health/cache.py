"""Results and told events, kept between two calls, for root alone."""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

from ..files import replace_file
from ..settings.model import Monitoring
from .model import Results
from .run import DATABASE, DNS

RESULTS = "results.json"
TOLD = "told.json"

# By their cost: what the checks of the database, and of DNS, found last.
Kept = Mapping[str, Results]


def refresh(
    monitoring: Monitoring,
    folder: str,
    now: float,
    collect: Callable[[str], Results],
    costs: Sequence[str] = (DATABASE, DNS),
    *,
    fresh: bool = False,
    wait: bool = True,
) -> Kept:
    """
    Return what is known now; run the checks that are due, and keep their results.

    folder
        Where they are kept.
    collect
        Runs the checks of one cost.
    costs
        DATABASE, DNS or both.
    fresh
        Run all of them, due or not.
    wait
        Where another process is at it, wait for that; else what was kept is given.
    """
    with locked(folder, wait) as mine:
        kept = read_results(folder)
        if not mine:
            return kept
        for cost in costs:
            if (fresh and _interval(monitoring, cost)) or is_due(monitoring, kept, cost, now):
                kept = {**kept, cost: collect(cost)}
                # DNS may take its time, and the results of the database don't wait for it.
                write_results(folder, kept)
    return kept


def is_due(monitoring: Monitoring, kept: Kept, cost: str, now: float) -> bool:
    """Whether the interval of the database, or of DNS, is over."""
    every = _interval(monitoring, cost)
    if every is None:
        return False
    if cost not in kept:
        return True
    # What is away is asked at each call, so that its return is told soon.
    if kept[cost].is_down(cost):
        every = monitoring.every
    # Results from the future are from before the clock was set back.
    return not kept[cost].at <= now < kept[cost].at + every


def _interval(monitoring: Monitoring, cost: str) -> int | None:
    return monitoring.database_every if cost == DATABASE else monitoring.dns_every


@contextlib.contextmanager
def locked(folder: str, wait: bool) -> Iterator[bool]:
    """
    Let one process at a time run the checks; makes the folder where it is absent.

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


def read_results(folder: str) -> Kept:
    """Return what was kept. A file of another version, or an unreadable one, is as none."""
    data = _read(folder, RESULTS)
    try:
        return {cost: Results.from_json(data[cost]) for cost in (DATABASE, DNS) if cost in data}
    except (TypeError, KeyError, ValueError, AttributeError):
        return {}


def write_results(folder: str, kept: Kept) -> None:
    """Keep these results in place of what was kept."""
    data = {cost: results.to_json() for cost, results in kept.items()}
    os.makedirs(folder, mode=0o700, exist_ok=True)
    replace_file(os.path.join(folder, RESULTS), json.dumps(data), 0o600)


def read_told(folder: str) -> dict[str, dict]:
    """Return what was told of each problem; empty where nothing complete is there."""
    data = _read(folder, TOLD)
    return data if all(isinstance(one, dict) for one in data.values()) else {}


def write_told(folder: str, told: Mapping[str, Mapping]) -> None:
    """Keep what was told."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    replace_file(os.path.join(folder, TOLD), json.dumps(told), 0o600)


def _read(folder: str, name: str) -> dict:
    try:
        with open(os.path.join(folder, name), encoding="utf-8") as stream:
            data = json.load(stream)
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
