"""How far a long run has come, for a person who waits at a terminal, or reads a log later."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TextIO

WIDTH = 40

# Who waits for less than this sees nothing; a bar is drawn this often, and a line where there is
# no terminal (seconds).
DELAY = 2.0
REDRAWN = 0.2
LINES = 10.0

Progress = Callable[[int, int], None]


@contextlib.contextmanager
def shown(
    stream: TextIO, what: str = "keys", clock: Callable[[], float] = time.monotonic
) -> Iterator[Progress]:
    """
    Yield a function that shows (done, total): as a bar that is gone in the end where the stream is
    a terminal, else as a line every ten seconds.

    stream
        By rule standard error: standard output is for the result.
    what
        What is counted.
    """
    teller = _Teller(stream, what, clock)
    try:
        yield teller.tell
    finally:
        teller.end()


class _Teller:
    def __init__(self, stream: TextIO, what: str, clock: Callable[[], float]):
        self._stream = stream
        self._what = what
        self._clock = clock
        self._is_terminal = stream.isatty()
        self._next = clock() + (DELAY if self._is_terminal else LINES)
        self._drawn = 0

    def tell(self, done: int, total: int) -> None:
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
        """Wipe the bar: what follows begins on a line of its own, an error too."""
        if self._drawn:
            self._write(f"\r{' ' * self._drawn}\r")

    def _write(self, text: str) -> None:
        # A terminal that has gone stops nobody's work.
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()
