"""
Commands that Salt's execution modules call: rotations, moves of single keys, status of keys.

``_modules/dkimmod.py`` documents the arguments and returns of each command. With ``test`` a command
changes nothing and returns what a run would change. docs/rotation.md is the contract.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from ..dns.notify import notify_for_report
from ..errors import DatabaseUnavailable, InvalidValue, StepRefused, keeping_what_was_done
from ..keys import history, removed_domains
from ..keys import table as keys_table
from ..keys.completion import complete_domains
from ..keys.desired import any_standby, chosen_domains
from ..keys.known_domains import key_holder, refuse_unknown
from ..keys.model import Key, Slot
from ..keys.removed_domains import Orphans
from ..names import owner_domain, row_spellings, stored_selector
from ..names import selector as checked_selector
from ..postgres import schema, stand_in
from ..postgres.commands import NO_DATABASE_YET, awaits_setup, setup_note
from ..postgres.connection import session
from ..private_key import check_algorithm
from ..record_names import selector_in_record
from ..settings.model import Domain, Settings
from ..settings.validation import text as checked_text
from . import replica_replay
from .disclosure import disclose
from .due_dates import least_age, standby_for
from .moves import UNUSED_STATES
from .new_keys import Specs, is_due, lost_specs, specs
from .observe import unready_standby
from .plan import Activate, Advance, Request, Retire, Rotate, RotateDue
from .report import RotationReport
from .revoke import Revoke
from .run import Progress, RotationRun
from .state import wants_standby
from .status import status

__all__ = [
    "activate",
    "advance",
    "forget_replica",
    "retire",
    "revoke",
    "rotate",
    "rotate_due",
    "status",
]


@stand_in.noted
def rotate(
    settings: Settings,
    domain: object,
    selector: object = None,
    algorithm: object = None,
    force: bool = False,
    test: bool = False,
) -> dict[str, object]:
    """
    Rotate the keys of a domain and of its addresses, as far as the evidence allows.

    Raises InvalidValue for a wrong argument, StepRefused for a selector that was used before,
    DatabaseError for a domain that is not hosted.
    """
    name = owner_domain(domain)
    holder = key_holder(settings, name)
    with session(settings.database) as connection:
        since = history.newest_line(connection, settings.database)
        refuse_unknown(connection, settings, name)
        keys = keys_table.list_of(connection, settings.database, [name])
        desired = specs(holder, keys)
        if algorithm is not None:
            desired = _of_algorithm(desired, check_algorithm(algorithm), name)
        chosen = None
        if selector is not None:
            chosen = checked_selector(selector, "selector")
            desired = _of_one_slot(desired)
            _refuse_selector(connection, settings, holder, chosen, keys, desired.keys())
    run = RotationRun(settings, Rotate(desired, chosen, force), test, since)
    run.run([name])
    return run.report.to_dict()


@stand_in.noted
def advance(
    settings: Settings,
    domain: object = None,
    test: bool = False,
    progress: Progress | None = None,
    force: bool = False,
) -> dict[str, object]:
    """
    Move every key that is in progress (pending, retired, revoked) as far as the evidence allows.

    progress
        Called with (done, total) domains after each batch.
    """
    spellings = None if domain is None else row_spellings(domain)
    if test and (note := _missing_tables_note(settings)):
        return RotationReport(notes=[note]).to_dict()
    with session(settings.database) as connection:
        since = history.newest_line(connection, settings.database)
        name = spellings and keys_table.row_domain(connection, settings.database, spellings)
        names = [name] if name is not None else _unfinished(connection, settings)
    found = removed_domains.read(settings, force)
    lost = _lost(settings, found)
    run = RotationRun(settings, Advance(lost), test, since, found)
    if name is None or name in found.gone:
        _report_orphans(run.report, found)
    if name is not None:
        run.run(names, progress)
        return run.report.to_dict()
    return _run_everywhere(run, {*names, *(slot.domain for slot in lost)}, progress)


@stand_in.noted
def rotate_due(
    settings: Settings,
    test: bool = False,
    progress: Progress | None = None,
    force: bool = False,
) -> dict[str, object]:
    """Rotate the due keys of the domains that the pillar selects, then advance."""
    if test and (note := _missing_tables_note(settings)):
        return RotationReport(notes=[note]).to_dict()
    with session(settings.database) as connection:
        since = history.newest_line(connection, settings.database)
        names = _unfinished(connection, settings)
    found = removed_domains.read(settings, force)
    with session(settings.database) as connection:
        due = _due(connection, settings)
    chosen = chosen_domains(settings, found.hosted) if due else {}
    chosen = {name: chosen[name] for name in due if name in chosen}
    lost = _lost(settings, found)
    run = RotationRun(settings, RotateDue(lost, chosen), test, since, found)
    _report_orphans(run.report, found)
    return _run_everywhere(run, {*names, *chosen, *(slot.domain for slot in lost)}, progress)


@stand_in.noted
def activate(
    settings: Settings, domain: object, selector: object, force: bool = False, test: bool = False
) -> dict[str, object]:
    """
    Make a standby, pending or retired key active if every resolver can read its record.

    Raises KeyNotFound; StepRefused for a revoked key, and for an unreadable one.
    """
    return _run_single(settings, domain, selector, lambda key: Activate(key, force), test)


@stand_in.noted
def retire(
    settings: Settings, domain: object, selector: object, force: bool = False, test: bool = False
) -> dict[str, object]:
    """
    Retire the active key. Its record stays in DNS.

    Raises KeyNotFound; StepRefused without ``force``, and for a key that is not active.
    """
    return _run_single(settings, domain, selector, lambda key: Retire(key, force), test)


@stand_in.noted
def revoke(
    settings: Settings,
    domain: object,
    selector: object,
    compromised: bool = False,
    force: bool = False,
    test: bool = False,
) -> dict[str, object]:
    """
    Erase a private key and empty its record.

    Raises KeyNotFound; StepRefused for an active key, and for a key that mail in transit may need.
    """
    return _run_single(
        settings, domain, selector, lambda key: Revoke(key, compromised, force), test
    )


@stand_in.noted
def forget_replica(settings: Settings, address: object, test: bool = False) -> dict[str, object]:
    """
    Delete what is stored of a standby server that no longer exists, so that no key waits for it.

    Raises StepRefused for an address that no known standby has.
    """
    with session(settings.database) as connection:
        gone = replica_replay.forget(
            connection, settings.database, checked_text(address, "address")
        )
        if test:
            connection.rollback()
    return {"changes": {one: {"old": "waited for", "new": None} for one in gone}, "notes": []}


def _run_single(
    settings: Settings,
    domain: object,
    selector: object,
    request_of: Callable[[Key], Request],
    test: bool,
) -> dict[str, object]:
    """Carry out a request for one key, or raise StepRefused."""
    spellings, chosen = row_spellings(domain), stored_selector(selector)
    with session(settings.database) as connection:
        since = history.newest_line(connection, settings.database)
        name = keys_table.row_domain(connection, settings.database, spellings)
        completed = complete_domains(connection, settings.database, [name])
        key = keys_table.find(connection, settings.database, name, chosen)
        if test:
            connection.rollback()
    run = RotationRun(settings, request_of(key), test, since)
    if refused := run.preview([key.domain]).refused:
        raise StepRefused(refused)
    for old, now in completed:
        run.report.change(now, now.state, old.state)
    run.run([key.domain])
    return run.report.to_dict()


def _run_everywhere(
    run: RotationRun, names: Collection[str], progress: Progress | None
) -> dict[str, object]:
    """
    Carry out a request in all domains with work to do, disclose private keys, and report the
    records that a person must publish.
    """
    run.run({*names, *run.orphans.due}, progress)
    if not run.test:
        with keeping_what_was_done(run.report.done):
            removed_domains.store_alias_domains(run.settings, run.orphans)
    with keeping_what_was_done(run.report.done):
        disclose(run.settings, run.report, run.test)
        notes, problems = notify_for_report(run.settings, run.test)
    for text in notes:
        run.report.note(text)
    for text in problems:
        run.report.problem(text)
    return run.report.to_dict()


def _missing_tables_note(settings: Settings) -> str:
    """Return the note of a test run while the formula's tables are missing; else an empty text."""
    try:
        with session(settings.database) as connection:
            return "" if schema.has_tables(connection, settings.database) else NO_DATABASE_YET
    except DatabaseUnavailable as error:
        if not awaits_setup(error, settings.database):
            raise
        return setup_note(error)


