"""
Test machines by hand.

Starts a bare Debian machine, and opens a shell in it or leaves it running.
"""

import argparse
import os
import sys

from support import signals
from support.machine import (
    KNOWN,
    RELEASES,
    ROOT,
    ContainerError,
    ImageError,
    Machine,
    NotInTime,
    host,
    recipe,
    registry,
)
from support.progress import to_stderr


def main() -> int:
    """The command; returns its exit status."""
    options = _parse()
    problems = host.missing()
    if problems:
        print("This host can't run test machines:", *problems, sep="\n  ", file=sys.stderr)
        return 1
    action = {"start": _start, "shell": _shell, "run": _run, "list": _list, "remove": _remove}
    try:
        return action[options.action](options)
    except (ContainerError, ImageError, LookupError, NotInTime, ValueError) as error:
        print(f"bin/machine: {error}", file=sys.stderr)
        return 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bin/machine", description=__doc__.strip())
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    start = actions.add_parser("start", help="start a machine and leave it running")
    start.add_argument("name", nargs="?", help="its name (made up by default)")
    start.add_argument("--release", choices=KNOWN, default=RELEASES[0])
    start.add_argument("--hostname", default=recipe.HOSTNAME)
    start.add_argument("--no-init", action="store_true", help="without systemd")
    start.add_argument("--shell", action="store_true", help="open a shell; exit removes it")
    start.add_argument("--bare", action="store_true", help="without a copy of this tree")
    shell = actions.add_parser("shell", help="open a shell in a running machine")
    shell.add_argument("name")
    run = actions.add_parser("run", help="run a command in a running machine")
    run.add_argument("name")
    run.add_argument("command", nargs=argparse.REMAINDER, help="shell text")
    actions.add_parser("list", help="show the machines that run")
    remove = actions.add_parser("remove", help="end a machine and remove its files")
    remove.add_argument("name")
    return parser.parse_args()


def _start(options: argparse.Namespace) -> int:
    machine = Machine(
        options.release,
        options.name,
        hostname=options.hostname,
        boot=not options.no_init,
        keep=not options.shell,
        progress=to_stderr(),
    )
    with machine:
        if not options.bare:
            machine.put_tree(ROOT, "/srv/dkim-formula")
        if options.shell:
            return machine.stream(["/bin/bash", "-l"], env=_terminal())
        print(machine.name)
    return 0


def _shell(options: argparse.Namespace) -> int:
    return Machine.attach(options.name).stream(["/bin/bash", "-l"], env=_terminal())


def _run(options: argparse.Namespace) -> int:
    return Machine.attach(options.name).stream(" ".join(options.command))


def _list(options: argparse.Namespace) -> int:
    for name in registry.names():
        record = registry.read(name)
        if record:
            state = "runs" if registry.alive(record) else "stale"
            print(f"{name}  {record.release}  {state}  process {record.leader}")
    return 0


def _remove(options: argparse.Namespace) -> int:
    if options.name not in registry.names():
        raise LookupError(f"there is no machine {options.name!r}")
    registry.remove(options.name, registry.read(options.name))
    return 0


def _terminal() -> dict[str, str]:
    return {"TERM": os.environ.get("TERM", "dumb")}


if __name__ == "__main__":
    with signals.as_exceptions():
        sys.exit(main())
