"""What the modules and the beacon of Salt call: the doctor, events and metrics."""

import os
import re
import time
from collections.abc import Callable, Sequence

from ..errors import FormulaError, InvalidValue
from ..settings import Reading
from ..settings.model import Monitoring, Settings
from . import cache, measures, run
from . import metrics as exposition
from . import report as page
from .events import events
from .model import Host, Results, timestamp
from .run import DATABASE, DNS, LOCAL

Runs = Callable[[str], bool]

# Below the minion's cachedir: beacon and metrics share what is there.
FOLDER = "dkim-health"

# The units that write the metrics and the page, and the file that each names.
UNIT = "/etc/systemd/system/dkim-metrics.service"
REPORT_UNIT = "/etc/systemd/system/dkim-report.service"
_METRICS_FILE = rf"^ExecStart=.* (/\S*/{re.escape(exposition.FILE)})$"
_REPORT_FILE = r"^ExecStart=.* (/\S+\.html)$"

# The doctor asks DNS for the records of so many domains.
SAMPLE = 50

# Database and DNS have this long beyond dkim:dns:deadline, in seconds, before they are given up.
LONGEST = 300


def doctor(
    reading: Reading, runs: Runs, checks: Sequence[run.Check] | None = None
) -> list[dict[str, object]]:
    """
    Check the whole chain of one machine; needs root, changes nothing.

    runs
        Whether a service runs.
    checks
        Default: all of them.

    Returns a list of ``{check, subject, ok, message, remedy, items, count, since}`` along a
    message's way; ``ok`` is True, False, or None where nobody can tell from here.
    """
    host = Host(reading.settings, tuple(reading.problems), runs, SAMPLE)
    return [finding.to_dict() for finding in run.doctor(host, checks)]


def check_format(format_: object) -> None:
    """Raise InvalidValue for what is neither None nor ``text``."""
    if format_ not in (None, "text"):
        raise InvalidValue("format", format_, "is not a format", "use text, or leave it out")


def health(reading: Reading, folder: str, runs: Runs, fresh: bool = False) -> dict[str, object]:
    """
    Return what is wrong now. Database and DNS are asked where their interval is over.

    folder
        Where their results are kept until then.
    runs
        Whether a service runs.
    fresh
        Ask all of it now.

    Returns ``{"problems": [{check, subject, ok, message, remedy, items, count, since}], "unknown":
    [check], "checked": {"database", "dns"}}``, times as ISO 8601 text or None.
    """
    return _health(*_current(reading, folder, runs, fresh))


def _health(local: Results, kept: cache.Kept) -> dict[str, object]:
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
    """Return the same as text for Prometheus, and what is measured beside; arguments as there."""
    found = exposition.samples(*_current(reading, folder, runs))
    return exposition.render([*found, *measures.of_machine(_host(reading))])


def write_metrics(path: object, text: str) -> dict[str, str]:
    """Write what :func:`metrics` gave; ``{"path"}``. Raises InvalidValue for the path."""
    exposition.write(path, text)
    return {"path": path}


def report(reading: Reading, folder: str, runs: Runs, host: str) -> dict[str, object]:
    """
    Return the whole state of this host, for ``screens.page.page``. DNS is as it was seen last.

    folder, runs
        As :func:`health`.
    host
        What the page calls this host.

    Returns ``{"host", "at", "every", "problems", "unknown", "checked", "keys", "unknown_keys",
    "records"}``: the problems as :func:`health`, the keys as ``rotation.status.status``, why
    nothing is known of them, and the records as ``health.report.records``.
    """
    local, kept = _current(reading, folder, runs)
    settings, dns = reading.settings, kept.get(DNS)
    keys: list[dict[str, object]] = []
    unknown = page.unknown_keys(settings, reading.problems)
    if not unknown:
        try:
            keys = page.keys(settings, dns)
        except FormulaError as error:
            unknown = f"The database gives no answer: {error}"
    written = settings.monitoring.report
    return {
        **_health(local, kept),
        "host": host,
        "at": timestamp(local.at),
        "every": written.every if written else None,
        "keys": keys,
        "unknown_keys": unknown,
        "records": page.records(dns),
    }


def report_place(reading: Reading, path: object, group: object) -> tuple[str, str]:
    """Return the file of the page and its group, as ``health.report.place``."""
    return page.place(reading.settings.monitoring.report, path, group)


