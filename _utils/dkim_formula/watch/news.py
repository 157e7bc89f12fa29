"""What of the troubles is news: each is told when it begins, when it grows and when it ends."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from ..settings.model import Watch
from .trouble import Judgement, Trouble, patience

BEGAN = "began"
GREW = "grew"
GOES_ON = "goes-on"
ENDED = "ended"

# So many names go with an event; what all of them are is for a call to tell.
LISTED = 20


@dataclass(frozen=True)
class News:
    """
    One event.

    kind, subject
        As of the trouble.
    change
        ``began``; ``grew``: it concerns more than was told; ``goes-on``: a repetition; ``ended``.
    since
        When it began, in seconds since the epoch.
    what, todo, items, count
        As of the trouble; of one that ended what was told of it, and nothing to do.
    """

    kind: str
    subject: str
    change: str
    since: float
    what: str
    todo: str = ""
    items: tuple[str, ...] = ()
    count: int = 0

    def as_plain(self) -> dict[str, object]:
        """For an event: a moment as ISO 8601 text, 20 names at most."""
        return {
            "kind": self.kind,
            "subject": self.subject,
            "change": self.change,
            "since": iso(self.since),
            "what": self.what,
            "todo": self.todo,
            "items": list(self.items[:LISTED]),
            "count": self.count,
        }


def iso(moment: float) -> str:
    """A moment as ISO 8601 text, in UTC."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


# What is remembered of a trouble: "kind" and "subject"; "seen": each item, to when it was first
# seen; "told": the items that were told of; "told_at", "since" and "what" of the last event.
Memory = dict[str, dict]


def news(
    watch: Watch, judgement: Judgement, memory: Mapping[str, Mapping], now: float
) -> tuple[list[News], Memory]:
    """
    What is to be told, and what is to be remembered for the next time.

    An item is told of when it has been seen for as long as ``patience`` says, from the look that
    first found it to the last one: what is not looked at again is not confirmed.

    memory
        What the last call gave to remember; empty at first.
    """
    told: list[News] = []
    kept: Memory = {}
    present = {_key(trouble.kind, trouble.subject): trouble for trouble in judgement.troubles}
    for key, entry in memory.items():
        if key not in present and entry.get("kind") in judgement.unknown:
            kept[key] = dict(entry)
        elif key not in present:
            told += _ended(entry)
    for key, trouble in present.items():
        entry, event = _goes_on(watch, trouble, dict(memory.get(key, {})), now)
        kept[key] = entry
        told += event
    return told, kept


def _goes_on(watch: Watch, trouble: Trouble, entry: dict, now: float) -> tuple[dict, list[News]]:
    items = trouble.items or (trouble.subject,)
    before = entry.get("seen", {})
    # A first sight in the future is from before the clock was set back.
    seen = {item: min(before.get(item, trouble.at), trouble.at) for item in items}
    wait = patience(watch, trouble.kind)
    ripe = [item for item, first in seen.items() if trouble.at - first >= wait]
    was_told = [item for item in entry.get("told", ()) if item in seen]
    state = {"kind": trouble.kind, "subject": trouble.subject, "seen": seen}
    if not ripe and not was_told:
        return state, _ended(entry)
    if not entry.get("told"):
        change = BEGAN
    elif set(ripe) - set(was_told):
        change = GREW
    elif watch.repeat is not None and not 0 <= now - entry.get("told_at", 0) < watch.repeat:
        change = GOES_ON
    else:
        last = {name: entry[name] for name in ("told_at", "since", "what")}
        return {**state, **last, "told": was_told}, []
    since = entry.get("since") if change != BEGAN else trouble.since
    since = min(seen.values()) if since is None else since
    last = {"told_at": now, "since": since, "what": trouble.what}
    event = News(
        trouble.kind,
        trouble.subject,
        change,
        since,
        trouble.what,
        trouble.todo,
        trouble.items,
        trouble.count,
    )
    return {**state, **last, "told": sorted({*was_told, *ripe})}, [event]


def _ended(entry: Mapping) -> Iterable[News]:
    if not entry.get("told"):
        return []
    return [News(entry["kind"], entry["subject"], ENDED, entry["since"], entry["what"])]


def _key(kind: str, subject: str) -> str:
    return f"{kind} {subject}".strip()
