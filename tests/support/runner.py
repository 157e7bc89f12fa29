"""
Runs the formula's tests.

unit, functional and lint run inside a throw-away machine per release, with the release's own Python
and PostgreSQL. integration runs on this host and controls machines: each file has its own machines
and waits most of the time. A few files run at once. Most tests run on one release, and long tests,
which are marked as soak, do not run. soak runs every test on every release. fuzz tests with new
generated input for --minutes. pytest gets the arguments after --.
"""

import argparse
import contextlib
import functools
import hashlib
import re
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from support import signals
from support.durations import Durations
from support.lines import Lines
from support.machine import (
    KNOWN,
    RELEASES,
    ROOT,
    ContainerError,
    ImageError,
    Machine,
    NotInTime,
    host,
    programs,
)
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

# How many of the last lines of a failed part are shown again at the end.
LAST_LINES = 60

# How many files of integration tests run at once. A file waits more than half of its time
# (measured), so five use two cores.
AT_ONCE = 5
# How many files of integration tests a machine with unit or functional tests replaces. Beside two
# such machines runs one file: beside two files, tests failed that give a server 0.3 s to answer.
INSIDE_AS_FILES = 2
# How many of the longest files of integration tests are shown with their times.
LONGEST = 10

CHECKS = (
    ("ruff check", "/opt/tests/bin/ruff check --no-cache ."),
    ("ruff format", "/opt/tests/bin/ruff format --no-cache --check ."),
    (
        # Salt's own packages have Python 3.10 or later (Salt 3006).
        "vermin",
        "/opt/tests/bin/vermin --quiet --no-tips --eval-annotations --backport dataclasses"
        " --target=3.10- _beacons _modules _output _runners _states _utils",
    ),
    ("yamllint", "/opt/tests/bin/yamllint --strict ."),
    ("salt-lint", "find dkim -name '*.sls' -exec /opt/tests/bin/salt-lint {} +"),
    (
        "shellcheck",
        # Sourced files are checked with the scripts that source them and set their variables.
        "grep --recursive --files-with-matches --extended-regexp '^#!/bin/(ba)?sh' bin .ci"
        " | xargs shellcheck --external-sources",
    ),
)


@dataclass(frozen=True)
class Outcome:
    """
    The result of one part on one release.

    last_lines
        The last lines of a failed part's output; empty for a passed part.
    """

    part: str
    release: str
    status: int
    summary: str
    last_lines: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the part ran and found no fault."""
        return self.status == 0

    def __str__(self) -> str:
        verdict = "passed" if self.passed else f"FAILED (exit status {self.status})"
        return f"  {self.part:<12} {self.release:<9} {verdict}: {self.summary}"


@dataclass(frozen=True)
class Run:
    """
    The settings and helpers that every part of a run needs.

    for_pytest
        Arguments for pytest.
    everywhere
        Whether tests marked as one_release run on every release.
    """

    releases: Sequence[str]
    for_pytest: Sequence[str]
    everywhere: bool
    lines: Lines
    progress: Progress
    durations: Durations

    def share(self, release: str) -> list[str]:
        """Return the option that deselects the tests of the other releases."""
        # With a single release, no other release would run the deselected tests.
        return [] if self.everywhere or len(self.releases) == 1 else [f"--share={release}"]


Job = Callable[[], list[Outcome]]


def main(arguments: Sequence[str]) -> int:
    """Run the chosen parts; return the exit status."""
    options = _parse(arguments)
    problems = host.missing()
    if problems:
        print("This host can't run test machines:", *problems, sep="\n  ")
        return 1
    lines = Lines()
    progress = Progress(lines.write)
    parts = PARTS if options.part == "all" else (options.part,)
    releases = options.release or RELEASES
    durations = Durations(host.cache() / "durations.json")
    everywhere = options.part in ("fuzz", "soak")
    run = Run(releases, options.pytest, everywhere, lines, progress, durations)
    try:
        with _several(len(releases), lines) as pool:
            list(pool.map(lambda release: layers(release, progress), releases))
        if options.part == "fuzz":
            outcomes = _fuzz(run, options.minutes, options.seed)
        elif options.part == "soak":
            outcomes = _soak(run)
        else:
            outcomes = _all(run, parts)
    except (ContainerError, ImageError, NotInTime) as error:
        print(f"TESTS FAILED: {error}")
        return 1
    return _verdict(outcomes, progress, durations)


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
        choices=KNOWN,
        help="only this Debian release (can be given twice; default: bookworm and trixie)",
    )
    parser.add_argument("--minutes", type=float, default=20, help="minutes of fuzz (%(default)s)")
    parser.add_argument(
        "--seed",
        type=int,
        default=int(time.time()),
        help="seed of fuzz's first round (default: the time); each further round adds one",
    )
    at = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:at])
    options.pytest = list(arguments[at + 1 :])
    return options


def _all(run: Run, parts: Sequence[str]) -> list[Outcome]:
    """
    Run the parts at once; return their outcomes in the order of the parts.

    The machines' tests start first, since they take longest.
    """
    inside = [part for part in parts if part in INSIDE]
    machines = [functools.partial(_inside, run, release, inside) for release in run.releases]
    files = _integration_jobs(run) if "integration" in parts else []
    outcomes = _at_once(run, files, machines if inside else [])
    if "integration" in parts and not run.for_pytest:
        run.durations.keep()
    return outcomes


def _soak(run: Run) -> list[Outcome]:
    """Run every test, also the long ones, or the tests that are named in pytest's arguments."""
    tests = [part for part in PARTS if part != "lint"]
    named = [part for part in tests if _names(part, run.for_pytest)]
    return _all(replace(run, for_pytest=[*run.for_pytest, "--soak"]), named or tests)


