"""Files that keep results and problems between two calls, for root alone."""

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
REPORTED = "reported.json"
FIRST_FOUND = "first_found.json"

# The last results of the DATABASE checks and of the DNS checks, by cost.
Kept = Mapping[str, Results]


def refresh(
    monitoring: Monitoring,
    folder: str,
    clock: Callable[[], float],
    collect: Callable[[str], Results],
    costs: Sequence[str] = (DATABASE, DNS),
    *,
    fresh: bool = False,
    wait: bool = True,
) -> Kept:
    """
    Run the checks that are due, keep their results, and return all kept results.

    folder
        The folder of the kept results.
    clock
        A function that returns the time, in seconds since the epoch. It is called after the wait
        for another process, whose results would otherwise seem to have a future time.
    collect
        A function that runs the checks of one cost.
    costs
        DATABASE, DNS or both.
    fresh
        Run all these checks, due or not.
    wait
        Wait for another process that runs the checks. Otherwise return the kept results.
    """
    with locked(folder, wait) as has_lock:
        kept, now = read_results(folder), clock()
        if not has_lock:
            return kept
        for cost in costs:
            if (fresh and _interval(monitoring, cost)) or is_due(monitoring, kept, cost, now):
                kept = {**kept, cost: collect(cost)}
                # Written after each cost, since the checks of DNS may take long.
                write_results(folder, kept)
    return kept


def is_due(monitoring: Monitoring, kept: Kept, cost: str, now: float) -> bool:
    """Return whether the interval of the database, or of DNS, is over."""
    every = _interval(monitoring, cost)
    if every is None:
        return False
    if cost not in kept:
        return True
    # A database or DNS that did not answer is asked at each call, to report its recovery soon.
    if kept[cost].is_down(cost):
        every = monitoring.every
    # Results with a future time are from before the clock was set back.
    return not kept[cost].at <= now < kept[cost].at + every


def _interval(monitoring: Monitoring, cost: str) -> int | None:
    return monitoring.database_every if cost == DATABASE else monitoring.dns_every


@contextlib.contextmanager
def locked(folder: str, wait: bool) -> Iterator[bool]:
    """
    Lock the folder, and create it if it is missing: one process at a time runs the checks.

    wait
        Wait for another process that has the lock. Otherwise yield False at once.
    """
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with open(os.path.join(folder, "lock"), "a", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        # Closing the file, or the end of the process, releases the lock.
        yield True


def read_results(folder: str) -> Kept:
    """Return the kept results; none from a file that is unreadable or of another version."""
    data = _read(folder, RESULTS)
    try:
        return {cost: Results.from_json(data[cost]) for cost in (DATABASE, DNS) if cost in data}
    except (TypeError, KeyError, ValueError, AttributeError):
        return {}


def write_results(folder: str, kept: Kept) -> None:
    """Replace the kept results."""
    data = {cost: results.to_json() for cost, results in kept.items()}
    os.makedirs(folder, mode=0o700, exist_ok=True)
    replace_file(os.path.join(folder, RESULTS), json.dumps(data), 0o600)


def read_reported(folder: str) -> dict[str, dict]:
    """Return the memory of reported problems; empty if the file is missing or incomplete."""
    data = _read(folder, REPORTED)
    return data if all(isinstance(one, dict) for one in data.values()) else {}


def write_reported(folder: str, reported: Mapping[str, Mapping]) -> None:
    """Replace the memory of reported problems."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    replace_file(os.path.join(folder, REPORTED), json.dumps(reported), 0o600)


def read_first_found(folder: str) -> dict[str, dict]:
    """Return the memory of when problems were first found, without unreadable entries."""
    return {
        name: entry for name, entry in _read(folder, FIRST_FOUND).items() if _is_complete(entry)
    }


def write_first_found(folder: str, memory: Mapping[str, Mapping]) -> None:
    """Replace the memory of when problems were first found."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    replace_file(os.path.join(folder, FIRST_FOUND), json.dumps(memory), 0o600)


def _is_complete(entry: object) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("items"), dict):
        return False
    times = [entry.get("last"), *entry["items"].values()]
    return isinstance(entry.get("check"), str) and all(
        isinstance(time, (int, float)) for time in times
    )


def _read(folder: str, name: str) -> dict:
    try:
        with open(os.path.join(folder, name), encoding="utf-8") as stream:
            data = json.load(stream)
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