def write_report(path: str, group: str, text: str) -> None:
    """Write the page; see ``health.report.write``."""
    page.write(path, group, text)


def for_states(monitoring: Monitoring, config_dir: str, salt_call: str) -> dict[str, object]:
    """
    Return what the SLS files need.

    config_dir
        The minion's, where its configuration is.
    salt_call
        The program.

    Returns ``{"beacon", "every", "beacon_file", "textfile", "textfile_every", "left_over",
    "report", "report_every", "report_left_over", "command"}``; ``textfile`` and ``report`` are
    files, '' for none, ``left_over`` are files that are no longer written, ``command`` calls a
    function with that configuration.
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
    Return the files that a unit of ours writes, so that none stays behind.

    unit
        The unit file's path; it need not be there.
    file
        The expression that finds a file in a line of it.
    """
    try:
        with open(unit, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
    except OSError:
        return ()
    return tuple(path for path in re.findall(file, text, re.MULTILINE) if os.path.isfile(path))


def new_events(reading: Reading, folder: str, runs: Runs) -> list[dict[str, object]]:
    """
    Return the events since the last call; arguments as :func:`health`.

    Checks this machine alone, and takes from ``folder`` what :func:`gather` found elsewhere, so
    that a call costs milliseconds. Returns a list of ``{check, subject, change, since, message,
    remedy, items, count}``.
    """
    kept = _usable(reading, cache.read_results(folder))
    results = [run.collect(_host(reading, runs), LOCAL), *kept.values()]
    before = cache.read_told(folder)
    told, remembered = events(reading.settings.monitoring, results, before, time.time())
    if remembered != before:
        cache.write_told(folder, remembered)
    return [one.to_dict() for one in told]


def is_due(reading: Reading, folder: str) -> bool:
    """Whether :func:`gather` would ask database or DNS."""
    kept, monitoring = cache.read_results(folder), reading.settings.monitoring
    return any(cache.is_due(monitoring, kept, cost, time.time()) for cost in _asked(reading))


def gather(reading: Reading, folder: str) -> None:
    """
    Ask the database and DNS where their interval is over, and keep the results in ``folder`` for
    :func:`new_events`. Gives up at once where another process is at it.
    """
    _refreshed(reading, folder, wait=False)


def gave_up(reading: Reading, folder: str, began: float) -> None:
    """
    Keep that a :func:`gather` did not come to its end and was ended.

    began
        When it began, in seconds since the epoch.
    """
    kept = cache.read_results(folder)
    cost = DNS if DATABASE in kept and kept[DATABASE].at >= began else DATABASE
    reason = f"the check that began at {timestamp(began)} did not come back"
    cache.write_results(folder, {**kept, cost: run.failed(cost, reason, time.time())})


def longest_gathering(settings: Settings) -> int:
    """Return how long a :func:`gather` may take, in seconds."""
    return settings.dns.deadline + LONGEST


def _host(reading: Reading, runs: Runs = lambda _service: False) -> Host:
    return Host(reading.settings, tuple(reading.problems), runs)


def _current(
    reading: Reading, folder: str, runs: Runs, fresh: bool = False
) -> tuple[Results, cache.Kept]:
    """Return the results of this machine, and by their cost those of the database and of DNS."""
    local = run.collect(_host(reading, runs), LOCAL)
    kept = _refreshed(reading, folder, fresh=fresh) if _asked(reading) else {}
    return local, _usable(reading, kept)


def _refreshed(reading: Reading, folder: str, **how: bool) -> cache.Kept:
    host = _host(reading)
    return cache.refresh(
        reading.settings.monitoring,
        folder,
        time.time(),
        lambda cost: run.collect(host, cost),
        _asked(reading),
        **how,
    )


def _asked(reading: Reading) -> tuple[str, ...]:
    """
    Return what the pillar lets be asked here. Who makes the keys monitors them and DNS; a host that
    only signs tries its daemons' login.
    """
    if reading.problems:
        return ()
    if reading.settings.database.only_signs or reading.settings.monitoring.dns_every is None:
        return (DATABASE,)
    return (DATABASE, DNS)


def _usable(reading: Reading, kept: cache.Kept) -> cache.Kept:
    """Return what was kept, without what the pillar does not want any more."""
    return {cost: one for cost, one in kept.items() if cost in _asked(reading)}
