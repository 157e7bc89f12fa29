"""The start of each problem, by the calls that have found it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from .model import Finding, Results
from .run import unknown_checks

# A problem that no call has found for so long may have been absent for a while, in seconds.
LONGEST_GAP = 86400

# The memory of each problem, by its name: "check"; "last": the time of the last results that
# found it; "items": the time when each item was first found.
Memory = dict[str, dict]


def first_found(finding: Finding, at: float, before: Mapping[str, float]) -> dict[str, float]:
    """
    Return the time when each item of a problem was first found.

    at
        The time of the results with this finding.
    before
        The times of the last call.
    """
    # A future time is from before the clock was set back.
    return {item: min(before.get(item, at), at) for item in _items(finding)}


def updated(memory: Mapping[str, Mapping], results: Sequence[Results]) -> Memory:
    """Return the memory after new results. An unknown check neither adds nor ends a problem."""
    unknown = unknown_checks(results)
    new = {name: dict(entry) for name, entry in memory.items() if entry["check"] in unknown}
    for one in results:
        for finding in one.findings:
            if finding.ok is False:
                items = first_found(finding, one.at, _known(memory, finding, one.at))
                new[finding.name] = {"check": finding.check, "last": one.at, "items": items}
    return new


def dated(
    findings: Iterable[Finding], memory: Mapping[str, Mapping], at: float
) -> tuple[Finding, ...]:
    """
    Return findings, each problem with its earliest known start.

    at
        The time of the results with these findings.
    """
    return tuple(_dated(one, memory, at) if one.ok is False else one for one in findings)


def _dated(finding: Finding, memory: Mapping[str, Mapping], at: float) -> Finding:
    known = _known(memory, finding, at)
    times = [known[item] for item in _items(finding) if item in known]
    times += [] if finding.since is None else [finding.since]
    return replace(finding, since=min(times, default=None))


def _known(memory: Mapping[str, Mapping], finding: Finding, at: float) -> Mapping[str, float]:
    entry = memory.get(finding.name)
    return entry["items"] if entry and at - entry["last"] <= LONGEST_GAP else {}


def _items(finding: Finding) -> Sequence[str]:
    return finding.items or (finding.subject,)
