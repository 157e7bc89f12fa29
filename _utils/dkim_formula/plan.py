"""What a step would change, as plain data."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Plan:
    """
    What is to be changed, or was.

    changes
        By the thing's name: ``{"old": …, "new": …}``, plain data alone, never a secret. Empty
        where there is nothing to do.
    notes
        Sentences for the administrator that are not changes.
    """

    changes: dict[str, dict[str, object]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)


def change(old: object, new: object) -> dict[str, object]:
    """One entry of :attr:`Plan.changes`."""
    return {"old": old, "new": new}
