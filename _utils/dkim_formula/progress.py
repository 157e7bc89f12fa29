"""Progress of a long run: a bar on a terminal, or lines in a log."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TextIO

WIDTH = 40

# Seconds until the first bar, between two drawings of the bar, and between two lines if the stream
# is no terminal.
DELAY = 2.0
REDRAWN = 0.2
LINES = 10.0

Progress = Callable[[int, int], None]


@contextlib.contextmanager
def shown(
    stream: TextIO, what: str = "keys", clock: Callable[[], float] = time.monotonic
) -> Iterator[Progress]:
    """
    Yield a function that shows (done, total): on a terminal a bar that is erased at the end, else a
    line every ten seconds.

    stream
        Usually standard error: standard output is for the result.
    what
        The noun for what is counted.
    """
    reporter = _Reporter(stream, what, clock)
    try:
        yield reporter.report
    finally:
        reporter.end()


class _Reporter:
    def __init__(self, stream: TextIO, what: str, clock: Callable[[], float]):
        self._stream = stream
        self._what = what
        self._clock = clock
        self._is_terminal = stream.isatty()
        self._next = clock() + (DELAY if self._is_terminal else LINES)
        self._drawn = 0

    def report(self, done: int, total: int) -> None:
        now = self._clock()
        if now < self._next or done >= total:
            return
        self._next = now + (REDRAWN if self._is_terminal else LINES)
        text = f"{done:,} of {total:,} {self._what}"
        if self._is_terminal:
            filled = WIDTH * done // total
            text = f"[{'#' * filled}{' ' * (WIDTH - filled)}] {text}"
            self._drawn = max(self._drawn, len(text))
            self._write(f"\r{text:{self._drawn}}")
        else:
            self._write(f"{text}\n")

    def end(self) -> None:
        """Erase the bar, so that any later text, also an error, begins on an empty line."""
        if self._drawn:
            self._write(f"\r{' ' * self._drawn}\r")

    def _write(self, text: str) -> None:
        # A run continues if its terminal is closed.
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()
