"""What was measured of one program at one size."""

import statistics
from dataclasses import dataclass, field

NO_MILTER_TITLE = "Postfix without a milter"


@dataclass
class Measured:
    """
    What was measured of one peer at one size.

    rates
        Messages a second, of each round, by where, message and connections.
    latencies
        Seconds of each message of 1.6 kB over one connection at the milter's socket.
    processor
        Processor seconds of its own and of its database's processes for 1.6 kB messages.
    messages
        How many these were.
    seconds
        From a change to the first signature after it, by the change.
    memory
        Bytes: its own, its database's.
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
        """The median of the rounds."""
        return statistics.median(self.rates[what])
