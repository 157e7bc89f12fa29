"""
A run that changes nothing, over an empty one, and over one state a domain.

Method: salt-call with dkim.keys at 100,000 hosted domains with keys, and salt-call with an SLS of
one test.nop, in turns. Both start Salt, so the difference is the cost of the formula, including the
check that dkim.keys requires. That check looks for orphaned keys; the time of this search alone is
measured by a call of the library. The peer is a formula with one state ID per domain, before it
does anything: as many test.nop states.
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
    """Yield the figures as they are measured; the goal is a difference in seconds, no ratio."""
    size, count = (1_000, 1) if short else (100_000, 5)
    site.fill(size)
    nops = CONFIG / "states" / "bench_nop.sls"
    nops.write_text("nothing:\n  test.nop: []\n", encoding="utf-8")
    each = CONFIG / "states" / "bench_each.sls"
    ids = "".join(f"domain {number}:\n  test.nop: []\n" for number in range(size))
    each.write_text(ids, encoding="utf-8")
    try:
        pairs = [(_apply("bench_nop"), _apply("dkim.keys")) for _ in range(count)]
        empty, formula = (statistics.median(taken) for taken in zip(*pairs, strict=True))
        yield Figure(
            f"no-op run, {size:,} domains: seconds more than an empty state",
            statistics.median(with_formula - without for without, with_formula in pairs),
            ("<=", 1.0),
            detail=f"{formula:.2f} s, empty {empty:.2f} s",
        )
        yield Figure(
            f"no-op run, {size:,} domains: seconds of it to look for orphaned keys",
            statistics.median(_orphans() for _ in range(count)),
            ("<=", 1.0),
        )
        peer = _apply("bench_each")
        yield Figure(
            f"no-op run, {size:,} domains, over one state ID a domain",
            formula / peer,
            detail=f"{formula:.2f} s over {peer:.2f} s",
        )
    finally:
        nops.unlink()
        each.unlink()


def _orphans() -> float:
    begin = time.monotonic()
    advice = removed_domains.advice(site.settings())
    took = time.monotonic() - begin
    if advice:
        raise RuntimeError(f"unexpected orphaned keys: {advice}")
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
        raise RuntimeError(f"{state} changed something: {done.stdout[:2000]}")
    return took
