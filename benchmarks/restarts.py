"""
Time from a restart to the first accepted connection, over the time at one domain.

Method: the time of `systemctl restart opendkim` until the milter socket accepts a connection, with
1 to 1,000,000 domains. A figure is the median of the rounds at one size, over the median at one
domain. The rest of the time is the daemon's own stop and start.
"""

import statistics
from collections.abc import Iterator

from . import site
from .table import Figure

SIZES = (1, 1_000, 100_000, 1_000_000)
SHORT_SIZES = (1, 1_000)


def run(short: bool) -> Iterator[Figure]:
    """Yield the figures as they are measured."""
    count = 1 if short else 5
    base = None
    for size in SHORT_SIZES if short else SIZES:
        site.fill(size)
        took = statistics.median(site.restart_daemon() for _ in range(count))
        if base is None:
            base = took
            continue
        yield Figure(
            f"restart, {size:,} domains, over 1 domain",
            took / base,
            ("<=", 1.2),
            detail=f"{took:.2f} s over {base:.2f} s",
        )
