"""
Runs the formula's tests.

unit, functional and lint run inside a throw-away machine, each release's own Python and PostgreSQL
with them; integration runs on this host and drives machines, a few files at once, since each has
machines of its own and waits for much of its time. A file of integration tests that is about more
than a release runs on one of them; soak is integration with every file on every release, and the
long tests of both that are marked as soak; fuzz takes generated input, new at each run, for as long
as --minutes says. What stands after -- goes to pytest.
"""

import argparse
import contextlib
import hashlib
import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from support import signals
from support.machine import RELEASES, ROOT, ContainerError, ImageError, Machine, NotInTime, host
from support.machine.image import layers
from support.progress import Progress, clock

TREE = "/srv/dkim-formula"
INSIDE = ("lint", "unit", "functional")
PARTS = (*INSIDE, "integration")
COUNT = r"\b(\d+) (passed|failed|skipped|error)"
NO_TESTS = 5  # pytest's exit status where it collected nothing
PYTEST = next(
    line
    for line in (ROOT / "tests" / "requirements.txt").read_text().splitlines()
    if line.startswith("pytest==")
)

# Lines that are shown again of what failed.
COMPLAINT = 60

# Files of integration tests at once: two left a fifth of two cores idle (measured).
AT_ONCE = 3

# What the tests of a part compare with.
REAL_PROGRAMS = {
    "unit": ("opendkim",),
    "functional": (
        "postgresql",
        "bind9",
        "bind9-dnsutils",
        "bind9-utils",
        "knot",
        "knot-dnssecutils",
        "opendkim",
        "opendkim-tools",
        "libopendbx1-pgsql",
    ),
}

CHECKS = (
    ("ruff check", "/opt/tests/bin/ruff check --no-cache ."),
    ("ruff format", "/opt/tests/bin/ruff format --no-cache --check ."),
    ("yamllint", "/opt/tests/bin/yamllint --strict ."),
    ("salt-lint", "find dkim -name '*.sls' -exec /opt/tests/bin/salt-lint {} +"),
    (
        "shellcheck",
        # What they source is checked with them, where its variables have values.
        "grep --recursive --files-with-matches --extended-regexp '^#!/bin/(ba)?sh' bin .ci"
        " | xargs shellcheck --external-sources",
    ),
)


