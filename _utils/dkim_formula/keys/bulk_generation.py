"""Generation of many keys on all cores, in batches that a stopped run keeps."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from ..postgres.connection import session
from ..postgres.objects import LOCK_BULK, LOCK_CLASS, names
from ..postgres.sql import compose
from ..private_key import PrivateKey
from ..settings.model import Database
from .changes import store
from .comparison import compare
from .model import DesiredKey, Key

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# A key of 2048 bits takes 70 ms (measured). So a stopped run loses two to four seconds of work of
# each core: a batch that waits to be stored, and the finished part of the next batch.
_BATCH_PER_WORKER = 32
_ANALYZE_FROM = 1000


def generate(
    connection: pg.connection,
    database: Database,
    desired: Sequence[DesiredKey],
    why: str,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
    pending_domains: Collection[str] = (),
    stored: list[Key] | None = None,
) -> list[Key]:
    """
    Generate and store the missing keys of ``desired``, and return the stored keys.

    Each batch has its own commit. So a stopped run keeps its finished batches, and the next run
    generates the rest. A run of several batches takes a lock, waits for another such run and then
    skips that run's keys. A run of one batch takes no such lock.

    why
        The reason, for the history.
    progress
        Called with (done, total) after each batch.
    workers
        The number of threads; by default one for each core that this process may use. The
        generation of an RSA key releases the interpreter lock, so threads suffice (measured: two
        threads generate twice the keys).
    pending_domains
        Domains whose first key is stored as pending and waits for its record.
    stored
        A list to which each committed batch adds its keys. The caller has them even if a later
        batch fails.
    """
    workers = workers or len(os.sched_getaffinity(0))
    size = workers * _BATCH_PER_WORKER
    missing = _missing(connection, database, desired)
    is_bulk = len(missing) > size
    if is_bulk:
        _lock(connection, "pg_advisory_lock")
        missing = _missing(connection, database, missing)
    connection.commit()
    stored = [] if stored is None else stored
    try:
        done = 0
        with contextlib.closing(_batches(missing, size, workers)) as batches:
            for pairs in batches:
                kept = store(connection, database, pairs, why, pending_domains=pending_domains)
                connection.commit()
                stored += kept
                done += len(pairs)
                if progress is not None:
                    progress(done, len(missing))
    finally:
        # A lost connection has lost its locks too. The loss must stay the reported error.
        if not connection.closed:
            connection.rollback()
            if is_bulk:
                _lock(connection, "pg_advisory_unlock")
    if len(stored) >= _ANALYZE_FROM:
        _analyze(database)
    return stored


def _batches(
    missing: Sequence[DesiredKey], size: int, workers: int
) -> Iterator[list[tuple[DesiredKey, PrivateKey]]]:
    """Yield batches of keys. While the caller stores one batch, the next is being generated."""
    with ThreadPoolExecutor(workers) as pool:
        try:
            following = None
            for start in range(0, len(missing), size):
                batch = missing[start : start + size]
                made = pool.map(lambda one: PrivateKey.generate(one.algorithm, one.bits), batch)
                ready, following = following, (batch, made)
                if ready is not None:
                    yield list(zip(*ready, strict=True))
            if following is not None:
                yield list(zip(*following, strict=True))
        finally:
            pool.shutdown(cancel_futures=True)


def _missing(
    connection: pg.connection, database: Database, desired: Sequence[DesiredKey]
) -> list[DesiredKey]:
    return list(compare(connection, database, desired).missing)


def _lock(connection: pg.connection, function: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}(%s, %s)", (LOCK_CLASS, LOCK_BULK))
    connection.commit()


def _analyze(database: Database) -> None:
    """
    Update the planner's statistics. Without this the planner takes the table for empty until the
    next autovacuum. Only the owner and superusers may do this: PostgreSQL warns other roles and
    skips the table.
    """
    with session(database, setup=True) as connection, connection.cursor() as cursor:
        cursor.execute(compose("ANALYZE {dkim}", **names(database)))