def _report_orphans(report: RotationReport, found: Orphans) -> None:
    if found.sudden:
        report.problem(found.sudden)
    elif found.due:
        report.note(removed_domains.retirement_text(found.due))


def _lost(settings: Settings, found: Orphans) -> Specs:
    return lost_specs(found, chosen_domains(settings, found.hosted)) if found.lost else {}


def _unfinished(connection, settings: Settings) -> list[str]:
    names = keys_table.unfinished(connection, settings.database)
    names = sorted({*names, *_with_standby_work(connection, settings)})
    return [name for name in names if name.lower() not in settings.excluded]


def _with_standby_work(connection, settings: Settings) -> Iterable[str]:
    """Return the domains with a missing, unready, outdated or superfluous standby key."""
    database, rotation = settings.database, settings.rotation
    if not any_standby(settings):
        return keys_table.with_standby(connection, database)
    lacking = keys_table.without_standby(connection, database)
    return {
        *unready_standby(connection, database, rotation.margin, standby_for(rotation)),
        *(slot.domain for slot in lacking if wants_standby(settings, slot)),
    }


def _due(connection, settings: Settings) -> set[str]:
    """Return the domains with a key that is due for rotation."""
    now = history.clock(connection)
    time = now - least_age(settings.rotation)
    old = keys_table.active_since(connection, settings.database, time)
    return {key.domain for key in old if is_due(key, settings.rotation, now)}


