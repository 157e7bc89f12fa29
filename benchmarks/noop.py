"""
A run that changes nothing, over an empty one, and over one state a domain.

Method: salt-call with dkim.keys at 100,000 hosted domains that have their keys, against salt-call
with an SLS of one test.nop: both start Salt, so the difference is what the formula costs. The peer
is what a formula with a state ID for each domain pays before it looks at anything: as many
test.nop.
"""

import json
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from . import site
from .table import Figure

CONFIG = Path("/var/cache/dkim-formula/minion")
SALT_CALL = "/opt/salt/bin/salt-call"


def run(short: bool) -> Iterator[Figure]:
    """The figures, as they come; the goal is in seconds more, not a ratio."""
    size, count = (1_000, 1) if short else (100_000, 3)
    site.fill(size)
    nops = CONFIG / "states" / "bench_nop.sls"
    nops.write_text("nothing:\n  test.nop: []\n", encoding="utf-8")
    each = CONFIG / "states" / "bench_each.sls"
    ids = "".join(f"domain {number}:\n  test.nop: []\n" for number in range(size))
    each.write_text(ids, encoding="utf-8")
    try:
        empty = statistics.median(_apply("bench_nop") for _ in range(count))
        ours = statistics.median(_apply("dkim.keys") for _ in range(count))
        yield Figure(
            f"no-op run, {size:,} domains: seconds more than an empty state",
            ours - empty,
            ("<=", 2.0),
            detail=f"{ours:.2f} s, empty {empty:.2f} s",
        )
        peer = _apply("bench_each")
        yield Figure(
            f"no-op run, {size:,} domains, over one state ID a domain",
            ours / peer,
            detail=f"{ours:.2f} s over {peer:.2f} s",
        )
    finally:
        nops.unlink()
        each.unlink()


def _apply(state: str) -> float:
    begin = time.monotonic()
    done = subprocess.run(
        [SALT_CALL, "--local", "-c", str(CONFIG), "--out", "json", "state.apply", state],
        capture_output=True,
        text=True,
        check=True,
    )
    took = time.monotonic() - begin
    results = json.loads(done.stdout)["local"].values()
    if any(result["result"] is not True or result["changes"] for result in results):
        raise RuntimeError(f"{state} was to change nothing: {done.stdout[:2000]}")
    return took
