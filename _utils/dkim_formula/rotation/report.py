"""The return of a rotation's functions, and the comment of a state that calls one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..dns.publish import FUTURE_VALUE
from ..dns.publish_report import LISTED, changes_summary
from ..keys.model import GONE, Key
from ..record_names import key_name
from ..records import Record
from ..text import timestamp_if_known
from .moves import NewKey, RotationPlan
from .plan import Outlook, Wait
from .state import RotationState, name_of

# A comment names this many keys and counts the others.
_NAMED = 20


@dataclass
class RotationReport:
    """The changes of a run, and the work that remains; filled batch by batch."""

    changes: dict[str, dict[str, str | None]] = field(default_factory=dict)
    dns: dict[str, dict[str, str | None]] = field(default_factory=dict)
    waiting: list[Wait] = field(default_factory=list)
    to_publish: list[Record] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    # All notes and problems. A run may have a hundred thousand: a search in the lists is too slow.
    _texts: set[str] = field(default_factory=set)

    def change(self, key: Key, new: str | None, old: str | None) -> None:
        """Add a key's change of state. A second change of a key keeps the first one's old state."""
        entry = self.changes.setdefault(name_of(key), {"old": old, "new": new})
        entry["new"] = new

    def add_plan(self, state: RotationState, plan: RotationPlan) -> None:
        """
        Add the changes, notes and problems of a plan that is carried out in a state. Of several
        simultaneous runs, one may find its request refused after another one's moves.
        """
        if plan.refused:
            self.problem(plan.refused)
        for move in plan.moves:
            replaced = state.active(move.key.slot) if move.to_state == "active" else None
            if replaced is not None:
                self.change(replaced, move.replaced_becomes, replaced.state)
            new = None if move.to_state == GONE else move.to_state
            self.change(move.key, new, move.from_state)
        for text in plan.notes:
            self.note(text)
        for text in plan.problems:
            self.problem(text)

    def add_dns(self, published: Mapping[str, Mapping]) -> None:
        """Add the changes and problems of a publication."""
        for name, changed in published["changes"].items():
            entry = self.dns.setdefault(name, dict(changed))
            entry["new"] = changed["new"]
        for text in published["problems"]:
            self.problem(text)

    def add_outlook(self, outlook: Outlook) -> None:
        """Add the work that remains."""
        self.waiting += outlook.waiting
        for key, record in outlook.to_publish:
            is_future = isinstance(key, NewKey) and record.purpose == "dkim"
            self.to_publish.append(replace(record, value=FUTURE_VALUE) if is_future else record)

    def note(self, text: str) -> None:
        """Add a note once."""
        self._add(self.notes, text)

    def problem(self, text: str) -> None:
        """Add a problem once."""
        self._add(self.problems, text)

    def _add(self, texts: list[str], text: str) -> None:
        if text not in self._texts:
            self._texts.add(text)
            texts.append(text)

    def done(self) -> dict[str, object]:
        """Return the changes of keys and of DNS so far, as a state shows them."""
        return {**_counted(self.changes), **changes_summary(self.dns)}

    def to_dict(self) -> dict[str, object]:
        """Return the data for a function's return. More than 100 entries are counted or cut."""
        notes = list(self.notes)
        times = [wait.decision.not_before for wait in self.waiting]
        next_check = min((time for time in times if time is not None), default=None)
        waiting = [_wait(one) for one in self.waiting[:LISTED]]
        to_publish = [record.to_dict() for record in self.to_publish[:LISTED]]
        if (more := len(self.waiting) - LISTED) > 0:
            notes.append(f"{more} more keys wait")
        if (more := len(self.to_publish) - LISTED) > 0:
            notes.append(f"{more} more records are to be published; run dkim.records")
        return {
            "changes": _counted(self.changes),
            "dns": changes_summary(self.dns),
            "waiting": waiting,
            "to_publish": to_publish,
            "next_check": timestamp_if_known(next_check),
            "notes": _cut(notes, "notes"),
            "problems": _cut(self.problems, "problems"),
        }


def _wait(wait: Wait) -> dict[str, object]:
    return {
        "domain": wait.key.domain,
        "selector": wait.key.selector,
        "algorithm": wait.key.algorithm,
        "state": wait.key.state,
        "next": wait.next_state,
        "waits_for": wait.decision.waits_for,
        "not_before": timestamp_if_known(wait.decision.not_before),
    }


def _counted(changes: dict[str, dict[str, str | None]]) -> dict[str, dict[str, str | None]]:
    if len(changes) <= LISTED:
        return changes
    kinds = Counter((change["old"], change["new"]) for change in changes.values())
    return {
        f"{count} keys, {old or 'none'} to {new or 'none'}": {"old": old, "new": new}
        for (old, new), count in kinds.items()
    }


def _cut(texts: Sequence[str], what: str) -> list[str]:
    if len(texts) <= LISTED:
        return list(texts)
    return [*texts[:LISTED], f"{len(texts) - LISTED} more {what} are not shown"]


def comment(done: Mapping[str, object], test: bool) -> tuple[bool | None, dict[str, object], str]:
    """
    Return a state's result, changes and comment.

    done
        The return of ``rotate``, ``advance`` or ``rotate_due``.
    test
        Whether that call was a test run.

    A key that waits is neither a failure nor a change. The comment says what each key waits for,
    and until when.
    """
    changes = {**done["changes"], **done["dns"]}
    if done["problems"]:
        first, result = "Some keys could not be moved to their next state", False
    elif not changes:
        first, result = "No key has a move due", True
    elif test:
        first, result = "Keys would be moved to their next state", None
    else:
        first, result = "Keys were moved to their next state", True
    lines = [first, *done["problems"], *done["notes"], *_waiting(done["waiting"])]
    if done["next_check"]:
        lines.append(f"Run dkim.advance again after {done['next_check']}")
    lines += _to_publish(done["to_publish"])
    return result, changes, "\n".join(lines)


def _waiting(keys: Sequence[Mapping[str, object]]) -> Iterable[str]:
    for key in keys[:_NAMED]:
        time = f", not before {key['not_before']}" if key["not_before"] else ""
        yield (
            f"{key_name(key['selector'], key['domain'])} is {key['state']}. "
            f"Next state: {key['next']}. Waits for: {key['waits_for']}{time}"
        )
    if len(keys) > _NAMED:
        yield f"{len(keys) - _NAMED} more keys wait; run dkim.status"


def _to_publish(data: Sequence[Mapping[str, object]]) -> Iterable[str]:
    """Yield a line for each record to publish. dkim.records prints the records themselves."""
    for record in data[:_NAMED]:
        if record["value"] == FUTURE_VALUE:
            yield f"{record['name']} is to be published when its key is generated"
        else:
            yield f"To be published: {record['name']} {record['type']}"
    if any(record["value"] != FUTURE_VALUE for record in data):
        yield "salt-call dkim.records prints records to publish"
