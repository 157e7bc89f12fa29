"""Rotations: of one domain, of all that are due; and those that are under way, taken further."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ...database import evidence as evidence_table
from ...database import keystore
from ...database.comparison import selector_used
from ...database.connection import session
from ...database.keystore import Key
from ...errors import (
    DatabaseUnavailable,
    InvalidValue,
    StepRefused,
    keeping_what_was_done,
)
from ...keys import check_algorithm
from ...names import owner_domain, stored_domain
from ...names import selector as checked_selector
from ...postgres import schema
from ...rotation.due import due_at, never_before
from ...settings.model import Domain, Settings
from ...wanted import chosen_domains
from .. import orphans
from ..keys import key_holder, refuse_unknown
from ..orphans import Orphans
from ..setup import NOT_THERE_YET, not_there_yet, nothing_there_yet
from .course import Course, Progress
from .disclosure import disclose
from .outcome import Outcome, Slot, by_slot, slot_of
from .starting import Start, planned_slots


def rotate(
    settings: Settings,
    domain: object,
    selector: object = None,
    algorithm: object = None,
    force: bool = False,
    test: bool = False,
) -> dict[str, object]:
    """
    Rotates a domain's keys, and those of its addresses, as far as evidence allows: a pending key is
    found or made, and signs once the world can read it. Calls at the same time come to one outcome.

    selector
        The new key's; it goes to the domain's own key, of the one algorithm that there is or that
        is named. Default: by ``rotation:selector``.
    algorithm
        Only the keys of this one.
    force
        Make the new keys active whatever is known of their records; the notes say what was missing.
    test
        Only tell.

    Raises InvalidValue for an argument that is wrong, StepRefused for a selector that was ever
    used, DatabaseError for a domain that is not hosted.
    """
    name = owner_domain(domain)
    wanted = key_holder(settings, name)
    with session(settings.database) as connection:
        mark = evidence_table.history_mark(connection, settings.database)
        refuse_unknown(connection, settings, name)
        keys = keystore.list_of(connection, settings.database, [name])
        slots = planned_slots(wanted, keys)
        if algorithm is not None:
            slots = _of_algorithm(slots, check_algorithm(algorithm), name)
        chosen = None
        if selector is not None:
            chosen = checked_selector(selector, "selector")
            slots = _of_one(slots)
            _refuse_selector(connection, settings, wanted, chosen, keys, [*slots])
    starts = [Start(slot, plan, chosen) for slot, plan in slots.items()]
    course = Course(settings, test, force=[*slots] if force else (), mark=mark)
    course.run([name], starts)
    return course.outcome.as_plain()


def advance(
    settings: Settings,
    domain: object = None,
    test: bool = False,
    progress: Progress | None = None,
    force: bool = False,
) -> dict[str, object]:
    """
    Takes every key that is on its way (pending, retired, revoked) as far as it can go. Keys of
    domains that are neither hosted nor in the pillar any more are retired; a domain that comes back
    has its key again, or a new one.

    domain
        Default: all domains but those that the pillar leaves out.
    force
        A sudden disappearance of domains is meant.
    progress
        Called with (done, total) domains after each batch.
    """
    name = None if domain is None else stored_domain(domain)
    if test and (note := _nothing_yet(settings)):
        return Outcome(notes=[note]).as_plain()
    with session(settings.database) as connection:
        mark = evidence_table.history_mark(connection, settings.database)
        names = [name] if name is not None else _unfinished(connection, settings)
    found = orphans.look(settings, force)
    anew = _anew(settings, found)
    if name is None:
        names = {*names, *found.due, *(start.slot[0] for start in anew)}
    course = Course(settings, test, mark=mark, orphans=found, anew=anew)
    if name is None or name in found.gone:
        _tell_of_orphans(course, found)
    course.run(names, progress=progress)
    if name is None:
        with keeping_what_was_done(course.outcome.done):
            disclose(settings, course.outcome, test)
    return course.outcome.as_plain()


def rotate_due(
    settings: Settings,
    test: bool = False,
    progress: Progress | None = None,
    force: bool = False,
) -> dict[str, object]:
    """
    Starts the rotations that are due, of the domains that the pillar chooses, and takes those that
    are under way as far as they can go, as :func:`advance`.
    """
    if test and (note := _nothing_yet(settings)):
        return Outcome(notes=[note]).as_plain()
    with session(settings.database) as connection:
        mark = evidence_table.history_mark(connection, settings.database)
        unfinished = _unfinished(connection, settings)
    found = orphans.look(settings, force)
    with session(settings.database) as connection:
        starts = _due(connection, settings, found.hosted)
    anew = _anew(settings, found)
    names = {*unfinished, *found.due, *(start.slot[0] for start in [*starts, *anew])}
    course = Course(settings, test, mark=mark, orphans=found, anew=anew)
    _tell_of_orphans(course, found)
    course.run(names, starts, progress)
    with keeping_what_was_done(course.outcome.done):
        disclose(settings, course.outcome, test)
    return course.outcome.as_plain()


def _nothing_yet(settings: Settings) -> str:
    """What a test run says where the formula has made no tables yet; empty where it has."""
    try:
        with session(settings.database) as connection:
            return "" if schema.has_tables(connection, settings.database) else NOT_THERE_YET
    except DatabaseUnavailable as error:
        if not nothing_there_yet(error, settings.database):
            raise
        return not_there_yet(error)


def _tell_of_orphans(course: Course, found: Orphans) -> None:
    if found.sudden:
        course.outcome.problem(found.sudden)
    elif found.due:
        course.outcome.note(orphans.ending(found.due))


def _anew(settings: Settings, found: Orphans) -> list[Start]:
    """The starts of domains that came back, should their former keys not sign again."""
    chosen = chosen_domains(settings, found.hosted) if found.lost else {}
    lost = [slot for slot in found.lost if slot[0] in chosen]
    return [
        Start(slot, plan)
        for name in sorted({domain for domain, _, _ in lost})
        for slot, plan in planned_slots(chosen[name], ()).items()
        if slot in lost and _is_planned(chosen[name], slot)
    ]


def _due(connection, settings: Settings, hosted: Iterable[str]) -> list[Start]:
    rotation = settings.rotation
    now = evidence_table.clock(connection)
    old = keystore.active_since(connection, settings.database, now - never_before(rotation))
    if not old:
        return []
    chosen = chosen_domains(settings, hosted)
    due = {
        slot_of(key)
        for key in old
        if key.domain in chosen
        and (
            key.activated is None
            or due_at(key.activated, rotation, key.domain, key.algorithm) <= now
        )
    }
    names = sorted({domain for domain, _, _ in due})
    of_domain: dict[str, list[Key]] = {name: [] for name in names}
    for key in keystore.list_of(connection, settings.database, names):
        of_domain[key.domain].append(key)
    starts = []
    for name in names:
        starts += _due_in(chosen[name], of_domain[name], due, rotation.together)
    return starts


def _due_in(domain: Domain, keys: list[Key], due: Collection[Slot], together: bool) -> list[Start]:
    """The starts of one domain; where its algorithms go together, of all its keys that sign."""
    signing = {slot for slot, there in by_slot(keys).items() if any(_signs(key) for key in there)}
    slots = planned_slots(domain, keys)
    planned = {slot for slot in slots if slot in signing and _is_planned(domain, slot)}
    chosen = planned if together else planned & set(due)
    return [Start(slot, plan) for slot, plan in slots.items() if slot in chosen]


def _is_planned(domain: Domain, slot: Slot) -> bool:
    """Whether the settings want a key there: one that merely is there is its owner's to rotate."""
    _, address, algorithm = slot
    plans = domain.keys
    if address:
        plans = [plan for one in domain.addresses if one.address == address for plan in one.keys]
    return domain.alias_of is None and any(plan.algorithm == algorithm for plan in plans)