def _at_once(run: Run, files: Sequence[Job], machines: Sequence[Job] = ()) -> list[Outcome]:
    """Run a few jobs at a time; return their outcomes, one per release for integration."""
    free = threading.Semaphore(max(1, AT_ONCE - INSIDE_AS_FILES * len(machines)))

    def of_machine(job: Job) -> list[Outcome]:
        try:
            return job()
        finally:
            free.release(INSIDE_AS_FILES)

    # A thread takes its file when it may run it, so that the files begin in their order.
    waiting = deque(files)

    def next_file(_: Job) -> list[Outcome]:
        with free:
            return waiting.popleft()()

    with _several(len(machines) + AT_ONCE, run.lines) as pool:
        inside = pool.map(of_machine, machines)
        results = pool.map(next_file, files)
        outcomes = [outcome for found in inside for outcome in found]
        of_files = [outcome for found in results for outcome in found]
    found = [_together(of_files, release) for release in run.releases] if of_files else []
    # A named file may have tests for one release only.
    return outcomes + ([one for one in found if one.status != NO_TESTS] or found)


@contextlib.contextmanager
def _several(number: int, lines: Lines) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of threads for commands; an interruption ends the commands."""
    pool = ThreadPoolExecutor(number)
    try:
        yield pool
    except BaseException:
        lines.stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _inside(run: Run, release: str, parts: Sequence[str]) -> list[Outcome]:
    """
    Run lint, unit and functional tests in one machine.

    Lint runs on the first release only, since it does not depend on the release.
    """
    outcomes = []
    lines, progress = run.lines, run.progress
    with Machine(release, layers=programs.layers(release, progress)) as machine:
        machine.put_tree(ROOT, TREE)
        if "lint" in parts and release == run.releases[0]:
            with progress.step(f"lint on {release}"):
                outcomes.append(_lint(machine, lines))
        for part in parts:
            if part != "lint":
                with progress.step(f"{part} on {release}"):
                    words = [*_targets(part, run.for_pytest), *run.share(release)]
                    outcomes.append(_pytest_inside(machine, part, words, lines))
    return outcomes


def _lint(machine: Machine, lines: Lines) -> Outcome:
    failed = []
    last_lines: list[str] = []
    for name, command in CHECKS:
        inside = machine.command(f"cd {TREE} && {command}")
        status, output, _ = lines.stream(inside, name, machine.pull_the_plug)
        if status != 0:
            failed.append(name)
            last_lines += [f"{name}:", *output[-LAST_LINES:]]
    summary = f"{len(CHECKS) - len(failed)} of {len(CHECKS)} checks"
    if failed:
        summary += f"; failed: {', '.join(failed)}"
    return Outcome("lint", machine.release, int(bool(failed)), summary, tuple(last_lines))


def _pytest_inside(machine: Machine, part: str, arguments: Sequence[str], lines: Lines) -> Outcome:
    command = f'cd {TREE} && exec /opt/tests/bin/python -m pytest "$@"'
    words = ["/bin/sh", "-c", command, "sh", *arguments]
    inside, origin = machine.command(words), f"{part} {machine.release}"
    status, output, _ = lines.stream(inside, origin, machine.pull_the_plug)
    return _outcome(part, machine.release, status, output)


def _fuzz(run: Run, minutes: float, seed: int) -> list[Outcome]:
    """Test with generated input: in a machine of each release, and against daemons."""
    end = time.monotonic() + 60 * minutes
    long = ["--soak", "-m", "fuzz", f"--minutes={minutes}", f"--seed={seed}"]
    against_daemons = replace(run, releases=run.releases[-1:])
    with _several(len(run.releases) + 1, run.lines) as pool:
        daemons = pool.submit(_at_once, against_daemons, _integration_jobs(against_daemons, long))
        rounds = pool.map(lambda release: _rounds(run, release, seed, end), run.releases)
        return [*rounds, *(one for one in daemons.result() if one.status != NO_TESTS)]


def _rounds(run: Run, release: str, seed: int, end: float) -> Outcome:
    """Run rounds of the tests with generated examples until the end or until a failure."""
    outcomes = []
    with Machine(release, layers=programs.layers(release, run.progress)) as machine:
        machine.put_tree(ROOT, TREE)
        while not outcomes or (time.monotonic() < end and outcomes[-1].passed):
            number = seed + len(outcomes)
            run.lines.write(f"Round {len(outcomes) + 1} on {release}: --hypothesis-seed={number}")
            words = ["tests/unit", "tests/functional", "-m", "hypothesis and not soak"]
            words += ["--hypothesis-profile=round", f"--hypothesis-seed={number}", *run.for_pytest]
            outcomes.append(_pytest_inside(machine, "fuzz", words, run.lines))
    last = outcomes[-1]
    counts = _counts(outcomes)
    summary = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
    return replace(last, summary=f"{summary} in {len(outcomes)} rounds")


def _integration_jobs(run: Run, options: Sequence[str] = ()) -> list[Job]:
    """Return a job per file and release, the files that took longest first."""
    pytest = [_host_pytest(run.progress), "-m", "pytest", "--no-header", *options]
    named = _names("integration", run.for_pytest)
    targets = [run.for_pytest] if named else _files(run.for_pytest)
    jobs = [(release, target) for target in targets for release in run.releases]
    jobs.sort(key=lambda job: run.durations.of(*job), reverse=True)

    def of_file(release: str, target: Sequence[str]) -> list[Outcome]:
        begin = time.monotonic()
        command = [*pytest, f"--release={release}", *run.share(release), *target]
        status, output, processor = run.lines.stream(command, f"integration {release}")
        run.durations.note(release, target, time.monotonic() - begin, processor)
        return [_outcome("integration", release, status, output)]

    return [functools.partial(of_file, *job) for job in jobs]


def _files(for_pytest: Sequence[str]) -> list[Sequence[str]]:
    """Return pytest's arguments for each file."""
    files = sorted((ROOT / "tests" / "integration").glob("test_*.py"))
    return [[str(file.relative_to(ROOT)), *for_pytest] for file in files]


