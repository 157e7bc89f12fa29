"""
Runs the formula's tests.

unit, functional and lint run inside a throw-away machine, each release's own Python and PostgreSQL
with them; integration runs on this host and drives machines, since each file has machines of its
own and waits for much of its time. A few of these run at once. A test marked one_release runs on
one of the releases; soak is integration with every file on every release, and the long tests of
both that are marked as soak; fuzz takes generated input, new at each run, for as long as --minutes
says. What stands after -- goes to pytest.
"""

import argparse
import contextlib
import functools
import hashlib
import re
import subprocess
import sys
import time
from collections import Counter
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

# Lines that are shown again of what failed.
COMPLAINT = 60

# Machines' tests and files of integration tests at once: two left a fifth of two cores idle, three
# an eighth (measured). With four, tests that give a server 0.3 s to answer began to fail.
AT_ONCE = 3
# Files of integration tests whose times are shown.
LONGEST = 10

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
        "pdns-server",
        "pdns-backend-sqlite3",
        "opendkim",
        "opendkim-tools",
        "libopendbx1-pgsql",
    ),
}

# The tests start their own. Debian's unit of PowerDNS tries again each second where another name
# server has its port.
OWN_SERVICES_OFF = "for unit in pdns named knot opendkim; do systemctl disable --now $unit; done"