def _signs(key: Key) -> bool:
    return key.state == "active"


def _unfinished(connection, settings: Settings) -> list[str]:
    names = keystore.unfinished(connection, settings.database)
    return [name for name in names if name.lower() not in settings.excluded]


def _of_algorithm(slots: dict[Slot, object], algorithm: str, name: str) -> dict[Slot, object]:
    found = {slot: plan for slot, plan in slots.items() if slot[2] == algorithm}
    if not found:
        there = " and ".join(sorted({slot[2] for slot in slots})) or "none"
        raise InvalidValue(
            "algorithm", algorithm, f"is not one of the keys of {name}", f"there is {there}"
        )
    return found


def _of_one(slots: dict[Slot, object]) -> dict[Slot, object]:
    """The one slot that a selector can be for."""
    own = {slot: plan for slot, plan in slots.items() if not slot[1]} or slots
    if len(own) != 1:
        algorithms = ", ".join(sorted({slot[2] for slot in own}))
        raise InvalidValue(
            "algorithm", None, "is needed with a selector", f"give one of {algorithms}"
        )
    return own


def _refuse_selector(
    connection,
    settings: Settings,
    domain: Domain,
    selector: str,
    keys: list[Key],
    slots: list[Slot],
) -> None:
    """A selector that is to be a new key's, and can't be; that of a pending key is no new one."""
    there = next((key for key in keys if key.selector == selector), None)
    if there is not None and there.state == "pending" and slot_of(there) in slots:
        return
    delegation = domain.delegation
    if delegation is not None and selector not in delegation.selectors:
        raise InvalidValue(
            "selector",
            selector,
            f"has no CNAME by dkim:domains:{domain.name}:delegation",
            f"use one of {', '.join(delegation.selectors)}",
        )
    if there is not None:
        raise StepRefused(
            f"selector: {selector!r} is the selector of a key of {domain.name} that is "
            f"{there.state}; give another"
        )
    if delegation is None and selector_used(connection, settings.database, domain.name, selector):
        raise StepRefused(
            f"selector: {selector!r} was the selector of a key of {domain.name}, and a selector is "
            "not used twice; give another"
        )