def _of_algorithm(desired: Specs, algorithm: str, name: str) -> Specs:
    found = {slot: spec for slot, spec in desired.items() if slot.algorithm == algorithm}
    if not found:
        known = " and ".join(sorted({slot.algorithm for slot in desired})) or "none"
        raise InvalidValue(
            "algorithm",
            algorithm,
            f"is not one of the keys of {name}",
            f"known algorithms: {known}",
        )
    return found


def _of_one_slot(desired: Specs) -> Specs:
    """Return the slot that a selector is for. Raises InvalidValue if several slots fit."""
    own = {slot: spec for slot, spec in desired.items() if not slot.address} or desired
    if len(own) != 1:
        algorithms = ", ".join(sorted({slot.algorithm for slot in own}))
        raise InvalidValue(
            "algorithm", None, "is needed with a selector", f"use one of {algorithms}"
        )
    return own


def _refuse_selector(
    connection,
    settings: Settings,
    domain: Domain,
    selector: str,
    keys: Iterable[Key],
    slots: Collection[Slot],
) -> None:
    """Refuse a selector that the next key can't have. A standby or pending key can be the next."""
    same = [key for key in keys if selector_in_record(key.selector) == selector]
    known = max(same, key=lambda key: key.selector == selector, default=None)
    is_next = known is not None and known.selector == selector and known.state in UNUSED_STATES
    if is_next and known.slot in slots:
        return
    delegation = domain.delegation
    if delegation is not None and selector not in delegation.selectors:
        raise InvalidValue(
            "selector",
            selector,
            f"has no CNAME by dkim:domains:{domain.name}:delegation",
            f"use one of {', '.join(delegation.selectors)}",
        )
    if known is not None:
        raise StepRefused(
            f"selector: {selector!r} is the selector of a key of {domain.name} that is "
            f"{known.state}; use another"
        )
    used = history.selector_used
    if delegation is None and used(connection, settings.database, domain.name, selector):
        raise StepRefused(
            f"selector: {selector!r} was the selector of a key of {domain.name}, and a selector is "
            "not used twice; use another"
        )
