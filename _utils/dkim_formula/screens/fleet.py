"""The screen of ``salt-run dkim.fleet``: a line for each host, then problems and commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from ..calls import SALT_CALL
from ..text import counted, listed
from . import words
from .doctor import asked_text, problem_lines, remedy_lines
from .terminal import GAP, Terminal, cell_width, padded, row, total, widths

Host = Mapping[str, object]

# A smaller lag of a standby is not shown, in seconds.
_MOST_LAG = 1.0
# The number of hosts that are named for a version, at most.
_NAMED = 5
_NO_REPORT = {"unknown": (), "checked": {}, "needs_person": {"count": 0, "domains": ()}}
_WRONG, _UNKNOWN, _WELL = range(3)
_PRODUCTS = (("formula", "formula"), ("salt", "Salt"), ("opendkim", "OpenDKIM"))


def fleet(found: Mapping[str, object], terminal: Terminal, now: datetime) -> str:
    """Draw ``dkim.fleet``: hosts with a problem first, a summary last."""
    hosts: Sequence[Host] = sorted(map(_complete, found["hosts"]), key=_rank)
    lines = _table(hosts, terminal)
    lines += [""] if lines else []
    for text in found["problems"]:
        lines += [*terminal.marked(terminal.bad, text), ""]
    for host in hosts:
        lines += _details(host, terminal, now)
    lines += _domains(hosts, terminal)
    lines += _versions(hosts, terminal)
    return "\n".join([*lines, *_summary(hosts, found["problems"], terminal)])


def _complete(host: Host) -> Host:
    """Return a host whose report has every field. The host may have an older formula."""
    if host["report"] is None:
        return host
    report = {**_NO_REPORT, **host["report"]}
    report["problems"] = [{"subject": "", "since": None, **one} for one in report["problems"]]
    return {**host, "report": report}


def _rank(host: Host) -> int:
    report = host["report"]
    if report is None or _faults(report):
        return _WRONG
    return _UNKNOWN if report["unknown"] else _WELL


def _table(hosts: Sequence[Host], terminal: Terminal) -> list[str]:
    """Return a line for each host. A state that does not fit is below its host."""
    if not hosts:
        return []
    marks = {_WRONG: terminal.bad, _UNKNOWN: terminal.unknown, _WELL: terminal.ok}
    cells = [(terminal.printable(one["id"]), ",".join(one["roles"])) for one in hosts]
    wide = widths([("host", "roles"), *cells])
    indent = 2 if terminal.utf8 else 3
    # Most lines of the table have room for the state of a host without a problem.
    if indent + sum(wide) + 2 * len(GAP) + 30 > terminal.columns:
        cells, wide = [(name,) for name, _ in cells], wide[:1]
    titles = row(("host", "roles")[: len(wide)], wide)
    lines = [terminal.paint(f"{' ' * indent}{padded(titles, total(wide))}{GAP}state", "bold")]
    for host, shown in zip(hosts, cells, strict=True):
        line = padded(row(shown, wide), total(wide))
        state = terminal.printable(_state(host))
        head = f"{marks[_rank(host)]} {line}"
        if indent + cell_width(line) + len(GAP) + cell_width(state) <= terminal.columns:
            lines.append(f"{head}{GAP}{state}")
        else:
            lines += [head.rstrip(), *terminal.wrapped(state, 4)]
    return lines


def _state(host: Host) -> str:
    report = host["report"]
    if report is None:
        return "no report" if host["salt"] else "does not answer"
    parts = _faults(report)
    if report["unknown"]:
        parts.append(f"unknown: {', '.join(report['unknown'])}")
    return ", ".join(parts) or _well(report)


def _faults(report: Mapping) -> list[str]:
    """Return what is wrong with a host in a few words each."""
    down = [name for name, runs in report["daemons"].items() if not runs]
    faults = [f"down: {' '.join(down)}"] if down else []
    if not down and not all(report["sockets"].values()):
        faults.append("a socket does not answer")
    if not report["database"]["reached"]:
        faults.append("database not reached")
    elif report["database"]["problem"]:
        faults.append("replication stopped")
    if report["selftest"] and not report["selftest"]["ok"]:
        faults.append("self-test failed")
    if report["problems"]:
        faults.append(counted(len(report["problems"]), "problem"))
    if number := report["needs_person"]["count"]:
        faults.append(f"{counted(number, 'domain')} {'needs' if number == 1 else 'need'} a person")
    return faults


def _well(report: Mapping) -> str:
    database, lag = report["database"], report["database"]["lag"] or 0.0
    of = "own database" if database["host"] == "local" else f"database {database['host']}"
    if database["standby"]:
        of = f"standby: {of}{f', {lag:.0f} s behind' if lag > _MOST_LAG else ''}"
    return f"signs, {of}" if report["selftest"] else of


def _details(host: Host, terminal: Terminal, now: datetime) -> list[str]:
    """Return the problems of a host, and the unknown checks, each with commands for the master."""
    lines = _problems(host, terminal, now)
    report = host["report"]
    if report is not None and report["unknown"]:
        text = f"nothing is known of: {', '.join(report['unknown'])}"
        times = asked_text(report["checked"], now)
        lines += terminal.marked(terminal.unknown, f"{text}; {times}" if times else text)
        lines += remedy_lines("salt-call dkim.health fresh=True", terminal, host["id"])
        lines += remedy_lines("salt-call dkim.doctor", terminal, host["id"])
    if not lines:
        return []
    return [terminal.paint(terminal.printable(host["id"]), "bold"), *lines, ""]


def _problems(host: Host, terminal: Terminal, now: datetime) -> list[str]:
    report, name = host["report"], host["id"]
    if report is None:
        lines = terminal.marked(terminal.bad, host["problem"])
        command = "dkim.check" if host["salt"] else "test.ping"
        return [*lines, *remedy_lines(f"{SALT_CALL} {command}", terminal, name)]
    texts = [report["database"]["problem"]]
    tried = report["selftest"]["problems"] if report["selftest"] else []
    # Without the database the self-test fails for the same reason.
    texts += [text.removeprefix("self-test: ") for text in tried]
    lines: list[str] = []
    for text in dict.fromkeys(filter(None, texts)):
        lines += terminal.marked(terminal.bad, text)
    lines += remedy_lines("salt-call dkim.doctor", terminal, name) if lines else []
    for one in report["problems"]:
        lines += problem_lines(one, terminal, now, name)
    return lines


def _domains(hosts: Sequence[Host], terminal: Terminal) -> list[str]:
    """Return the domains that need a person, as each database host reports them."""
    lines: list[str] = []
    for host in hosts:
        needs = host["report"] and host["report"]["needs_person"]
        if not needs or not needs["count"]:
            continue
        lines.append(terminal.paint("Domains that need a person", "bold"))
        for one in needs["domains"]:
            text = f"{words.domain(one['domain'], terminal)}: {one['reason']}"
            lines += terminal.wrapped(text, 2, 6)
        if (more := needs["count"] - len(needs["domains"])) > 0:
            lines.append(f"  {more:,} more")
        command = "salt-call dkim.status problem=True"
        lines += [*remedy_lines(command, terminal, host["id"]), ""]
    return lines


def _versions(hosts: Sequence[Host], terminal: Terminal) -> list[str]:
    """Return the versions of each product, with the hosts of each if there are several."""
    lines: list[str] = []
    for field, name in _PRODUCTS:
        by_version: dict[str, list[str]] = {}
        for host in hosts:
            report = host["report"] or {}
            version = host["salt"] if field == "salt" else report.get(field)
            if version:
                by_version.setdefault(version, []).append(host["id"])
        if len(by_version) == 1:
            lines += terminal.wrapped(f"{name} {next(iter(by_version))}")
        for version, ids in sorted(by_version.items()) if len(by_version) > 1 else ():
            lines += terminal.wrapped(f"{name} {version}: {listed(ids, _NAMED)}", 0, 4)
    return [*lines, ""] if lines else []


def _summary(hosts: Sequence[Host], problems: Sequence[str], terminal: Terminal) -> list[str]:
    ranks = [_rank(one) for one in hosts]
    wrong, unknown = ranks.count(_WRONG), ranks.count(_UNKNOWN)
    text = counted(len(hosts), "host")
    parts = [f"{wrong} with a problem"] if wrong else []
    parts += [f"{unknown} with an unknown check"] if unknown else []
    parts += [counted(len(problems), "problem") + " of the fleet itself"] if problems else []
    if wrong or problems:
        mark = terminal.bad
    elif unknown:
        mark = terminal.unknown
    else:
        mark, parts = terminal.ok, ["nothing is wrong"]
    return terminal.marked(mark, f"{text}: {', '.join(parts)}")
