"""What a rotation's functions return: what was done, what is waited for, what to publish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ...database.keystore import Key
from ...records import Record
from ...rotation.decision import Decision, moment_text
from ..publish import LISTED

# Where one key signs at a time: domain, address ('' for the domain's own), algorithm.
Slot = tuple[str, str, str]


@dataclass
class Outcome:
    """Filled batch by batch, and shown once."""

    changes: dict[str, dict[str, str | None]] = field(default_factory=dict)
    dns: dict[str, dict[str, str | None]] = field(default_factory=dict)
    waiting: list[dict[str, object]] = field(default_factory=list)
    publish: list[Record] = field(default_factory=list)
    come_back: datetime | None = None
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    # A list is too slow to look each text up in: a run may have a hundred thousand.
    _told: set[str] = field(default_factory=set)

    def change(self, key: Key, new: str | None, old: str | None = None) -> None:
        """A key's way from state to state; of two steps the first one's start is kept."""
        entry = self.changes.setdefault(name_of(key), {"old": old, "new": new})
        entry["new"] = new

    def wait(self, key: Key, next_: str, decision: Decision) -> None:
        """A key that is not where it is to be in the end."""
        until = decision.until
        self.waiting.append(
            {
                "domain": key.domain,
                "selector": key.selector,
                "algorithm": key.algorithm,
                "state": key.state,
                "next": next_,
                "for": decision.waits_for,
                "until": None if until is None else moment_text(until),
            }
        )
        if until is not None and (self.come_back is None or until < self.come_back):
            self.come_back = until

    def note(self, text: str) -> None:
        """Something to know, once."""
        if text not in self._told:
            self._told.add(text)
            self.notes.append(text)

    def problem(self, text: str) -> None:
        """Something that went wrong, once."""
        if text not in self._told:
            self._told.add(text)
            self.problems.append(text)

    def done(self) -> dict[str, object]:
        """The changes by now, of keys and of DNS, as a state shows them."""
        return {**_counted(self.changes), **_counted_records(self.dns)}

    def as_plain(self) -> dict[str, object]:
        """For a function's return; past 100 of a kind they are counted, or cut and counted."""
        notes = list(self.notes)
        publish = [record.as_plain() for record in self.publish]
        return {
            "changes": _counted(self.changes),
            "dns": _counted_records(self.dns),
            "waiting": _cut(self.waiting, "keys wait", notes),
            "publish": _cut(publish, "records are to be published: dkim.records has them", notes),
            "come_back": None if self.come_back is None else moment_text(self.come_back),
            "notes": _counted_texts(notes, "notes"),
            "problems": _counted_texts(self.problems, "problems"),
        }


def name_of(key: Key) -> str:
    """A key by its record's name in the domain's own zone."""
    return f"{key.selector}._domainkey.{key.domain}"


def _counted(changes: dict[str, dict[str, str | None]]) -> dict[str, dict[str, str | None]]:
    if len(changes) <= LISTED:
        return changes
    kinds = Counter((change["old"], change["new"]) for change in changes.values())
    return {
        f"{count} keys, {old or 'none'} to {new or 'none'}": {"old": old, "new": new}
        for (old, new), count in kinds.items()
    }


def _counted_records(changes: dict[str, dict[str, str | None]]) -> dict[str, dict[str, str | None]]:
    if len(changes) <= LISTED:
        return changes
    return {"records": {"old": None, "new": f"{len(changes)} added, changed or removed"}}


def _cut(entries: Sequence[object], what: str, notes: list[str]) -> list[object]:
    if len(entries) > LISTED:
        notes.append(f"{len(entries) - LISTED} more {what}")
    return list(entries[:LISTED])


def _counted_texts(texts: Sequence[str], what: str) -> list[str]:
    if len(texts) <= LISTED:
        return list(texts)
    return [*texts[:LISTED], f"{len(texts) - LISTED} more {what} are not shown"]


def slot_of(key: Key) -> Slot:
    """Where a key belongs."""
    return key.domain, key.address, key.algorithm


def by_slot(keys: Iterable[Key]) -> dict[Slot, list[Key]]:
    """Keys by where they belong, each list by id."""
    slots: dict[Slot, list[Key]] = {}
    for key in sorted(keys, key=lambda key: key.id):
        slots.setdefault(slot_of(key), []).append(key)
    return slots
