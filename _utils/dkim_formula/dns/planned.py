"""Tasks of publication: one name each, the change that it needs, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..records.record import Record
from .providers.provider import BatchProvider, Provider
from .steps import Made, Present, Step, is_there, to_publish, to_remove


@dataclass(frozen=True)
class Task:
    """
    One name and type to bring to its desired state.

    record
        The desired record; None to remove what the formula published.
    published
        Values that the formula published at the name.
    start
        The name itself or one above it that exists: the search for the zone starts there.
    domain
        The mail domain that the record is for.
    made
        What a provider made of the desired record before.
    """

    name: str
    type: str
    start: str
    record: Record | None = None
    published: tuple[str, ...] = ()
    domain: str = ""
    made: Made | None = None

    @property
    def is_over(self) -> bool:
        """Whether nobody needs the name any more: the record goes, or says a key is revoked."""
        return self.record is None or self.record.value.endswith("p=")


@dataclass
class Planned:
    """
    The change that a task needs, or the problem that prevents it.

    step
        None where nothing has to be done.
    has_conflict
        Whether the problem is that somebody else changed the name in the meantime.
    base
        The name that the search for the zone started from.
    sent
        Whether the server accepted the update, whatever came after it.
    wildcard
        The records that a wildcard seems to give the name.
    made
        What the provider made of the value that was sent.
    advice
        What a person should look at, though nothing is wrong.
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
    made: Made | None = None
    advice: str = ""


def step_from(task: Task, present: Present, adopt: bool) -> Step | None:
    """Return the step that a task needs at a name with these records. Raises DnsError."""
    if task.record is None:
        return to_remove(task.name, task.type, present, task.published)
    return to_publish(task.record, present, task.published, adopt, task.made)


def is_applied(step: Step, present: Present) -> bool:
    """Tell whether the records at a name are as they should be after a step."""
    gone = [value for value in step.delete if value != step.add]
    is_added = step.add is None or is_there(step.add, step, present)
    return is_added and not any(value in present.values for value in gone)
