"""The removal of published records that no key and no setting needs any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..keys.desired import domain_settings
from ..keys.model import DesiredKey, Key
from ..record_names import key_name, selector_in_record, without_delegation
from ..settings.model import Domain, Settings
from .changes import start_of_published
from .planned import Task
from .published import Published
from .zones import has_manual_zone


def of_unneeded(
    settings: Settings,
    published: Mapping[tuple[str, str], Sequence[Published]],
    keys: Sequence[Key],
) -> tuple[list[Task], list[Task]]:
    """
    Return the removals that the formula makes, and those that a person has to make.

    A stored key keeps its record, even if its row is unreadable or the pillar excludes the domain.
    Until the key is revoked, it also keeps its record in the zone of a former delegation, and the
    one at its own name: the customer's CNAME may still lead there, or not be there yet.

    published
        The published values without a desired record, by name and type.
    keys
        All stored keys of the domains.
    """
    kept = {name_of(key, domain_settings(settings, key.domain.lower())) for key in keys}
    unrevoked = {
        key_name(selector_in_record(key.selector), key.domain.lower())
        for key in keys
        if key.state != "revoked"
    }
    made: list[Task] = []
    manual: list[Task] = []
    for (name, rtype), rows in published.items():
        values, domain = tuple(row.value for row in rows), rows[0].domain
        if name not in kept and without_delegation(name, domain) not in unrevoked:
            task = Task(name, rtype, start_of_published(name, domain), None, values, domain)
            (manual if has_manual_zone(settings.dns, name) else made).append(task)
    return made, manual


def name_of(key: Key | DesiredKey, domain: Domain) -> str:
    """Return the name of a key's record by the settings of its domain, also for an odd row."""
    name = key_name(selector_in_record(key.selector), domain.name)
    return name if domain.delegation is None else f"{name}.{domain.delegation.zone}"
