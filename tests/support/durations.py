"""Durations of the files of integration tests, stored for the order of the next run."""

import json
from collections.abc import Sequence
from pathlib import Path

from support.progress import clock

# The files that start first if no durations are stored.
LONG = (
    "test_fleet.py",
    "test_takeover.py",
    "test_benchmarks.py",
    "test_salt_releases.py",
    "test_mail_databases.py",
    "test_readme.py",
    "test_mail_schemas.py",
    "test_rotation.py",
)


class Durations:
    """
    Seconds by release and file, of the last complete run and of this run.

    path
        The JSON file that stores the seconds for the next run.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._known = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._known = {}
        self._now: dict[str, tuple[float, float]] = {}

    def of(self, release: str, target: Sequence[str]) -> float:
        """Return a file's seconds in the last run; a file without a stored time may be long."""
        known = self._known.get(_key(release, target))
        return known if known is not None else float("inf") if _is_long(target) else 1000.0

    def note(self, release: str, target: Sequence[str], seconds: float, processor: float) -> None:
        """Note a file's seconds by the clock, and its processor seconds."""
        self._now[_key(release, target)] = (seconds, processor)

    def keep(self) -> None:
        """Write the durations for the next run."""
        now = {key: round(seconds, 1) for key, (seconds, _) in self._now.items()}
        text = json.dumps({**self._known, **now}, indent=1, sort_keys=True)
        self._path.write_text(text, encoding="utf-8")

    def table(self, count: int) -> str:
        """Return the files that took longest in this run, with processor times, as text."""
        longest = sorted(self._now.items(), key=lambda item: item[1], reverse=True)[:count]
        return "\n".join(
            f"  {clock(seconds):>8}  {key} (pytest itself {clock(processor)} of the processor)"
            for key, (seconds, processor) in longest
        )


def _key(release: str, target: Sequence[str]) -> str:
    return f"{release} {target[0]}"


def _is_long(target: Sequence[str]) -> bool:
    return target[0].endswith(LONG)
