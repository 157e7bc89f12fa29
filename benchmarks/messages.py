"""
Messages a second through the milter socket, over the same daemon with one key in its file.

Method: several OpenDKIM daemons run on the machine at the same time.
- One per size has the formula's configuration and a database that the formula's own set-up made.
- The limit has one key in its configuration file, so it looks nothing up.
- The floor of OpenDKIM with SQL sends as many queries to PostgreSQL and gets constants as answers:
  three times `SELECT 1`.
All get the same messages (1.6 kB, RSA-2048) over four connections, in many short rounds, each in
another order. A figure is the median of the ratios of all rounds. Every message must come back
signed. The load, the daemons and PostgreSQL share the machine's cores. Processor time is the time
of the daemon and of its PostgreSQL processes over all rounds. Other load on the machine changes
processor time less than rates.
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
    """Messages a second, and processor seconds per message of the daemon and of PostgreSQL."""

    rate: float
    daemon: float
    database: float

    @property
    def seconds(self) -> float:
        """All processor seconds per message."""
        return self.daemon + self.database


@dataclass(frozen=True)
class Peer:
    """A daemon and the domains of its messages' senders."""

    daemon: site.Daemon
    senders: Sequence[str]

    def batch(self, messages: int) -> Batch:
        """Send messages and measure them."""
        daemon, database = self.daemon.processor_seconds(), site.database_seconds()
        rate = site.rate(self.daemon.socket, self.senders, messages)
        return Batch(
            rate,
            (self.daemon.processor_seconds() - daemon) / messages,
            (site.database_seconds() - database) / messages,
        )


def run(short: bool) -> Iterator[Figure]:
    """Yield the figures as they are measured."""
    sizes, messages, count = (SHORT_SIZES, 100, 1) if short else (SIZES, 200, 40)
    with contextlib.ExitStack() as stack:
        stack.enter_context(site.reader_let_in())
        peers = dict(_peers(stack, sizes))
        for peer in peers.values():
            peer.batch(messages)  # opens the connections to PostgreSQL, fills caches
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
        formula = batches[size]
        yield _ratio(f"messages/s, {size:,} domains, over {LIMIT}", formula, limit)
        below = [
            (most.rate - one.rate) / best.rate
            for most, one, best in zip(floor, formula, limit, strict=True)
        ]
        yield Figure(
            f"messages/s, {size:,} domains, below {FLOOR}",
            median(below),
            ("<=", WITHIN),
            (min(below), max(below)),
        )
        used, needed, least = (_milliseconds(one) for one in (formula, floor, limit))
        yield Figure(
            f"messages a processor second, {size:,} domains, below that",
            least / needed - least / used,
            ("<=", WITHIN),
            detail=f"{least / used:.3f} and {least / needed:.3f} of {LIMIT}'s",
        )
        if size != sizes[0]:
            first = batches[sizes[0]]
            what = f"messages/s, {size:,} domains, over {sizes[0]:,} domain"
            yield _ratio(what, formula, first, (">=", 0.95))


def _ratio(
    what: str,
    measured: Sequence[Batch],
    reference: Sequence[Batch],
    goal: tuple[str, float] | None = None,
) -> Figure:
    ratios = [one.rate / other.rate for one, other in zip(measured, reference, strict=True)]
    shown = [
        f"{median(batch.rate for batch in batches):.0f}/s, "
        f"{_mean(batches, lambda batch: batch.daemon):.2f} and "
        f"{_mean(batches, lambda batch: batch.database):.2f} ms"
        for batches in (measured, reference)
    ]
    return Figure(what, median(ratios), goal, (min(ratios), max(ratios)), " over ".join(shown))


def _milliseconds(batches: Sequence[Batch]) -> float:
    return _mean(batches, lambda batch: batch.seconds)


def _mean(batches: Sequence[Batch], part: Callable[[Batch], float]) -> float:
    """Return the mean of a part of the processor time, in milliseconds per message."""
    return sum(map(part, batches)) / len(batches) * 1000


def _howto(size: int, messages: int, count: int) -> Figure:
    """
    Return the figure of the formula over the howto's views.

    The howto's daemon must start before the table has many domains.
    """
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
