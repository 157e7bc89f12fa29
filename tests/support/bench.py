"""
Runs the benchmarks on a throw-away machine. Each figure is a ratio to a limit or a peer.

With --short each benchmark runs for seconds at small sizes, to test it; its figures mean nothing.
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
    """Run the chosen benchmarks; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="bin/bench",
        description=__doc__.strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="messages, restarts, … (all)")
    parser.add_argument("--short", action="store_true", help="small sizes, no goals")
    parser.add_argument("--release", default="bookworm", help="Debian release (default: bookworm)")
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
    """Return whether the run includes the benchmark of peers; without names all are included."""
    return not names or "peers" in names


def set_up(machine: Machine, names: Sequence[str]) -> salt.Run:
    """Apply the formula with a table of domains, and install what else the benchmarks need."""
    if with_peers(names):
        # The benchmark of peers starts its own daemons.
        machine.run(f"systemctl disable --now {signers.SERVICES}")
    salt.install_formula(machine, PILLAR)
    run = salt.apply(machine)
    if run.succeeded:
        server.sql(machine, "CREATE TABLE domains (id serial, domain text UNIQUE)")
        run = salt.apply(machine, "dkim.database")
    machine.install("opendkim-tools")
    return run


def command(options: argparse.Namespace) -> list[str]:
    """Return the command that runs the benchmarks inside the machine."""
    words = [*(["--short"] if options.short else []), *options.names]
    script = (
        f"cd {salt.TREE} && PYTHONPATH=_utils exec /opt/tests/bin/python -m benchmarks "
        + " ".join(words)
    )
    return ["/bin/sh", "-c", script]


if __name__ == "__main__":
    with signals.as_exceptions():
        sys.exit(main(sys.argv[1:]))
