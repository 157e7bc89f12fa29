"""
Needs of a server: messages a second by processors, and disk and memory by domains.

Method: the formula's daemon signs 1.6 kB messages over four connections. The daemon, PostgreSQL and
the load share one processor and all processors in turns; the ratio is the gain of more processors.
Disk is PostgreSQL's size of the formula's tables with their indexes, with keys of 2048 bits and one
line of history per key. Its ratio compares the bytes per domain at both numbers of domains.
"""

import contextlib
import os
from collections.abc import Iterator

from . import site
from .table import Figure, rounds

SIZES, SHORT_SIZES = (1_000, 100_000), (100, 1_000)
TABLES = ("dkim", "dkim_signing", "dkim_pattern", "dkim_history")


def run(short: bool) -> Iterator[Figure]:
    """Yield the figures as they are measured."""
    few, many = SHORT_SIZES if short else SIZES
    messages, count = (40, 1) if short else (400, 15)
    small = _bytes_each(few)
    large = _bytes_each(many)
    yield Figure(
        f"bytes of disk a domain, {many:,} domains, over {few:,}",
        large / small,
        detail=f"{large:,.0f} over {small:,.0f}",
    )
    every = os.sched_getaffinity(0)
    first = {min(every)}
    domains = [f"d{number}.example" for number in range(1, many + 1, max(1, many // 1000))]
    site.restart_daemon()

    def on(processors: set[int]) -> float:
        with _pinned(processors):
            return site.rate(site.SOCKET, domains, messages)

    yield rounds(
        f"messages/s, {many:,} domains, on {len(every)} processors over one",
        lambda: on(every),
        lambda: on(first),
        count=count,
    )
    yield Figure(
        f"MiB of PostgreSQL's processes for a daemon, {many:,} domains, over OpenDKIM's own",
        _held(site.sessions()) / _held(_daemon()),
        detail=f"{_held(site.sessions()) / 2**20:.0f} MiB over {_held(_daemon()) / 2**20:.0f} MiB",
    )


def _bytes_each(size: int) -> float:
    site.fill(size)
    tables = " + ".join(f"pg_total_relation_size('{table}')" for table in TABLES)
    return int(site.sql(f"SELECT {tables};")) / size


@contextlib.contextmanager
def _pinned(processors: set[int]) -> Iterator[None]:
    """
    Keep the load, OpenDKIM and PostgreSQL on these processors.

    Children of this process send the messages, so this process is pinned too.
    """
    pids = [os.getpid(), *_daemon(), *_postgres()]
    before = {pid: os.sched_getaffinity(pid) for pid in pids}
    try:
        for pid in pids:
            _pin(pid, processors)
        yield
    finally:
        for pid, mask in before.items():
            _pin(pid, mask)


def _pin(pid: int, processors: set[int]) -> None:
    # A process, or one of its threads, may have ended in the meantime.
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        for task in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(task), processors)


def _daemon() -> list[int]:
    return [int(site.command_output(["systemctl", "show", "-P", "MainPID", "opendkim"]))]


def _postgres() -> list[int]:
    return [int(pid) for pid in site.command_output(["pgrep", "-u", "postgres"]).split()]


def _held(pids: list[int]) -> int:
    """Return the sum of proportional set sizes in bytes: shared memory counts once."""
    return sum(site.memory(pid) for pid in pids)
