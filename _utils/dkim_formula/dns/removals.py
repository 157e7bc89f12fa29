"""The removal of published records that no key and no setting needs any more."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ..settings.model import Dns
from .changes import start_of_published
from .planned import Task
from .published import Published
from .zones import has_manual_zone


def of_unneeded(
    dns: Dns, published: Mapping[tuple[str, str], Sequence[Published]], kept: Collection[str]
) -> tuple[list[Task], list[Task]]:
    """
    Return the removals that the formula makes, and those that a person has to make.

    published
        The published values without a desired record, by name and type.
    kept
        The names of the records of all stored keys. They stay.
    """
    made: list[Task] = []
    manual: list[Task] = []
    for (name, rtype), rows in published.items():
        if name not in kept:
            values, domain = tuple(row.value for row in rows), rows[0].domain
            task = Task(name, rtype, start_of_published(name, domain), None, values, domain)
            (manual if has_manual_zone(dns, name) else made).append(task)
    return made, manual
