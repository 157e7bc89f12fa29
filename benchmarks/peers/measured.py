"""Measurements of one program at one size."""

import statistics
from dataclasses import dataclass, field

NO_MILTER_TITLE = "Postfix without a milter"


@dataclass
class Measured:
    """
    Measurements of one peer at one size.

    rates
        Messages a second in each round, by endpoint (milter or Postfix), message and connections.
    latencies
        Seconds of each message of 1.6 kB over one connection at the milter's socket.
    processor
        Processor seconds for 1.6 kB messages: of the peer's processes, and of its database's.
    messages
        The number of these messages.
    seconds
        Seconds from a change to the first signature after it, by the change.
    memory
        Bytes of memory of the peer's processes, and of its database's.
    """

    rates: dict[str, list[float]] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    processor: tuple[float, float] = (0.0, 0.0)
    messages: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    memory: tuple[int, int] = (0, 0)

    def note_rate(self, where: str, body: str, connections: int, rate: float) -> None:
        """Add a round's rate."""
        self.rates.setdefault(f"{where}, {body}, {connections}", []).append(rate)

    def rate(self, what: str) -> float:
        """Return the median rate of the rounds."""
        return statistics.median(self.rates[what])
