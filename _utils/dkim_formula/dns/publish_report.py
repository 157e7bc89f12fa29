"""The report of a publication or of its preview, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..records.record import Record
from ..text import listed
from .planned import Planned, Task

# A state's return lists at most this many changes; more are counted.
LISTED = 100


@dataclass
class PublishReport:
    """Changes and problems of a publication or its preview, by ``NAME TYPE``."""

    changes: dict[str, dict[str, str | None]] = field(default_factory=dict)
    unchanged: int = 0
    problems: dict[str, list[str]] = field(default_factory=dict)
    manual: list[Record] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def problem(self, text: str, name: str) -> None:
        """Add a problem of a name."""
        self.problems.setdefault(text, []).append(name)

    def add(self, rounds: Sequence[Planned]) -> None:
        """Add one name, with the records before its first round and after its last round."""
        last = rounds[-1]
        name = label(last.task)
        sent = [
            one.step for one in rounds if one.step is not None and (one.sent or not one.problem)
        ]
        if last.problem:
            self.problem(last.problem, name)
        self.notes += [f"{name}: {one.advice}" for one in rounds[:1] if one.advice]
        if sent:
            new = None if sent[-1].add is None else sent[-1].add.decode()
            old = [value.decode("utf-8", "backslashreplace") for value in sent[0].delete]
            self.changes[name] = {"old": ", ".join(old) or None, "new": new}
        elif not last.problem and last.task.record is not None:
            self.unchanged += 1

    def to_dict(self) -> dict[str, object]:
        """Return the data for a function's return."""
        return {
            "changes": self.changes,
            "unchanged": self.unchanged,
            "problems": [f"{listed(names)}: {text}" for text, names in self.problems.items()],
            "manual": [label(record) for record in self.manual],
            "to_publish": [record.to_dict() for record in self.manual[:LISTED]],
            "notes": self.notes,
        }


def label(one: Record | Task) -> str:
    """Return the name and the type of a record: its key in the changes."""
    return f"{one.name} {one.type}"


def changes_summary(changes: dict[str, object]) -> dict[str, object]:
    """Return a state's changes; more than 100 are counted."""
    if len(changes) <= LISTED:
        return changes
    return {"records": {"old": None, "new": f"{len(changes)} added, changed or removed"}}
