"""Events that report when a problem starts, increases, continues and is resolved."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..settings.model import Monitoring
from .first_found import first_found
from .model import Finding, Results, timestamp
from .run import delay

STARTED = "started"
INCREASED = "increased"
CONTINUES = "continues"
RESOLVED = "resolved"

# The number of names in an event at most. A call of dkim.health lists all names.
LISTED = 20


@dataclass(frozen=True)
class Event:
    """
    An event about one problem.

    change
        ``started``, ``increased`` (more items are affected than were reported), ``continues`` (a
        repeated report), or ``resolved``.
    finding
        The problem. After its resolution: the last reported message, without a remedy.
    since
        The start of the problem, in seconds since the epoch.
    """

    change: str
    finding: Finding
    since: float

    def to_dict(self) -> dict[str, object]:
        """Return the event as data, with its time as ISO 8601 text and 20 names at most."""
        return {
            "check": self.finding.check,
            "subject": self.finding.subject,
            "change": self.change,
            "since": timestamp(self.since),
            "message": self.finding.message,
            "remedy": self.finding.remedy,
            "items": list(self.finding.items[:LISTED]),
            "count": self.finding.count,
        }


# The memory of each problem, by its name: "check" and "subject"; "found_since": the time when each
# item was first found; "reported": the reported items; "reported_at", "since" and "message" of the
# last event.
Memory = dict[str, dict]


def events(
    monitoring: Monitoring, results: Sequence[Results], memory: Mapping[str, Mapping], now: float
) -> tuple[list[Event], Memory]:
    """
    Return the new events, and the memory for the next call.

    An item is reported when it has been wrong for the delay of its check. The delay counts from the
    first results with the item to the last ones: only another check confirms a problem. An unknown
    result neither starts nor resolves a problem.

    memory
        The memory that the last call returned; empty at first.
    """
    new: list[Event] = []
    kept: Memory = {}
    present = {
        finding.name: (finding, one.at)
        for one in results
        for finding in one.findings
        if finding.ok is False
    }
    for name, entry in memory.items():
        if name not in present and _is_unknown(entry, results):
            kept[name] = dict(entry)
        elif name not in present:
            new += _resolved(entry)
    for name, (finding, at) in present.items():
        kept[name], event = _next(monitoring, finding, at, dict(memory.get(name, {})), now)
        new += event
    return new, kept


def _is_unknown(entry: Mapping, results: Sequence[Results]) -> bool:
    same = [
        finding
        for one in results
        for finding in one.findings
        if finding.check == entry.get("check")
    ]
    all_unknown = all(finding.ok is None for finding in same)
    return all_unknown or any(
        finding.ok is None and finding.subject == entry.get("subject") for finding in same
    )


def _next(
    monitoring: Monitoring, finding: Finding, at: float, entry: dict, now: float
) -> tuple[dict, list[Event]]:
    found_since = first_found(finding, at, entry.get("found_since", {}))
    wait = delay(monitoring, finding.check)
    due = [item for item, first in found_since.items() if at - first >= wait]
    reported = [item for item in entry.get("reported", ()) if item in found_since]
    state = {"check": finding.check, "subject": finding.subject, "found_since": found_since}
    if not due and not reported:
        return state, _resolved(entry)
    if not entry.get("reported"):
        change = STARTED
    elif set(due) - set(reported):
        change = INCREASED
    elif monitoring.repeat is not None and not (
        0 <= now - entry.get("reported_at", 0) < monitoring.repeat
    ):
        change = CONTINUES
    else:
        last = {name: entry[name] for name in ("reported_at", "since", "message")}
        return {**state, **last, "reported": reported}, []
    since = entry.get("since") if change != STARTED else finding.since
    since = min(found_since.values()) if since is None else since
    last = {"reported_at": now, "since": since, "message": finding.message}
    return {**state, **last, "reported": sorted({*reported, *due})}, [Event(change, finding, since)]


def _resolved(entry: Mapping) -> Iterable[Event]:
    if not entry.get("reported"):
        return []
    finding = Finding(entry["check"], entry["subject"], True, entry["message"])
    return [Event(RESOLVED, finding, entry["since"])]
