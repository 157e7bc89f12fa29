"""
Messages a second through the milter socket, over the same daemon with one key in its file.

Method: OpenDKIM with the formula's configuration, once for each size, over a database that the
formula's own set-up made; beside them, on the same machine at the same time, an OpenDKIM with one
key in its configuration file, which is the limit: it looks nothing up; and one that asks PostgreSQL
as often and gets constants for an answer, which is the floor of OpenDKIM with SQL: three times
`SELECT 1`.
All get the same messages (1.6 kB, RSA-2048) over four connections, in many short rounds, each in
another order; a figure is the median of the rounds' own ratios. Every message has to come back
signed. The load, the daemons and PostgreSQL share the machine's cores. Processor time is that of
the daemon and of PostgreSQL's processes for it, over all rounds: it feels less of what else the
machine does than rates do.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from . import site
from .table import Figure, rounds

SIZES = (1, 1_000, 100_000, 1_000_000)
SHORT_SIZES = (1, 1_000)
HOWTO_SIZE = 100_000
LIMIT, FLOOR = "one key in a file", "three constants from SQL"
WITHIN = 0.05


@dataclass(frozen=True)
class Batch:
    """Messages a second, and processor seconds of a message: the daemon's and PostgreSQL's."""

    rate: float
    daemon: float
    database: float

    @property
    def seconds(self) -> float:
        """All processor seconds of a message."""
        return self.daemon + self.database


@dataclass(frozen=True)
class Peer:
    """A daemon and the domains that its messages come from."""

    daemon: site.Daemon
    senders: Sequence[str]

    def batch(self, messages: int) -> Batch:
        """Sends messages."""
        daemon, database = self.daemon.processor_seconds(), site.database_seconds()
        rate = site.rate(self.daemon.socket, self.senders, messages)
        return Batch(
            rate,
            (self.daemon.processor_seconds() - daemon) / messages,
            (site.database_seconds() - database) / messages,
        )


def run(short: bool) -> Iterator[Figure]:
    """The figures, as they come."""
    sizes, messages, count = (SHORT_SIZES, 100, 1) if short else (SIZES, 200, 40)
    with contextlib.ExitStack() as stack:
        stack.enter_context(site.reader_let_in())
        peers = dict(_peers(stack, sizes))
        for peer in peers.values():
            peer.batch(messages)  # connections to PostgreSQL, caches
        batches = _rounds(peers, messages, count)
    yield from _figures(batches, sizes)
    yield _howto(1_000 if short else HOWTO_SIZE, 12 if short else 40, 1 if short else 5)


def _peers(stack: contextlib.ExitStack, sizes: Sequence[int]) -> Iterator[tuple[object, Peer]]:
    first = ["d1.example"]
    limit = stack.enter_context(site.daemon("limit", site.key_file(first[0])))
    yield LIMIT, Peer(limit, first)
    floor = stack.enter_context(site.constants(first[0]))
    yield FLOOR, Peer(stack.enter_context(site.daemon("floor", floor)), first)
    for size in sizes:
        options, senders = stack.enter_context(site.database_of(size))
        yield size, Peer(stack.enter_context(site.daemon(f"size{size}", options)), senders)


def _rounds(peers: Mapping[object, Peer], messages: int, count: int) -> dict[object, list[Batch]]:
    batches: dict[object, list[Batch]] = {name: [] for name in peers}
    order = list(peers)
    for _ in range(count):
        order = [*order[1:], order[0]]
        for name in order:
            batches[name].append(peers[name].batch(messages))
    return batches


def _figures(batches: Mapping[object, Sequence[Batch]], sizes: Sequence[int]) -> Iterator[Figure]:
    limit, floor = batches[LIMIT], batches[FLOOR]
    yield _ratio(f"messages/s, {FLOOR}, over {LIMIT}", floor, limit)
    for size in sizes:
        ours = batches[size]
        yield _ratio(f"messages/s, {size:,} domains, over {LIMIT}", ours, limit)
        below = [
            (most.rate - one.rate) / best.rate
            for most, one, best in zip(floor, ours, limit, strict=True)
        ]
        yield Figure(
            f"messages/s, {size:,} domains, below {FLOOR}",
            median(below),
            ("<=", WITHIN),
            (min(below), max(below)),
        )
        used, needed, least = (_seconds(one) for one in (ours, floor, limit))
        yield Figure(
            f"messages a processor second, {size:,} domains, below that",
            least / needed - least / used,
            ("<=", WITHIN),
            detail=f"{least / used:.3f} and {least / needed:.3f} of {LIMIT}'s",
        )
        if size != sizes[0]:
            first = batches[sizes[0]]
            yield _ratio(
                f"messages/s, {size:,} domains, over {sizes[0]:,} domain", ours, first, (">=", 0.95)
            )


def _ratio(
    what: str,
    ours: Sequence[Batch],
    theirs: Sequence[Batch],
    goal: tuple[str, float] | None = None,
) -> Figure:
    ratios = [one.rate / other.rate for one, other in zip(ours, theirs, strict=True)]
    shown = [
        f"{median(batch.rate for batch in batches):.0f}/s, "
        f"{_mean(batches, lambda batch: batch.daemon):.2f} and "
        f"{_mean(batches, lambda batch: batch.database):.2f} ms"
        for batches in (ours, theirs)
    ]
    return Figure(what, median(ratios), goal, (min(ratios), max(ratios)), " over ".join(shown))


def _seconds(batches: Sequence[Batch]) -> float:
    return _mean(batches, lambda batch: batch.seconds)


def _mean(batches: Sequence[Batch], part: Callable[[Batch], float]) -> float:
    """Milliseconds of a message."""
    return sum(map(part, batches)) / len(batches) * 1000


def _howto(size: int, messages: int, count: int) -> Figure:
    """The howto's views, whose daemon has to start before there are many domains."""
    site.fill(1)
    site.sql(site.HOWTO)
    tables = site.options(f"howto.{site.SIGNING}", f"howto.{site.KEYS}")
    try:
        with site.daemon("howto", tables) as howto:
            senders = site.fill(size)
            site.restart_daemon()
            return rounds(
                f"messages/s, {size:,} domains, over the howto's views",
                lambda: site.rate(site.SOCKET, senders, messages * 20),
                lambda: site.rate(howto.socket, senders, messages),
                count=count,
            )
    finally:
        site.sql("DROP SCHEMA howto CASCADE;")
