"""New keys for rotations: a fresh selector each, the size and algorithm of the settings."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ...database import evidence as evidence_table
from ...database import keystore
from ...database.comparison import Wanted
from ...database.connection import session
from ...database.keystore import Key
from ...errors import InvalidValue
from ...keys import DEFAULT_BITS, PrivateKey
from ...names import key_record_name
from ...rotation import selectors
from ...settings.model import Domain, KeyPlan, Settings
from ...wanted import domain_settings
from .limits import Limits
from .outcome import Outcome, Slot, by_slot
from .situation import Situation

WHY = "rotation: the next key"


@dataclass(frozen=True)
class Start:
    """
    A rotation to be started.

    slot
        Domain, address, algorithm.
    plan
        What the new key is to be; its selector is the one that the scheme goes by.
    selector
        The new key's; None: the scheme's.
    """

    slot: Slot
    plan: KeyPlan
    selector: str | None = None


def planned_slots(domain: Domain, keys: Iterable[Key]) -> dict[Slot, KeyPlan]:
    """
    The slots of one domain that are to have a key by the settings, or have one that signs, each
    with what a new key would be.

    keys
        The domain's; their spelling of its name is the slots'.
    """
    keys = list(keys)
    name = keys[0].domain if keys else domain.name
    found = {(name, "", plan.algorithm): plan for plan in domain.keys}
    for address in domain.addresses:
        found |= {(name, address.address, plan.algorithm): plan for plan in address.keys}
    for slot, there in by_slot(keys).items():
        active = next((key for key in there if key.state == "active"), None)
        if active is not None and slot not in found:
            found[slot] = KeyPlan(active.algorithm, active.selector, active.bits or DEFAULT_BITS)
    return found


def begin(
    settings: Settings,
    limits: Limits,
    starts: Sequence[Start],
    mark: int,
    outcome: Outcome,
) -> None:
    """
    Makes a pending key for each start whose slot has none by then, in one transaction.

    mark
        The history's newest line when the call began: where another run has changed the signing
        key since, nothing is started, and that key is told of.
    """
    domains = sorted({start.slot[0] for start in starts})
    named = {start.slot for start in starts if start.selector is not None}
    with session(settings.database) as connection:
        situation = _look(connection, settings, limits, domains)
        used = evidence_table.used_selectors(connection, settings.database, domains)
        wanted = choose(situation, used, starts, outcome)
    if not wanted:
        return
    made = _made(wanted.values())
    with session(settings.database) as connection, keystore.writing(connection):
        situation = _look(connection, settings, limits, domains)
        used = evidence_table.used_selectors(connection, settings.database, domains)
        switched = evidence_table.switched_since(connection, settings.database, mark)
        pairs = []
        for slot, one in wanted.items():
            if slot in switched:
                outcome.note(f"{slot[0]}: another run has just made {switched[slot]} sign")
            elif _is_wanted_still(situation, used, one, slot in named):
                pairs.append((one, made[slot]))
        stored = keystore.store(connection, settings.database, pairs, WHY, "pending")
        # Told as soon as it is for good: giving the lock back may fail too.
        connection.commit()
        for key in stored:
            outcome.change(key, "pending")


def choose(
    situation: Situation,
    used: Mapping[str, set[str]],
    starts: Iterable[Start],
    outcome: Outcome,
) -> dict[Slot, Wanted]:
    """
    The keys to be made, for slots that have no key to sign next; each with its selector.

    used
        Every selector that each domain ever had.
    """
    found: dict[Slot, Wanted] = {}
    taken: dict[str, set[str]] = {}
    for start in starts:
        domain, address, algorithm = start.slot
        there = situation.candidate(start.slot)
        if there is not None and start.selector in (None, there.selector):
            continue
        try:
            names = taken.setdefault(domain, _taken(situation, domain, used))
            selector = start.selector or _selector(situation, start, names)
            key_record_name(selector, domain)
        except InvalidValue as error:
            outcome.problem(f"{domain}: {error}")
            continue
        names.add(selector)
        found[start.slot] = Wanted(domain, selector, algorithm, start.plan.bits, address)
    return found


def fresh(situation: Situation, used: Mapping[str, set[str]], start: Start) -> Wanted:
    """A new key for a slot, whatever is pending there. Raises InvalidValue where there is none."""
    domain, address, algorithm = start.slot
    selector = _selector(situation, start, _taken(situation, domain, used))
    key_record_name(selector, domain)
    return Wanted(domain, selector, algorithm, start.plan.bits, address)


def _taken(situation: Situation, domain: str, used: Mapping[str, set[str]]) -> set[str]:
    """The selectors that no new key of a domain may have."""
    if domain_settings(situation.settings, domain.lower()).delegation is None:
        return set(used[domain])
    return {key.selector for key in situation.keys if key.domain == domain}


def _selector(situation: Situation, start: Start, taken: Collection[str]) -> str:
    domain, _, algorithm = start.slot
    settings = situation.settings
    delegation = domain_settings(settings, domain.lower()).delegation
    if situation.active(start.slot) is None and start.plan.selector not in taken:
        return start.plan.selector
    if delegation is None:
        scheme = settings.rotation.selector
        return selectors.fresh(scheme, start.plan.selector, algorithm, situation.now, taken)
    free = selectors.free(delegation.selectors, taken)
    if free is None:
        raise InvalidValue(
            f"dkim:domains:{domain}:delegation:selectors",
            list(delegation.selectors),
            "has none that is free: each has a key, whose life has to end first",
            "give one more, or come back when dkim.status shows that one is gone",
        )
    return free


def _look(connection, settings: Settings, limits: Limits, domains: Collection[str]) -> Situation:
    keys = keystore.list_of(connection, settings.database, domains)
    return Situation(settings, limits, evidence_table.clock(connection), keys)


def _made(wanted: Iterable[Wanted]) -> dict[Slot, PrivateKey]:
    """The keys, by slot. The making of an RSA key gives the interpreter lock back."""
    every = list(wanted)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        made = pool.map(lambda one: PrivateKey.generate(one.algorithm, one.bits), every)
        return {
            (one.domain, one.address, one.algorithm): key
            for one, key in zip(every, made, strict=True)
        }


def _is_wanted_still(
    situation: Situation, used: Mapping[str, set[str]], one: Wanted, named: bool
) -> bool:
    """Whether no other run has made the slot its next key, or taken the selector, meanwhile."""
    slot = (one.domain, one.address, one.algorithm)
    there = situation.candidate(slot)
    if there is not None and not (named and there.selector != one.selector):
        return False
    return one.selector not in _taken(situation, one.domain, used)


def fill_in(connection, settings: Settings, domains: Collection[str]) -> None:
    """What rows of the site's own tools lack; it waits for writers, so only where one does."""
    keys = keystore.list_of(connection, settings.database, domains)
    if any(key.public is None and key.state != "revoked" for key in keys):
        keystore.complete(connection, settings.database)
