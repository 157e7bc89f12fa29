"""
Runs the benchmarks on a throw-away machine; each prints a ratio against a limit or a peer.

With --short each runs in seconds, at small sizes, to see that it works; its figures say nothing.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence

from support import salt, server, signals
from support.machine import ContainerError, ImageError, Machine, NotInTime, host, signers
from support.progress import Progress

PILLAR = {"dkim": {"domains": {"*": {}}}}


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="bin/bench",
        description=__doc__.strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="messages, restarts, …; all")
    parser.add_argument("--short", action="store_true", help="small sizes, no goals")
    parser.add_argument("--release", default="bookworm", help="Debian's release (bookworm)")
    options = parser.parse_args(arguments)
    problems = host.missing()
    if problems:
        print("This host can't run test machines:", *problems, sep="\n  ")
        return 1
    progress = Progress()
    try:
        layers = signers.layers(options.release, progress) if with_peers(options.names) else ()
        with Machine(options.release, progress=progress, layers=layers) as machine:
            with progress.step("Applying the formula"):
                run = set_up(machine, options.names)
            if not run.succeeded:
                print(run)
                return 1
            with progress.step("Benchmarks"):
                return subprocess.run(machine.command(command(options)), check=False).returncode
    except (ContainerError, ImageError, NotInTime) as error:
        print(f"BENCHMARKS FAILED: {error}")
        return 1


def with_peers(names: Sequence[str]) -> bool:
    """Whether the benchmarks compare with other programs that sign; all do, where none is named."""
    return not names or "peers" in names


def set_up(machine: Machine, names: Sequence[str]) -> salt.Run:
    """Apply the formula over a table of domains, and install what the benchmarks need beside."""
    if with_peers(names):
        # The benchmark starts its own.
        machine.run(f"systemctl disable --now {signers.SERVICES}")
    salt.install_formula(machine, PILLAR)
    run = salt.apply(machine)
    if run.succeeded:
        server.sql(machine, "CREATE TABLE domains (id serial, domain text UNIQUE)")
        run = salt.apply(machine, "dkim.database")
    machine.install("opendkim-tools")
    return run


def command(options: argparse.Namespace) -> list[str]:
    """What runs inside the machine."""
    words = [*(["--short"] if options.short else []), *options.names]
    script = (
        f"cd {salt.TREE} && PYTHONPATH=_utils exec /opt/tests/bin/python -m benchmarks "
        + " ".join(words)
    )
    return ["/bin/sh", "-c", script]


if __name__ == "__main__":
    with signals.as_exceptions():
        sys.exit(main(sys.argv[1:]))