CHECKS = (
    ("ruff check", "/opt/tests/bin/ruff check --no-cache ."),
    ("ruff format", "/opt/tests/bin/ruff format --no-cache --check ."),
    (
        # Salt's own packages bring Python 3.10 at the least (Salt 3006).
        "vermin",
        "/opt/tests/bin/vermin --quiet --no-tips --eval-annotations --backport dataclasses"
        " --target=3.10- _beacons _modules _output _runners _states _utils",
    ),
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


@dataclass(frozen=True)
class Run:
    """
    What every part of a run needs.

    everywhere
        A test that is marked as one_release runs on each release.
    """

    releases: Sequence[str]
    for_pytest: Sequence[str]
    everywhere: bool
    lines: Lines
    progress: Progress
    durations: Durations

    def share(self, release: str) -> list[str]:
        """The option that leaves the other releases' share of the tests to them."""
        # With one release there is no other that could have the rest.
        return [] if self.everywhere or len(self.releases) == 1 else [f"--share={release}"]


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
        help="only this Debian release (may be given twice; default: bookworm and trixie)",
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


def _all(run: Run, parts: Sequence[str]) -> list[Outcome]:
    """
    The parts at once, each release's machine first, since these take longest; their outcomes in
    the order of the parts.
    """
    inside = [part for part in parts if part in INSIDE]
    jobs: list[Callable[[], list[Outcome]]] = []
    if inside:
        jobs += [functools.partial(_inside, run, release, inside) for release in run.releases]
    if "integration" in parts:
        jobs += _integration_jobs(run)
    outcomes = _at_once(run, jobs)
    if "integration" in parts and not run.for_pytest:
        run.durations.keep()
    return outcomes


def _soak(run: Run) -> list[Outcome]:
    """The long tests: those of functional inside, then each file of integration."""
    outcomes = []
    if not _names("integration", run.for_pytest):
        long = replace(run, for_pytest=["-m", "soak", *run.for_pytest])
        outcomes += _all(long, ["functional"])
    if not _names("functional", run.for_pytest):
        outcomes += _at_once(run, _integration_jobs(run, ["--soak"]))
    return outcomes


def _at_once(run: Run, jobs: Sequence[Callable[[], list[Outcome]]]) -> list[Outcome]:
    """What the jobs come to, a few of them at a time; one outcome a release for integration."""
    with _several(AT_ONCE, run.lines) as pool:
        outcomes = [outcome for found in pool.map(_call, jobs) for outcome in found]
    inside = [one for one in outcomes if one.part != "integration"]
    files = [one for one in outcomes if one.part == "integration"]
    found = [_together(files, release) for release in run.releases] if files else []
    # A file that is named may be for one release alone.
    return inside + ([one for one in found if one.status != NO_TESTS] or found)


def _call(job: Callable[[], list[Outcome]]) -> list[Outcome]:
    return job()


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


def _inside(run: Run, release: str, parts: Sequence[str]) -> list[Outcome]:
    """Lint (once: it does not depend on the release), unit and functional tests in one machine."""
    outcomes = []
    lines, progress = run.lines, run.progress
    with Machine(release, progress=progress) as machine:
        machine.put_tree(ROOT, TREE)
        if "lint" in parts and release == run.releases[0]:
            with progress.step(f"lint on {release}"):
                machine.install("shellcheck")
                outcomes.append(_lint(machine, lines))
        needed = [package for part in parts for package in REAL_PROGRAMS.get(part, ())]
        if needed:
            with progress.step(f"Installing {', '.join(needed)} on {release}"):
                machine.install(*needed)
                machine.run(OWN_SERVICES_OFF, check=False)
        for part in parts:
            if part != "lint":
                with progress.step(f"{part} on {release}"):
                    words = [*_targets(part, run.for_pytest), *run.share(release)]
                    outcomes.append(_pytest_inside(machine, part, words, lines))
    return outcomes


def _lint(machine: Machine, lines: Lines) -> Outcome:
    failed = []
    complaint: list[str] = []
    for name, command in CHECKS:
        inside = machine.command(f"cd {TREE} && {command}")
        status, said, _ = lines.stream(inside, name, machine.pull_the_plug)
        if status != 0:
            failed.append(name)
            complaint += [f"{name}:", *said[-COMPLAINT:]]
    summary = f"{len(CHECKS) - len(failed)} of {len(CHECKS)} checks"
    if failed:
        summary += f"; not {', '.join(failed)}"
    return Outcome("lint", machine.release, int(bool(failed)), summary, tuple(complaint))


def _pytest_inside(machine: Machine, part: str, arguments: Sequence[str], lines: Lines) -> Outcome:
    command = f'cd {TREE} && exec /opt/tests/bin/python -m pytest "$@"'
    words = ["/bin/sh", "-c", command, "sh", *arguments]
    inside, origin = machine.command(words), f"{part} {machine.release}"
    status, said, _ = lines.stream(inside, origin, machine.pull_the_plug)
    return _outcome(part, machine.release, status, said)


def _fuzz(run: Run, minutes: float, seed: int) -> list[Outcome]:
    """Generated input for so many minutes: in a machine of each release, and against daemons."""
    end = time.monotonic() + 60 * minutes
    long = ["--soak", "-m", "fuzz", f"--minutes={minutes}", f"--seed={seed}"]
    against_daemons = replace(run, releases=run.releases[-1:])
    with _several(len(run.releases) + 1, run.lines) as pool:
        daemons = pool.submit(_at_once, against_daemons, _integration_jobs(against_daemons, long))
        rounds = pool.map(lambda release: _rounds(run, release, seed, end), run.releases)
        return [*rounds, *(one for one in daemons.result() if one.status != NO_TESTS)]


def _rounds(run: Run, release: str, seed: int, end: float) -> Outcome:
    """Rounds of the tests with generated examples until the end, or until one of them fails."""
    lines, progress = run.lines, run.progress
    outcomes = []
    with Machine(release, progress=progress) as machine:
        machine.put_tree(ROOT, TREE)
        machine.install(*{package for packages in REAL_PROGRAMS.values() for package in packages})
        machine.run(OWN_SERVICES_OFF, check=False)
        while not outcomes or (time.monotonic() < end and outcomes[-1].passed):
            number = seed + len(outcomes)
            lines.write(f"Round {len(outcomes) + 1} on {release}: --hypothesis-seed={number}")
            words = ["tests/unit", "tests/functional", "-m", "hypothesis and not soak"]
            words += ["--hypothesis-profile=round", f"--hypothesis-seed={number}", *run.for_pytest]
            outcomes.append(_pytest_inside(machine, "fuzz", words, lines))
    last = outcomes[-1]
    counts = _counts(outcomes)
    summary = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
    return replace(last, summary=f"{summary} in {len(outcomes)} rounds")


def _integration_jobs(run: Run, options: Sequence[str] = ()) -> list[Callable[[], list[Outcome]]]:
    """Each file on each release in a process of its own, those that took longest first."""
    pytest = [_host_pytest(run.progress), "-m", "pytest", "--no-header", *options]
    named = _names("integration", run.for_pytest)
    targets = [run.for_pytest] if named else _files(run.for_pytest)
    jobs = [(release, target) for target in targets for release in run.releases]
    jobs.sort(key=lambda job: run.durations.of(*job), reverse=True)

    def of_file(release: str, target: Sequence[str]) -> list[Outcome]:
        begin = time.monotonic()
        command = [*pytest, f"--release={release}", *run.share(release), *target]
        status, said, processor = run.lines.stream(command, f"integration {release}")
        run.durations.note(release, target, time.monotonic() - begin, processor)
        return [_outcome("integration", release, status, said)]

    return [functools.partial(of_file, *job) for job in jobs]


def _files(for_pytest: Sequence[str]) -> list[Sequence[str]]:
    """The arguments of a run for each file."""
    files = sorted((ROOT / "tests" / "integration").glob("test_*.py"))
    return [[str(file.relative_to(ROOT)), *for_pytest] for file in files]


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


def _verdict(outcomes: Sequence[Outcome], progress: Progress, durations: Durations) -> int:
    counts = _counts(outcomes)
    for outcome in outcomes:
        # Again, here: what was said of it may be ten thousand lines above.
        if outcome.complaint:
            print(f"\n{outcome.part} on {outcome.release}:", *outcome.complaint, sep="\n    ")
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