def _together(outcomes: Sequence[Outcome], release: str) -> Outcome:
    """Return one outcome of all files on a release; files without tests do not count."""
    ran = [one for one in outcomes if one.release == release and one.status != NO_TESTS]
    if not ran:
        return Outcome("integration", release, NO_TESTS, "no tests were found")
    counts = _counts(ran)
    summary = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
    status = next((one.status for one in ran if not one.passed), 0)
    last_lines = tuple(line for one in ran for line in one.last_lines)
    return Outcome("integration", release, status, f"{summary} in {len(ran)} files", last_lines)


def _targets(part: str, for_pytest: Sequence[str]) -> list[str]:
    """Return pytest's arguments: with the part's folder, unless they name tests in it."""
    return [*for_pytest] if _names(part, for_pytest) else [f"tests/{part}", *for_pytest]


def _names(part: str, for_pytest: Sequence[str]) -> bool:
    """Return whether the arguments name tests of a part."""
    return any(argument.startswith(f"tests/{part}") for argument in for_pytest)


def _host_pytest(progress: Progress) -> str:
    """Return the Python of an environment that has only pytest; make it once."""
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


def _outcome(part: str, release: str, status: int, output: Sequence[str]) -> Outcome:
    # The counts may not be in the last line: programs may still write after pytest has ended.
    counted = [line for line in output if re.search(COUNT, line)]
    summary = counted[-1].strip("= ") if counted else "no counts were shown"
    if status == NO_TESTS:
        summary = "no tests were found"
    last_lines = () if status in (0, NO_TESTS) else tuple(output[-LAST_LINES:])
    return Outcome(part, release, status, summary, last_lines)


def _counts(outcomes: Sequence[Outcome]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        for number, kind in re.findall(COUNT, outcome.summary):
            counts[kind] += int(number)
    return counts


def _verdict(outcomes: Sequence[Outcome], progress: Progress, durations: Durations) -> int:
    counts = _counts(outcomes)
    for outcome in outcomes:
        # Repeated here, since the original output may be ten thousand lines above.
        if outcome.last_lines:
            print(f"\n{outcome.part} on {outcome.release}:", *outcome.last_lines, sep="\n    ")
    print("\nWhere the time went:", progress.table(), "", sep="\n")
    if longest := durations.table(LONGEST):
        print("The longest files of integration tests:", longest, "", sep="\n")
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
