"""A load of messages for milters, over several connections at once."""

import contextlib
import random
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from dkim_formula.signer.milter import Answer, Connection

LINE = b"Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod.\r\n"
BODY = LINE * 20
HEADERS = (
    ("To", "somebody@example.net"),
    ("Subject", "A message"),
    ("Date", "Sun, 22 Nov 2026 12:00:00 +0000"),
)


@dataclass(frozen=True)
class Load:
    """
    The result of a load.

    sent
        The number of messages.
    signed
        The number of messages that came back with every signature.
    seconds
        The time from the first message to the last.
    latencies
        The seconds of each message, ascending.
    """

    sent: int
    signed: int
    seconds: float
    latencies: Sequence[float]

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.sent / self.seconds


def load(
    paths: Sequence[str],
    domains: Sequence[str],
    messages: int,
    connections: int = 4,
    body: bytes = BODY,
) -> Load:
    """
    Send messages over several connections at once, from random senders in ``domains``.

    paths
        The sockets of the milters that each message passes, one after the other.
    messages
        The number of messages on all connections.
    """
    each = max(1, messages // connections)
    with ProcessPoolExecutor(connections) as pool:
        work = [(paths, domains, each, body, random.random()) for _ in range(connections)]
        done = list(pool.map(_client, work))
    begin, end = min(one[1] for one in done), max(one[2] for one in done)
    latencies = sorted(seconds for one in done for seconds in one[3])
    return Load(each * connections, sum(one[0] for one in done), end - begin, latencies)


Work = tuple[Sequence[str], Sequence[str], int, bytes, float]


def _client(work: Work) -> tuple[int, float, float, list[float]]:
    """Send messages; return the number signed, the begin, the end, and each message's seconds."""
    paths, domains, messages, body, seed = work
    choice = random.Random(seed)
    signed, latencies = 0, []
    with contextlib.ExitStack() as stack:
        milters = [stack.enter_context(Connection(path)) for path in paths]
        begin = before = time.monotonic()
        for _ in range(messages):
            sender = f"someone@{choice.choice(domains)}"
            signed += all(signatures(passed(milter, sender, body)) for milter in milters)
            now = time.monotonic()
            latencies.append(now - before)
            before = now
        return signed, begin, before, latencies


def passed(connection: Connection, sender: str, body: bytes = BODY) -> Answer:
    """Send one message; return the milter's answer."""
    identifier = ("Message-ID", f"<{random.random()}@example.net>")
    return connection.message(sender, [("From", sender), *HEADERS, identifier], body)


def signatures(answer: Answer) -> list[str]:
    """Return the signatures that a milter has added."""
    return answer.headers("DKIM-Signature")
