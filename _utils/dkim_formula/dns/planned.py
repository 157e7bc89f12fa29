"""Publication tasks: one name each, with the change that it needs and the result."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..records.record import Record
from .providers.provider import BatchProvider, Provider
from .steps import Present, Rewritten, Step, has_value, to_publish, to_remove


@dataclass(frozen=True)
class Task:
    """
    One name and type to bring to its desired state.

    record
        The desired record; None to remove the records that the formula published.
    published
        Values that the formula published at the name.
    start
        An existing name at or above the name. The search for the zone starts there.
    domain
        The mail domain of the record.
    rewritten
        The form in which a provider rewrote the desired record before.
    """

    name: str
    type: str
    start: str
    record: Record | None = None
    published: tuple[str, ...] = ()
    domain: str = ""
    rewritten: Rewritten | None = None

    @property
    def is_obsolete(self) -> bool:
        """Whether the record is to be removed, or says that a key is revoked."""
        return self.record is None or self.record.value.endswith("p=")


@dataclass
class Planned:
    """
    The change that a task needs, or the problem that prevents it.

    step
        The change; None where no change is needed.
    has_conflict
        Whether the problem is a change of the name by another program during the update.
    base
        The name where the search for the zone started.
    sent
        Whether the server accepted the update, even if a later step failed.
    wildcard
        The records that a wildcard seems to give the name.
    rewritten
        The form in which the provider rewrote the value that was sent.
    advice
        A note for a person, although there is no problem.
    """

    task: Task
    provider: Provider | BatchProvider | None = None
    zone: str = ""
    present: Present = field(default_factory=Present)
    step: Step | None = None
    problem: str = ""
    has_conflict: bool = False
    base: str = ""
    sent: bool = False
    wildcard: Present | None = None
    rewritten: Rewritten | None = None
    advice: str = ""


def step_from(task: Task, present: Present, adopt: bool) -> Step | None:
    """Return the step that a task needs at a name with these records. Raises DnsError."""
    if task.record is None:
        return to_remove(task.name, task.type, present, task.published)
    return to_publish(task.record, present, task.published, adopt, task.rewritten)


def is_applied(step: Step, present: Present) -> bool:
    """Return whether a name has the records that a step should leave."""
    gone = [value for value in step.delete if value != step.add]
    is_added = step.add is None or has_value(step.add, step, present)
    return is_added and not any(value in present.values for value in gone)
