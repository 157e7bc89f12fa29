"""Loads a milter with messages over several connections at once."""

import random
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from dkim_formula.milter import Connection

BODY = b"Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod.\r\n" * 20


@dataclass(frozen=True)
class Load:
    """``sent`` messages in ``seconds``, of which ``signed`` came back with a signature."""

    sent: int
    signed: int
    seconds: float

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.sent / self.seconds


def load(path: str, domains: Sequence[str], messages: int, connections: int = 4) -> Load:
    """
    Sends messages over several connections at once, their senders drawn from ``domains``.

    path
        The milter's socket.
    messages
        How many in all.
    """
    each = messages // connections
    begin = time.monotonic()
    with ProcessPoolExecutor(connections) as pool:
        signed = sum(
            pool.map(_client, [(path, domains, each, seed) for seed in range(connections)])
        )
    return Load(each * connections, signed, time.monotonic() - begin)


def _client(work: tuple[str, Sequence[str], int, int]) -> int:
    path, domains, messages, seed = work
    choice = random.Random(seed)
    with Connection(path) as connection:
        return sum(
            _is_signed(connection, f"someone@{choice.choice(domains)}") for _ in range(messages)
        )


def _is_signed(connection: Connection, sender: str) -> bool:
    headers = [
        ("From", sender),
        ("To", "somebody@example.net"),
        ("Subject", "A message"),
        ("Date", "Sun, 22 Nov 2026 12:00:00 +0000"),
        ("Message-ID", f"<{random.random()}@example.net>"),
    ]
    return bool(connection.message(sender, headers, BODY).headers("DKIM-Signature"))
