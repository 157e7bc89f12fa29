"""Functions for Salt's modules, the beacon and timers: doctor, events, metrics and report."""

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..errors import FormulaError, InvalidValue
from ..settings import Reading
from ..settings.model import Monitoring, Settings
from . import cache, first_found, run, samples
from . import metrics as exposition
from . import report as page
from .check_opendkim import stopped_at
from .events import events
from .model import Host, Results, timestamp
from .run import DATABASE, DNS, LOCAL

Runs = Callable[[str], bool]

# A folder in the minion's cachedir, which the beacon and the metrics share.
FOLDER = "dkim-health"

# The units that write the metrics and the page, and patterns for the file that each unit writes.
UNIT = "/etc/systemd/system/dkim-metrics.service"
REPORT_UNIT = "/etc/systemd/system/dkim-report.service"
_METRICS_FILE = rf"^ExecStart=.* (/\S*/{re.escape(exposition.FILE)})$"
_REPORT_FILE = r"^ExecStart=.* (/\S+\.html)$"

# The number of domains whose records the doctor looks up in DNS at most.
SAMPLE = 50

# The time limit for the checks of database and DNS beyond dkim:dns:deadline, in seconds.
BEYOND_DEADLINE = 300


def doctor(
    reading: Reading, folder: str, runs: Runs, checks: Sequence[run.Check] | None = None
) -> list[dict[str, object]]:
    """
    Check the whole signing chain of this machine. Needs root, changes nothing.

    folder
        The folder in which :func:`health` and the beacon keep when they first found each problem.
    runs
        A function that returns whether a service runs.
    checks
        Default: all checks.

    Returns a list of ``{check, subject, ok, message, remedy, items, count, since}``, in the order
    in which a message passes the checks. ``ok`` is True, False, or None where this machine cannot
    decide.
    """
    host = replace(_host(reading, runs), domains_asked=SAMPLE, stopped_at=stopped_at)
    found = run.doctor(host, checks)
    known = first_found.dated(found, cache.read_first_found(folder), time.time())
    return [finding.to_dict() for finding in known]


def check_format(format_: object) -> None:
    """Raise InvalidValue for a format other than None and ``text``."""
    if format_ not in (None, "text"):
        raise InvalidValue("format", format_, "is not a format", "use text, or leave it out")


def health(reading: Reading, folder: str, runs: Runs, fresh: bool = False) -> dict[str, object]:
    """
    Return the present problems. Asks the database and DNS only if their interval is over.

    folder
        The folder that keeps their results during the interval.
    runs
        A function that returns whether a service runs.
    fresh
        Ask the database and DNS now.

    Returns ``{"problems": [{check, subject, ok, message, remedy, items, count, since}], "unknown":
    [check], "checked": {"database", "dns"}}``, times as ISO 8601 text or None.
    """
    return state(*_current(reading, folder, runs, fresh))


def state(local: Results, kept: cache.Kept) -> dict[str, object]:
    """Return the results of this machine, and those of database and DNS, as :func:`health`."""
    results = [local, *kept.values()]
    found = [finding for one in results for finding in one.findings]
    return {
        "problems": [finding.to_dict() for finding in found if finding.ok is False],
        "unknown": run.unknown_checks(results),
        "checked": {
            cost: timestamp(kept[cost].at) if cost in kept else None for cost in (DATABASE, DNS)
        },
    }


def metrics(reading: Reading, folder: str, runs: Runs) -> str:
    """Return the results of :func:`health` and further measurements as text for Prometheus."""
    found = exposition.samples(*_current(reading, folder, runs))
    host = _host(reading)
    return exposition.render([*found, *samples.of_machine(host), *samples.intervals(host)])


def write_metrics(path: object, text: str) -> dict[str, str]:
    """Write the text of :func:`metrics`; return ``{"path"}``. Raises InvalidValue for the path."""
    exposition.write(path, text)
    return {"path": path}


def report(reading: Reading, folder: str, runs: Runs, host: str) -> dict[str, object]:
    """
    Return the complete state of this host, for ``screens.page.page``.

    The DNS results are those of the last check, unless its interval is over.

    folder, runs
        As for :func:`health`.
    host
        The name of this host on the page.

    Returns ``{"host", "at", "every", "problems", "unknown", "checked", "keys", "unknown_keys",
    "records"}``: the problems as in :func:`health`, the keys as in ``rotation.status.status``, the
    reason why the keys are unknown or '', and the records as in ``health.report.records``.
    """
    local, kept = _current(reading, folder, runs)
    settings, dns = reading.settings, kept.get(DNS)
    keys: list[dict[str, object]] = []
    unknown = page.unknown_keys(settings, reading.problems)
    if not unknown:
        try:
            keys = page.keys(settings, dns)
        except FormulaError as error:
            unknown = f"The database does not answer: {error}"
    written = settings.monitoring.report
    return {
        **state(local, kept),
        "host": host,
        "at": timestamp(local.at),
        "every": written.every if written else None,
        "keys": keys,
        "unknown_keys": unknown,
        "records": page.records(dns),
    }


def report_target(reading: Reading, path: object, group: object) -> tuple[str, str]:
    """Return the path and the group of the page's file; see ``health.report.target``."""
    return page.target(reading.settings.monitoring.report, path, group)


def write_report(path: str, group: str, text: str) -> None:
    """Write the page; see ``health.report.write``."""
    page.write(path, group, text)


