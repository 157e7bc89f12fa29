"""Making many keys on all cores, in batches that are kept when the run is stopped."""

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

# At 70 ms for a key of 2048 bits (measured) a stopped run loses the work of two to four seconds of
# each core: a batch that waits to be stored, and the next one as far as it is.
_BATCH_PER_WORKER = 32
_ANALYZE_FROM = 1000


def generate(
    connection: pg.connection,
    database: Database,
    wanted: Sequence[DesiredKey],
    why: str,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
    waiting: Collection[str] = (),
    stored: list[Key] | None = None,
) -> list[Key]:
    """
    Generates and stores those of ``wanted`` that are missing; gives what it stored.

    Each batch is committed by itself, so a run that is stopped keeps what it made, and the next
    makes the rest. A run of more than one batch waits for another such run, and then finds what
    that one made; a single domain's waits for nobody.

    why
        For the history.
    progress
        Called with (done, total) after each batch.
    workers
        Threads; default: one for each core that this process may use. The making of an RSA key
        gives the interpreter lock back, so that threads do (measured: two give twice the keys).
    waiting
        Domains whose first key is stored as pending, and waits for its record.
    stored
        Gets the keys of each batch that is committed; it has them where a later batch fails.
    """
    workers = workers or len(os.sched_getaffinity(0))
    size = workers * _BATCH_PER_WORKER
    missing = _missing(connection, database, wanted)
    bulk = len(missing) > size
    if bulk:
        _lock(connection, "pg_advisory_lock")
        missing = _missing(connection, database, missing)
    connection.commit()
    stored = [] if stored is None else stored
    try:
        done = 0
        with contextlib.closing(_batches(missing, size, workers)) as batches:
            for pairs in batches:
                kept = store(connection, database, pairs, why, waiting=waiting)
                connection.commit()
                stored += kept
                done += len(pairs)
                if progress is not None:
                    progress(done, len(missing))
    finally:
        # With the connection its locks are gone too, and its loss is the error to be shown.
        if not connection.closed:
            connection.rollback()
            if bulk:
                _lock(connection, "pg_advisory_unlock")
    if len(stored) >= _ANALYZE_FROM:
        _analyze(database)
    return stored


def _batches(
    missing: Sequence[DesiredKey], size: int, workers: int
) -> Iterator[list[tuple[DesiredKey, PrivateKey]]]:
    """The keys, a batch at a time; while the caller stores one, the next is being made."""
    with ThreadPoolExecutor(workers) as pool:
        try:
            coming = None
            for start in range(0, len(missing), size):
                batch = missing[start : start + size]
                made = pool.map(lambda one: PrivateKey.generate(one.algorithm, one.bits), batch)
                ready, coming = coming, (batch, made)
                if ready is not None:
                    yield list(zip(*ready, strict=True))
            if coming is not None:
                yield list(zip(*coming, strict=True))
        finally:
            pool.shutdown(cancel_futures=True)


def _missing(
    connection: pg.connection, database: Database, wanted: Sequence[DesiredKey]
) -> list[DesiredKey]:
    return list(compare(connection, database, wanted).missing)


def _lock(connection: pg.connection, function: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}(%s, %s)", (LOCK_CLASS, LOCK_BULK))
    connection.commit()


def _analyze(database: Database) -> None:
    """
    Otherwise the planner knows of an empty table until autovacuum comes round. For the owner and
    superusers alone: of others PostgreSQL warns and goes on.
    """
    with session(database, setup=True) as connection, connection.cursor() as cursor:
        cursor.execute(compose("ANALYZE {dkim}", **names(database)))