@dataclass(frozen=True)
class Outcome:
    """
    What one part said on one release.

    complaint
        Where it failed: what it said in the end, under what was run.
    """

    part: str
    release: str
    status: int
    summary: str
    complaint: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether it ran and found no fault."""
        return self.status == 0

    def __str__(self) -> str:
        verdict = "passed" if self.passed else f"FAILED (exit status {self.status})"
        return f"  {self.part:<12} {self.release:<9} {verdict}: {self.summary}"


class Lines:
    """Output of several programs at once, a whole line at a time, each with its origin."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: dict[subprocess.Popen, Callable[[], None]] = {}
        self._stopped = False

    def stop(self) -> None:
        """End the commands that run, and start no more."""
        with self._lock:
            self._stopped = True
            ends = list(self._ends.values())
        for end in ends:
            end()

    def write(self, line: str) -> None:
        """Print a line."""
        with self._lock:
            print(line, flush=True)

    def stream(
        self, command: Sequence[str], origin: str, end: Callable[[], None] | None = None
    ) -> tuple[int, list[str]]:
        """
        Run a command, show its output as it comes, and return its status and its lines.

        end
            What ends it before its time, where SIGTERM does not.
        """
        with self._lock:
            if self._stopped:
                raise CancelledError
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
            self._ends[process] = end or process.terminate
        lines = []
        try:
            for line in process.stdout:
                lines.append(line.rstrip("\n"))
                self.write(f"{origin} | {lines[-1]}")
        finally:
            process.wait()
            del self._ends[process]
        return process.returncode, lines


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for; returns the exit status."""
    options = _parse(arguments)
    problems = host.missing()
    if problems:
        print("This host can't run test machines:", *problems, sep="\n  ")
        return 1
    lines = Lines()
    progress = Progress(lines.write)
    parts = PARTS if options.part == "all" else (options.part,)
    releases = options.release or RELEASES
    outcomes: list[Outcome] = []
    try:
        for release in releases:
            layers(release, progress)
        inside = [part for part in parts if part in INSIDE]
        if inside:
            outcomes += _all_inside(releases, inside, options.pytest, lines, progress)
        if "fuzz" in parts:
            outcomes += _fuzz(releases, options, lines, progress)
        if "soak" in parts and not _names("integration", options.pytest):
            long = ["-m", "soak", *options.pytest]
            outcomes += _all_inside(releases, ["functional"], long, lines, progress)
        if "integration" in parts or ("soak" in parts and not _names("functional", options.pytest)):
            outcomes += _integration(releases, "soak" in parts, options.pytest, lines, progress)
    except (ContainerError, ImageError, NotInTime) as error:
        print(f"TESTS FAILED: {error}")
        return 1
    return _verdict(outcomes, progress)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bin/test",
        description=__doc__.strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", nargs="?", choices=(*PARTS, "soak", "fuzz", "all"), default="all")
    parser.add_argument(
        "--release",
        action="append",
        choices=RELEASES,
        help="only this Debian release (may be given twice; default: every one)",
    )
    parser.add_argument("--minutes", type=float, default=20, help="of fuzz (default: %(default)s)")
    parser.add_argument(
        "--seed",
        type=int,
        default=int(time.time()),
        help="of the first round of fuzz (default: the time); the next rounds count up from it",
    )
    at = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:at])
    options.pytest = list(arguments[at + 1 :])
    return options


def _all_inside(
    releases: Sequence[str],
    parts: Sequence[str],
    for_pytest: Sequence[str],
    lines: Lines,
    progress: Progress,
) -> list[Outcome]:
    """Each release's machine in a thread of its own; their outcomes in the releases' order."""

    def run(release: str) -> list[Outcome]:
        return _inside(release, releases[0], parts, for_pytest, lines, progress)

    with _several(len(releases), lines) as pool:
        return [outcome for outcomes in pool.map(run, releases) for outcome in outcomes]


@contextlib.contextmanager
def _several(number: int, lines: Lines) -> Iterator[ThreadPoolExecutor]:
    """Threads for so many commands at once; an interruption ends them."""
    pool = ThreadPoolExecutor(number)
    try:
        yield pool
    except BaseException:
        lines.stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _inside(
    release: str,
    first: str,
    parts: Sequence[str],
    for_pytest: Sequence[str],
    lines: Lines,
    progress: Progress,
) -> list[Outcome]:
    """Lint (once: it does not depend on the release), unit and functional tests in one machine."""
    outcomes = []
    with Machine(release, progress=progress) as machine:
        machine.put_tree(ROOT, TREE)
        if "lint" in parts and release == first:
            with progress.step(f"lint on {release}"):
                machine.install("shellcheck")
                outcomes.append(_lint(machine, lines))
        needed = [package for part in parts for package in REAL_PROGRAMS.get(part, ())]
        if needed:
            with progress.step(f"Installing {', '.join(needed)} on {release}"):
                machine.install(*needed)
        for part in parts:
            if part != "lint":
                with progress.step(f"{part} on {release}"):
                    outcomes.append(_pytest_inside(machine, part, for_pytest, lines))
    return outcomes


def _lint(machine: Machine, lines: Lines) -> Outcome:
    failed = []
    complaint: list[str] = []
    for name, command in CHECKS:
        inside = machine.command(f"cd {TREE} && {command}")
        status, said = lines.stream(inside, name, machine.pull_the_plug)
        if status != 0:
            failed.append(name)
            complaint += [f"{name}:", *said[-COMPLAINT:]]
    summary = f"{len(CHECKS) - len(failed)} of {len(CHECKS)} checks"
    if failed:
        summary += f"; not {', '.join(failed)}"
    return Outcome("lint", machine.release, int(bool(failed)), summary, tuple(complaint))


def _pytest_inside(machine: Machine, part: str, for_pytest: Sequence[str], lines: Lines) -> Outcome:
    command = f'cd {TREE} && exec /opt/tests/bin/python -m pytest "$@"'
    targets = for_pytest if part == "fuzz" else _targets(part, for_pytest)
    words = ["/bin/sh", "-c", command, "sh", *targets]
    inside, origin = machine.command(words), f"{part} {machine.release}"
    status, said = lines.stream(inside, origin, machine.pull_the_plug)
    return _outcome(part, machine.release, status, said)


def _fuzz(
    releases: Sequence[str], options: argparse.Namespace, lines: Lines, progress: Progress
) -> list[Outcome]:
    """Generated input for so many minutes: in a machine of each release, and against daemons."""
    end = time.monotonic() + 60 * options.minutes
    long = ["-m", "fuzz", f"--minutes={options.minutes}", f"--seed={options.seed}"]
    with _several(len(releases) + 1, lines) as pool:
        daemons = pool.submit(
            _integration, releases[-1:], True, [*long, *options.pytest], lines, progress
        )
        rounds = pool.map(
            lambda release: _rounds(release, options.seed, end, options.pytest, lines, progress),
            releases,
        )
        return [*rounds, *(one for one in daemons.result() if one.status != NO_TESTS)]


def _rounds(
    release: str,
    seed: int,
    end: float,
    for_pytest: Sequence[str],
    lines: Lines,
    progress: Progress,
) -> Outcome:
    """Rounds of the tests with generated examples until the end, or until one of them fails."""
    outcomes = []
    with Machine(release, progress=progress) as machine:
        machine.put_tree(ROOT, TREE)
        machine.install(*{package for packages in REAL_PROGRAMS.values() for package in packages})
        while not outcomes or (time.monotonic() < end and outcomes[-1].passed):
            number = seed + len(outcomes)
            lines.write(f"Round {len(outcomes) + 1} on {release}: --hypothesis-seed={number}")
            words = ["tests/unit", "tests/functional", "-m", "hypothesis and not soak"]
            words += ["--hypothesis-profile=round", f"--hypothesis-seed={number}", *for_pytest]
            outcomes.append(_pytest_inside(machine, "fuzz", words, lines))
    last = outcomes[-1]
    counts = _counts(outcomes)
    summary = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
    return replace(last, summary=f"{summary} in {len(outcomes)} rounds")


def _integration(
    releases: Sequence[str],
    soak: bool,
    for_pytest: Sequence[str],
    lines: Lines,
    progress: Progress,
) -> list[Outcome]:
    """Each file on each release in a process of its own, those that took longest first."""
    options = ["--soak"] if soak else []
    # With one release there is no other that could have the rest.
    options += ["--everywhere"] if soak or len(releases) == 1 else []
    pytest = [_host_pytest(progress), "-m", "pytest", "--no-header", *options]
    durations = _Durations()
    targets = [for_pytest] if _names("integration", for_pytest) else _files(for_pytest)
    jobs = [(release, target) for target in targets for release in releases]
    jobs.sort(key=lambda job: durations.of(*job), reverse=True)

    def run(job: tuple[str, Sequence[str]]) -> Outcome:
        release, target = job
        begin = time.monotonic()
        command = [*pytest, f"--release={release}", *target]
        status, said = lines.stream(command, f"integration {release}")
        durations.note(release, target, time.monotonic() - begin)
        return _outcome("integration", release, status, said)

    with (
        progress.step(f"integration on {' and '.join(releases)}"),
        _several(AT_ONCE, lines) as pool,
    ):
        outcomes = list(pool.map(run, jobs))
    if not for_pytest and not soak:
        durations.keep()
    found = [_together(outcomes, release) for release in releases]
    # A file that is named may be for one release alone.
    return [one for one in found if one.status != NO_TESTS] or found


def _files(for_pytest: Sequence[str]) -> list[Sequence[str]]:
    """The arguments of a run for each file."""
    files = sorted((ROOT / "tests" / "integration").glob("test_*.py"))
    return [[str(file.relative_to(ROOT)), *for_pytest] for file in files]


class _Durations:
    """How long each file took in the last whole run, in seconds, kept in the cache."""

    def __init__(self) -> None:
        self._path = Path(host.cache()) / "durations.json"
        try:
            self._known = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._known = {}
        self._now: dict[str, float] = {}

    def of(self, release: str, target: Sequence[str]) -> float:
        """What is not known may be long."""
        return self._known.get(f"{release} {target[0]}", float("inf"))

    def note(self, release: str, target: Sequence[str], seconds: float) -> None:
        """It took so long."""
        self._now[f"{release} {target[0]}"] = round(seconds, 1)

    def keep(self) -> None:
        """For the next run."""
        known = {**self._known, **self._now}
        self._path.write_text(json.dumps(known, indent=1, sort_keys=True), encoding="utf-8")


def _together(outcomes: Sequence[Outcome], release: str) -> Outcome:
    """One outcome of all files on a release; a file without a test there is none."""
    ran = [one for one in outcomes if one.release == release and one.status != NO_TESTS]
    if not ran:
        return Outcome("integration", release, NO_TESTS, "no tests were found")
    counts = _counts(ran)
    summary = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
    status = next((one.status for one in ran if not one.passed), 0)
    complaint = tuple(line for one in ran for line in one.complaint)
    return Outcome("integration", release, status, f"{summary} in {len(ran)} files", complaint)


def _targets(part: str, for_pytest: Sequence[str]) -> list[str]:
    """The part's folder, unless the arguments name tests in it."""
    return [*for_pytest] if _names(part, for_pytest) else [f"tests/{part}", *for_pytest]


