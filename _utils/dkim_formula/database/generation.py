"""Making many keys on all cores, in batches that are kept when the run is stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..settings.model import Database
from .keystore import Key, Wanted


def generate(
    connection,
    database: Database,
    wanted: Sequence[Wanted],
    why: str,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> list[Key]:
    """
    Generates and stores what is missing of ``wanted``; commits after each batch.

    progress
        Called with (done, total) after each batch.
    workers
        Threads; default: one for each core that this process may use.
    """
    raise NotImplementedError
