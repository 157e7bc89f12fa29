"""Short runs of the benchmarks: each one finishes, and every message comes back signed."""

import argparse

import pytest
from support import bench
from support.machine import Machine, signers
from support.progress import to_stderr

# One release is enough; `bin/test soak` runs this file on both.
pytestmark = pytest.mark.one_release("bookworm")

FIGURES = (
    "messages/s, three constants from SQL, over one key in a file",
    "messages/s, 1,000 domains, over one key in a file",
    "messages/s, 1,000 domains, below three constants from SQL",
    "messages a processor second, 1,000 domains, below that",
    "messages/s, 1,000 domains, over 1 domain",
    "messages/s, 1,000 domains, over the howto's views",
    "restart, 1,000 domains, over 1 domain",
    "INSERT of 1,000 keys, analysed while empty, over no triggers",
    "INSERT of 1,000 keys, analysed after a rolled back INSERT, over no triggers",
    "bulk generation, keys/s, over bare generation",
    "bulk generation, keys/s, over a loop of opendkim-genkey",
    "no-op run, 1,000 domains: seconds more than an empty state",
    "no-op run, 1,000 domains: seconds of it to look for orphaned keys",
    "no-op run, 1,000 domains, over one state ID a domain",
    "screen of status, 1,000 domains: seconds to draw",
    "screen of doctor, 1,000 domains: seconds to draw",
    "screen of rotate, 1,000 domains: seconds to draw",
    "screen of check_dns, 1,000 domains: seconds to draw",
    "screen of records, 1,000 domains: seconds to draw",
    "bytes of disk a domain, 1,000 domains, over 100",
    "messages/s, 1,000 domains, on ",
    "MiB of PostgreSQL's processes for a daemon, 1,000 domains, over OpenDKIM's own",
)

# Each is measured at the milter's socket and through Postfix, with two message sizes and two
# numbers of connections.
PEERS = (
    "Postfix, 1.6 kB, 20, 100 domains, over OpenDKIM, one key in a file",
    "Postfix, 60 kB, 1, 100 domains, over rspamd, keys by map",
    "start, 100 domains: seconds over",
    "new domain, 100 domains: seconds over",
    "rotated key, 100 domains: seconds over",
    "every key rotated, 100 domains: seconds over",
)


def test_every_benchmark_runs_at_small_sizes(release: str) -> None:
    # The benchmarks fail if a message comes back without its signatures.
    with Machine(release, layers=signers.layers(release, to_stderr()), warm_salt=True) as machine:
        run = bench.set_up(machine, [])
        assert run.succeeded, run
        options = argparse.Namespace(short=True, names=[])
        output = machine.run(bench.command(options), timeout=900).stdout
    table = output.rpartition("what ")[2]
    assert [figure for figure in (*FIGURES, *PEERS) if figure not in table] == []
    assert "BENCHMARKS RAN: 37 figures" in output, output[-200:]
