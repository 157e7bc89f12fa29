"""
Comparison of programs that sign mail: OpenDKIM with files, rspamd, dkimpy-milter and this formula.

Method: all programs run at once on one machine and take turns in rounds, each round in another
order. The load shares the processors with them. Each domain has its own RSA-2048 key. A message has
1.6 or 60 kB and comes over 1 or 20 connections, to the milter's socket or through Postfix. Each
must come back signed. The number of messages in a turn depends on the program, the message and the
connections, so that a turn takes about half a second. A figure is the median of the rounds; a ratio
is the median of the rounds' ratios. The time of a new domain's key starts with the finished key and
ends with the first signature. It excludes the generation of the key, which costs the same for every
program.
"""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from .. import milter, site
from ..table import Figure
from . import keys, report
from .dkimpy_milter import DkimpyMilter
from .formula import Formula, FormulaBoth
from .measured import NO_MILTER_TITLE, Measured
from .opendkim_files import FileTables, KeyFile, RefileTables
from .peer import SCRATCH, Peer, timed
from .postfix import NO_MILTER, Postfix, postfix
from .rspamd import Rspamd

PEERS: Sequence[type[Peer]] = (
    KeyFile,
    FileTables,
    RefileTables,
    Rspamd,
    DkimpyMilter,
    Formula,
    FormulaBoth,
)
SMALL, LARGE = "1.6 kB", "60 kB"
BODIES = {SMALL: milter.BODY, LARGE: milter.LINE * 800}
CONNECTIONS = (1, 20)


@dataclass(frozen=True)
class Scale:
    """
    How much is measured.

    sizes
        The numbers of domains.
    rounds
        The rounds at each size.
    seconds
        The length of a turn.
    fewest
        The least number of messages in a turn.
    trial
        The number of messages that show how many a turn needs.
    """

    sizes: Sequence[int] = (1, 1_000, 100_000)
    rounds: int = 5
    seconds: float = 0.5
    fewest: int = 20
    trial: int = 40

    def messages(self, rate: float) -> int:
        """Return the number of messages in a turn of a program with such a rate."""
        return max(self.fewest, int(rate * self.seconds))


SHORT = Scale(sizes=(100,), rounds=1, seconds=0.01, fewest=4, trial=4)

T = TypeVar("T")


def run(short: bool) -> Iterator[Figure]:
    """Print the tables; yield the figures with goals as they are measured."""
    SCRATCH.mkdir(mode=0o755, exist_ok=True)
    scale = SHORT if short else Scale()
    with site.reader_let_in():
        for size in scale.sizes:
            measured = _at(size, scale)
            print(report.tables(size, measured), flush=True)
            yield from report.figures(size, measured)


def _at(size: int, scale: Scale) -> dict[str, Measured]:
    """Measure every peer with ``size`` keys; the limit has one key."""
    first, others = keys.make(size, "first"), keys.make(size, "third")
    peers = [kind(first[: kind.most]) for kind in PEERS]
    found = {peer.title: Measured() for peer in peers}
    found[NO_MILTER_TITLE] = Measured()
    with contextlib.ExitStack() as stack:
        for peer in peers:
            stack.callback(peer.remove)
            stack.enter_context(peer.running())
        _at_the_sockets(peers, found, scale)
        with postfix(peers) as mail:
            _through_postfix(mail, peers, found, scale)
        for peer in peers:
            found[peer.title].memory = peer.memory()
            found[peer.title].seconds = _changes(peer, others)
    return found


def _turns(things: Sequence[T], rounds: int) -> Iterator[tuple[str, int, Sequence[T]]]:
    """Yield each round's messages and connections, with the things in another order each round."""
    for number in range(rounds):
        start = number % len(things)
        for body in BODIES:
            for connections in CONNECTIONS:
                yield body, connections, [*things[start:], *things[:start]]


def _at_the_sockets(peers: Sequence[Peer], found: Mapping[str, Measured], scale: Scale) -> None:
    for peer in peers:
        # What a daemon does once only does not count.
        milter.load(peer.sockets, peer.domains, scale.trial, 1)
    pace: dict[object, float] = {}
    for body, connections, order in _turns(peers, scale.rounds):
        for peer in order:
            measured = found[peer.title]
            load = functools.partial(
                milter.load,
                peer.sockets,
                peer.domains,
                connections=connections,
                body=BODIES[body],
            )
            turn = peer, body, connections
            if turn not in pace:
                pace[turn] = load(scale.trial).rate
            before = peer.processor_seconds()
            done = load(scale.messages(pace[turn]))
            used = peer.processor_seconds()
            if done.signed != done.sent:
                raise RuntimeError(f"{peer.title}: only {done.signed} of {done.sent} were signed")
            measured.note_rate("milter", body, connections, done.rate)
            if body == SMALL:
                own, database = measured.processor
                measured.processor = own + used[0] - before[0], database + used[1] - before[1]
                measured.messages += done.sent
                if connections == 1:
                    measured.latencies += done.latencies


def _through_postfix(
    mail: Postfix,
    peers: Sequence[Peer],
    found: Mapping[str, Measured],
    scale: Scale,
) -> None:
    everyone: Sequence[Peer | None] = [*peers, NO_MILTER]
    pace: dict[object, float] = {}
    for body, connections, order in _turns(everyone, scale.rounds):
        for peer in order:
            rate = functools.partial(
                mail.rate, peer, connections=connections, size=len(BODIES[body])
            )
            turn = peer, body, connections
            if turn not in pace:
                pace[turn] = rate(scale.trial)
            title = peer.title if peer else NO_MILTER_TITLE
            count = scale.messages(pace[turn])
            found[title].note_rate("Postfix", body, connections, rate(count))


def _changes(peer: Peer, others: Sequence[keys.Key]) -> dict[str, float]:
    """
    Return the seconds from each change to the first signature after it.

    They exclude the stop of a daemon: libmilter takes up to five seconds for it with any keys.
    """
    peer.stop()
    took = {"start": timed(peer.start)}
    new, rotated = (keys.make(1, name)[0] for name in ("new", "second"))
    if peer.most is None:
        new = replace(new, domain="new.example")
        took["new domain"] = timed(lambda: _put(peer, new))
    took["rotated key"] = timed(lambda: _put(peer, rotated))
    took["every key rotated"] = peer.put_all(others[: peer.most])
    return took


def _put(peer: Peer, key: keys.Key) -> None:
    peer.put(key)
    peer.wait_for(key)
