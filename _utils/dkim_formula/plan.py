"""Planned changes, as plain data."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Plan:
    """
    The changes that a run would make, or made.

    changes
        ``{"old": …, "new": …}`` by the name of what changes. Plain data without secrets; empty if
        there is nothing to do.
    notes
        Other sentences for the administrator.
    """

    changes: dict[str, dict[str, object]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)


def change(old: object, new: object) -> dict[str, object]:
    """Return one entry of :attr:`Plan.changes`."""
    return {"old": old, "new": new}
