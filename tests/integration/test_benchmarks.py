"""The benchmarks in their short form: that they run, and that every message comes back signed."""

import argparse

from support import bench

# One release tells; `bin/test soak` runs it on both.
ON = "bookworm"

# The machine has the packages: this file is not about installing.
EQUIPPED = True

FIGURES = (
    "messages/s, 1,000 domains, over one key in a file",
    "messages/s, 1,000 domains, over the howto's views",
    "restart, 1,000 domains, over 1 domain",
    "bulk generation, keys/s, over bare generation",
    "bulk generation, keys/s, over a loop of opendkim-genkey",
    "no-op run, 1,000 domains: seconds more than an empty state",
    "no-op run, 1,000 domains, over one state ID a domain",
)


def test_every_benchmark_runs_at_small_sizes(machine):
    run = bench.set_up(machine)
    assert run.succeeded, run
    options = argparse.Namespace(short=True, names=[])
    said = machine.run(bench.command(options), timeout=900).stdout
    table = said.rpartition("what ")[2]
    assert [figure for figure in FIGURES if figure not in table] == []
    assert "BENCHMARKS RAN: 9 figures" in said
