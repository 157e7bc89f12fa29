"""Events: each problem is told when it starts, increases, continues and is resolved."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..settings.model import Monitoring
from .model import Finding, Results, timestamp
from .run import delay

STARTED = "started"
INCREASED = "increased"
CONTINUES = "continues"
RESOLVED = "resolved"

# So many names go with an event; what all of them are is for a call to tell.
LISTED = 20


@dataclass(frozen=True)
class Event:
    """
    One event.

    change
        ``started``; ``increased``: it concerns more than was told; ``continues``: a repetition;
        ``resolved``.
    finding
        The problem; of a resolved one what was told of it, and nothing to do.
    since
        When the problem started, in seconds since the epoch.
    """

    change: str
    finding: Finding
    since: float

    def to_dict(self) -> dict[str, object]:
        """Return the data of an event: a time as ISO 8601 text, 20 names at most."""
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


# What is remembered of a problem: "check" and "subject"; "seen": each item, to when it was first
# seen; "told": the items that were told of; "told_at", "since" and "message" of the last event.
Memory = dict[str, dict]


def events(
    monitoring: Monitoring, results: Sequence[Results], memory: Mapping[str, Mapping], now: float
) -> tuple[list[Event], Memory]:
    """
    Return what is to be told, and what is to be remembered for the next time.

    An item is told of when it has been seen for as long as its delay says, from the results that
    first had it to the last ones: what is not checked again is not confirmed. What is unknown
    neither starts nor ends.

    memory
        What the last call gave to remember; empty at first.
    """
    told: list[Event] = []
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
            told += _resolved(entry)
    for name, (finding, at) in present.items():
        kept[name], event = _next(monitoring, finding, at, dict(memory.get(name, {})), now)
        told += event
    return told, kept


def _is_unknown(entry: Mapping, results: Sequence[Results]) -> bool:
    same = [
        finding
        for one in results
        for finding in one.findings
        if finding.check == entry.get("check")
    ]
    nobody_knows = all(finding.ok is None for finding in same)
    return nobody_knows or any(
        finding.ok is None and finding.subject == entry.get("subject") for finding in same
    )


def _next(
    monitoring: Monitoring, finding: Finding, at: float, entry: dict, now: float
) -> tuple[dict, list[Event]]:
    items = finding.items or (finding.subject,)
    before = entry.get("seen", {})
    # A first sight in the future is from before the clock was set back.
    seen = {item: min(before.get(item, at), at) for item in items}
    wait = delay(monitoring, finding.check)
    ripe = [item for item, first in seen.items() if at - first >= wait]
    was_told = [item for item in entry.get("told", ()) if item in seen]
    state = {"check": finding.check, "subject": finding.subject, "seen": seen}
    if not ripe and not was_told:
        return state, _resolved(entry)
    if not entry.get("told"):
        change = STARTED
    elif set(ripe) - set(was_told):
        change = INCREASED
    elif monitoring.repeat is not None and not (
        0 <= now - entry.get("told_at", 0) < monitoring.repeat
    ):
        change = CONTINUES
    else:
        last = {name: entry[name] for name in ("told_at", "since", "message")}
        return {**state, **last, "told": was_told}, []
    since = entry.get("since") if change != STARTED else finding.since
    since = min(seen.values()) if since is None else since
    last = {"told_at": now, "since": since, "message": finding.message}
    told = sorted({*was_told, *ripe})
    return {**state, **last, "told": told}, [Event(change, finding, since)]


def _resolved(entry: Mapping) -> Iterable[Event]:
    if not entry.get("told"):
        return []
    finding = Finding(entry["check"], entry["subject"], True, entry["message"])
    return [Event(RESOLVED, finding, entry["since"])]
