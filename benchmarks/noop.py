"""
A run that changes nothing, over an empty one, and over one state a domain.

Method: salt-call with dkim.keys at 100,000 hosted domains that have their keys, against salt-call
with an SLS of one test.nop, in turns: both start Salt, so the difference is what the formula costs,
the check that dkim.keys requires with it. That check looks for orphaned keys, and what this alone
takes is measured in the formula's own Python. The peer is what a formula with a state ID for
each domain pays before it looks at anything: as many test.nop.
"""

import json
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from dkim_formula.keys import removed_domains

from . import site
from .table import Figure

CONFIG = Path("/var/cache/dkim-formula/minion")
SALT_CALL = "/opt/salt/bin/salt-call"


def run(short: bool) -> Iterator[Figure]:
    """The figures, as they come; the goal is in seconds more, not a ratio."""
    size, count = (1_000, 1) if short else (100_000, 5)
    site.fill(size)
    nops = CONFIG / "states" / "bench_nop.sls"
    nops.write_text("nothing:\n  test.nop: []\n", encoding="utf-8")
    each = CONFIG / "states" / "bench_each.sls"
    ids = "".join(f"domain {number}:\n  test.nop: []\n" for number in range(size))
    each.write_text(ids, encoding="utf-8")
    try:
        pairs = [(_apply("bench_nop"), _apply("dkim.keys")) for _ in range(count)]
        empty, ours = (statistics.median(taken) for taken in zip(*pairs, strict=True))
        yield Figure(
            f"no-op run, {size:,} domains: seconds more than an empty state",
            statistics.median(with_formula - without for without, with_formula in pairs),
            ("<=", 1.0),
            detail=f"{ours:.2f} s, empty {empty:.2f} s",
        )
        yield Figure(
            f"no-op run, {size:,} domains: seconds of it to look for orphaned keys",
            statistics.median(_orphans() for _ in range(count)),
            ("<=", 1.0),
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


def _orphans() -> float:
    begin = time.monotonic()
    advice = removed_domains.advice(site.settings())
    took = time.monotonic() - begin
    if advice:
        raise RuntimeError(f"no domain was to be orphaned: {advice}")
    return took


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