def for_states(monitoring: Monitoring, config_dir: str, salt_call: str) -> dict[str, object]:
    """
    Return the values that the SLS files need.

    config_dir
        The directory of the minion's configuration.
    salt_call
        The path of the program ``salt-call``.

    Returns ``{"beacon", "every", "beacon_file", "textfile", "textfile_every", "left_over",
    "report", "report_every", "report_left_over", "command"}``; ``textfile`` and ``report`` are
    paths of files, or ''. ``left_over`` and ``report_left_over`` are files that are no longer
    written. ``command`` is the start of a command that calls a function with this configuration.
    """
    report = monitoring.report.path if monitoring.report else ""
    textfile = f"{monitoring.textfile.rstrip('/')}/{exposition.FILE}" if monitoring.textfile else ""
    return {
        "beacon": monitoring.beacon,
        "every": monitoring.every,
        "beacon_file": f"{config_dir}/minion.d/dkim-health.conf",
        "textfile": textfile,
        "textfile_every": monitoring.textfile_every,
        "left_over": [one for one in written_by(UNIT, _METRICS_FILE) if one != textfile],
        "report": report,
        "report_every": monitoring.report.every if monitoring.report else 0,
        "report_left_over": [one for one in written_by(REPORT_UNIT, _REPORT_FILE) if one != report],
        "command": f"{salt_call} --config-dir {config_dir} --log-level warning",
    }


def written_by(unit: str, file: str) -> tuple[str, ...]:
    """
    Return the existing files that a unit of the formula writes, so that the formula removes them.

    unit
        The path of the unit file, which may be missing.
    file
        The regular expression that finds the path of a written file in a line of the unit.
    """
    try:
        with open(unit, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
    except OSError:
        return ()
    return tuple(path for path in re.findall(file, text, re.MULTILINE) if os.path.isfile(path))


def new_events(reading: Reading, folder: str, runs: Runs) -> list[dict[str, object]]:
    """
    Return the events since the last call. The arguments are as for :func:`health`.

    Starts no process. Runs only the checks of this machine. Reads the results of :func:`gather`
    from ``folder``, so that a call takes milliseconds. Returns a list of ``{check, subject, change,
    since, message, remedy, items, count}``.
    """
    kept = _usable(reading, cache.read_results(folder))
    local, kept = _dated(folder, run.collect(_host(reading, runs), LOCAL), kept)
    results = [local, *kept.values()]
    before = cache.read_reported(folder)
    new, memory = events(reading.settings.monitoring, results, before, time.time())
    if memory != before:
        cache.write_reported(folder, memory)
    return [one.to_dict() for one in new]


def is_due(reading: Reading, folder: str) -> bool:
    """Return whether :func:`gather` would ask the database or DNS."""
    kept, monitoring = cache.read_results(folder), reading.settings.monitoring
    return any(cache.is_due(monitoring, kept, cost, time.time()) for cost in _asked(reading))


def gather(reading: Reading, folder: str) -> None:
    """
    Ask the database and DNS if their interval is over, and keep the results for :func:`new_events`.

    Returns at once if another process is doing so. The results are kept in ``folder``.
    """
    _refreshed(reading, folder, wait=False)


def record_abort(reading: Reading, folder: str, began: float) -> None:
    """
    Keep the result that a run of :func:`gather` was killed before its end.

    began
        The start of the run, in seconds since the epoch.
    """
    kept = cache.read_results(folder)
    # The database comes first, if it was due.
    was_due = cache.is_due(reading.settings.monitoring, kept, DATABASE, began)
    is_done = DATABASE in kept and kept[DATABASE].at >= began
    cost = DATABASE if was_due and not is_done else DNS
    reason = f"the check that began at {timestamp(began)} did not finish"
    cache.write_results(folder, {**kept, cost: run.failed(cost, reason, time.time())})


def gather_limit(settings: Settings) -> int:
    """Return the time limit of :func:`gather`, in seconds."""
    return settings.dns.deadline + BEYOND_DEADLINE


def _host(reading: Reading, runs: Runs = lambda _service: False) -> Host:
    return Host(reading.settings, tuple(reading.problems), runs)


def _current(
    reading: Reading, folder: str, runs: Runs, fresh: bool = False
) -> tuple[Results, cache.Kept]:
    """Return the results of this machine, and the kept results of database and DNS by cost."""
    local = run.collect(replace(_host(reading, runs), stopped_at=stopped_at), LOCAL)
    kept = _refreshed(reading, folder, fresh=fresh) if _asked(reading) else {}
    return _dated(folder, local, _usable(reading, kept))


def _dated(folder: str, local: Results, kept: cache.Kept) -> tuple[Results, cache.Kept]:
    """Return results whose problems have their starts, and keep the starts for the next call."""
    before = cache.read_first_found(folder)
    memory = first_found.updated(before, [local, *kept.values()])
    if memory != before:
        cache.write_first_found(folder, memory)

    def with_starts(one: Results) -> Results:
        return replace(one, findings=first_found.dated(one.findings, memory, one.at))

    return with_starts(local), {cost: with_starts(one) for cost, one in kept.items()}


def _refreshed(reading: Reading, folder: str, **how: bool) -> cache.Kept:
    host = _host(reading)
    return cache.refresh(
        reading.settings.monitoring,
        folder,
        time.time,
        lambda cost: run.collect(host, cost),
        _asked(reading),
        **how,
    )


def _asked(reading: Reading) -> tuple[str, ...]:
    """
    Return the costs of the checks that the pillar allows on this host.

    A host that generates keys checks the database and DNS. A host that only signs checks the login
    of its daemons, which is a check of the database.
    """
    if reading.problems:
        return ()
    if reading.settings.database.only_signs or reading.settings.monitoring.dns_every is None:
        return (DATABASE,)
    return (DATABASE, DNS)


def _usable(reading: Reading, kept: cache.Kept) -> cache.Kept:
    """Return the kept results, without those that the pillar no longer asks for."""
    return {cost: one for cost, one in kept.items() if cost in _asked(reading)}
