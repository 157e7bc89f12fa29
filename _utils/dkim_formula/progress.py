"""How far a long run has come, for a person who watches a terminal."""

from collections.abc import Callable
from typing import TextIO

WIDTH = 40


def bar(stream: TextIO, what: str = "keys") -> Callable[[int, int], None]:
    """
    A function that draws (done, total) as a bar, over its last one; the last ends the line.

    stream
        A terminal, by rule standard error: standard output is for the result.
    what
        What is counted.
    """

    def draw(done: int, total: int) -> None:
        filled = WIDTH * done // total if total else WIDTH
        text = f"\r[{'#' * filled}{' ' * (WIDTH - filled)}] {done} of {total} {what}"
        stream.write(text + ("\n" if done >= total else ""))
        stream.flush()

    return draw
