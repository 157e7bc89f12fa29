"""
The program that systemd timers start: ``python -m dkim_formula.unattended.jobs``, with
``metrics PATH``, ``report PATH`` or ``rotation``.

The program uses neither Salt nor its master. The settings are those of the last highstate
(``saved.py``). Changes and problems are printed to standard output, which goes to the journal.
"""

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

from .. import calls
from ..errors import FormulaError, done_before
from ..health import commands as health
from ..rotation import commands as rotation
from ..rotation.report import comment
from ..screens.page import page
from ..settings.model import Settings
from . import saved
from .saved import METRICS, REPORT, ROTATION, Saved


def main(arguments: Sequence[str]) -> int:
    """Run the named job; return the exit status, 0 for success."""
    job, *rest = arguments
    found = saved.load(job)
    if found is None:
        print(
            f"{saved.path_of(job)}: the settings are missing, or were encrypted on another "
            "machine; apply the highstate"
        )
        return 1
    with calls.made_by(found.call):
        return _run(found, job, rest)


def _run(found: Saved, job: str, rest: Sequence[str]) -> int:
    problems = found.reading.problems
    if problems and job == ROTATION:
        _print("\n".join([*problems, "The pillar is of another release; apply the highstate"]))
        return 1
    try:
        return _RUN[job](found, *rest)
    except (FormulaError, OSError) as error:
        _print("\n".join([str(error), *_lines(done_before(error))]))
        return 1


def _print(text: str) -> None:
    print(calls.typed(text))


def write_metrics(found: Saved, path: str) -> int:
    """Write the file that node_exporter reads."""
    health.write_metrics(path, health.metrics(found.reading, found.health, _runs))
    return 0


def write_report(found: Saved, path: str) -> int:
    """Write the page of ``dkim.report``."""
    reading = found.reading
    path, group = health.report_target(reading, path, None)
    health.write_report(path, group, page(health.report(reading, found.health, _runs, found.host)))
    return 0


def move_keys(found: Saved) -> int:
    """Start due rotations if the settings say so, and continue all rotations in progress."""
    settings = found.reading.settings
    done = due_work(settings)(settings)
    result, changes, text = comment(done, False)
    _print("\n".join([text, *_lines(changes)]))
    return 1 if result is False else 0


def _lines(changes: Mapping[str, Mapping[str, object]]) -> list[str]:
    return [f"{name}: {one['old']} -> {one['new']}" for name, one in changes.items()]


def due_work(settings: Settings) -> Callable[[Settings], dict[str, object]]:
    """Return the function that a run calls; with ``rotation:automatic`` it starts rotations."""
    return rotation.rotate_due if settings.rotation.automatic else rotation.advance


def _runs(service: str) -> bool:
    command = ["systemctl", "is-active", "--quiet", service]
    return subprocess.run(command, check=False).returncode == 0


_RUN = {METRICS: write_metrics, REPORT: write_report, ROTATION: move_keys}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