def _names(part: str, for_pytest: Sequence[str]) -> bool:
    """Whether the arguments name tests of a part."""
    return any(argument.startswith(f"tests/{part}") for argument in for_pytest)


def _host_pytest(progress: Progress) -> str:
    """The Python of a small environment that has pytest alone; made once."""
    name = hashlib.sha256(f"{PYTEST} {sys.version}".encode()).hexdigest()[:12]
    venv = host.cache() / f"pytest-{name}"
    python = str(venv / "bin" / "python")
    with host.locked("pytest"):
        if not (venv / "bin" / "pytest").exists():
            with progress.step(f"{PYTEST} for this host"):
                subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
                install = [python, "-m", "pip", "install", "--quiet", PYTEST]
                subprocess.run(install, check=True)
    return python


def _outcome(part: str, release: str, status: int, said: Sequence[str]) -> Outcome:
    # Not the last line always: programs may write after pytest while they end.
    counted = [line for line in said if re.search(COUNT, line)]
    summary = counted[-1].strip("= ") if counted else "no counts were shown"
    if status == NO_TESTS:
        summary = "no tests were found"
    complaint = () if status in (0, NO_TESTS) else tuple(said[-COMPLAINT:])
    return Outcome(part, release, status, summary, complaint)


def _counts(outcomes: Sequence[Outcome]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        for number, kind in re.findall(COUNT, outcome.summary):
            counts[kind] += int(number)
    return counts


def _verdict(outcomes: Sequence[Outcome], progress: Progress) -> int:
    counts = _counts(outcomes)
    for outcome in outcomes:
        # Again, here: what was said of it may be ten thousand lines above.
        if outcome.complaint:
            print(f"\n{outcome.part} on {outcome.release}:", *outcome.complaint, sep="\n    ")
    print("\nWhere the time went:", progress.table(), "", sep="\n")
    print(*outcomes, sep="\n")
    failed = [f"{outcome.part} on {outcome.release}" for outcome in outcomes if not outcome.passed]
    numbers = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
    if failed or not outcomes:
        print(f"TESTS FAILED: {', '.join(failed) or 'nothing ran'}")
    else:
        print("TESTS PASSED")
    print(f"{numbers or 'no test counted'}, in {clock(progress.elapsed)}")
    return int(bool(failed) or not outcomes)


if __name__ == "__main__":
    with signals.as_exceptions():
        sys.exit(main(sys.argv[1:]))
