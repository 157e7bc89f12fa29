"""Reports of steps and their times."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def clock(seconds: float) -> str:
    """Return seconds as minutes: ``75.2`` as ``1:15.2``."""
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:04.1f}"


class Progress:
    """
    Steps with their times, printed as they begin and end.

    write
        A function that prints a line of text.
    """

    def __init__(self, write: Callable[[str], None] | None = None):
        self._write = write or _print_line
        self._begin = time.monotonic()
        self.times: list[tuple[str, float]] = []

    @property
    def elapsed(self) -> float:
        """Seconds since this object was made."""
        return time.monotonic() - self._begin

    def say(self, text: str) -> None:
        """Print a line, preceded by the time since the start."""
        self._write(f"[{clock(self.elapsed):>7}] {text}")

    @contextmanager
    def step(self, text: str, remind: float | None = None) -> Iterator[None]:
        """
        Print the begin of a step, and its duration at its end, also if it fails.

        remind
            The seconds between two reports that the step is still running.
        """
        self.say(f"{text} ...")
        begin = time.monotonic()
        outcome = "failed"
        over = threading.Event()
        if remind:
            threading.Thread(target=self._remind, args=[text, remind, over], daemon=True).start()
        try:
            yield
            outcome = "done"
        finally:
            over.set()
            seconds = time.monotonic() - begin
            self.times.append((text, seconds))
            self.say(f"{text}: {outcome} in {clock(seconds)}")

    def _remind(self, text: str, every: float, over: threading.Event) -> None:
        while not over.wait(every):
            self.say(f"{text}: still running")

    def table(self) -> str:
        """Return the steps with their times, and the total time, as text."""
        total = self.elapsed
        rows = [f"  {clock(seconds):>8}  {text}" for text, seconds in self.times]
        return "\n".join([*rows, f"  {clock(total):>8}  total"])


def _print_line(line: str) -> None:
    print(line, flush=True)


SILENT = Progress(lambda line: None)


def to_stderr() -> Progress:
    """Return progress on stderr, for programs whose output another program reads."""
    return Progress(lambda line: print(line, file=sys.stderr, flush=True))
