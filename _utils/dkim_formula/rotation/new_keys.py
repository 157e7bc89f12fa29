"""New keys of a plan: which slots need a new key, and the selector of each new key."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from ..errors import InvalidValue
from ..keys.desired import domain_settings, is_desired
from ..keys.model import Key, Slot
from ..keys.removed_domains import Orphans
from ..private_key import DEFAULT_BITS
from ..record_names import key_record_name, selector_in_record
from ..settings import selector_naming
from ..settings.model import Domain, KeyPlan, Rotation
from .due_dates import due_at
from .moves import UNUSED_STATES, Move, NewKey
from .state import RotationState, wants_standby

_NEXT = "rotation: the next key"
_FROM_STANDBY = "rotation: the standby key is the next key"
_STANDBY = "rotation: the standby key"

# The properties of each slot's new key. The selector scheme derives the new selector from
# ``KeyPlan.selector``.
Specs = Mapping[Slot, KeyPlan]


def specs(domain: Domain, keys: Iterable[Key]) -> dict[Slot, KeyPlan]:
    """
    Return the properties of a new key for each slot of a domain: the slots to which the settings
    give a key, and the slots in which a key signs.

    keys
        The domain's keys. The slots spell the domain's name as the keys do.
    """
    keys = list(keys)
    name = keys[0].domain if keys else domain.name
    found = {Slot(name, "", plan.algorithm): plan for plan in domain.keys}
    for address in domain.addresses:
        found |= {Slot(name, address.address, plan.algorithm): plan for plan in address.keys}
    for key in sorted(keys, key=lambda key: key.id):
        if key.state == "active" and key.slot not in found:
            found[key.slot] = KeyPlan(key.algorithm, key.selector, key.bits or DEFAULT_BITS)
    return found


def is_due(key: Key, rotation: Rotation, now: datetime) -> bool:
    """Return whether an active key is due for rotation."""
    if key.activated is None:
        return True
    return due_at(key.activated, rotation, key.domain, key.algorithm) <= now


def due_specs(state: RotationState, chosen: Mapping[str, Domain], now: datetime) -> Specs:
    """
    Return the properties of a new key for each slot whose key is due for rotation.

    chosen
        The domains that the formula manages, by name. A key that the settings don't desire is left
        to the program that inserted the key.
    """
    by_domain: dict[str, list[Key]] = {}
    for key in state.keys:
        by_domain.setdefault(key.domain, []).append(key)
    found = {}
    for name, keys in by_domain.items():
        if name in chosen:
            found |= _due_in(chosen[name], keys, state, now)
    return found


def _due_in(domain: Domain, keys: Collection[Key], state: RotationState, now: datetime) -> Specs:
    rotation = state.settings.rotation
    active = [key for key in keys if key.state == "active"]
    due = {key.slot for key in active if is_due(key, rotation, now)}
    if due and rotation.together:
        due = {key.slot for key in active}
    return {
        slot: spec
        for slot, spec in specs(domain, keys).items()
        if slot in due and is_desired(domain, slot)
    }


def lost_specs(orphans: Orphans, chosen: Mapping[str, Domain]) -> Specs:
    """Return the properties of a new key for each unsigned slot of the domains that returned."""
    lost = {Slot(*slot) for slot in orphans.lost}
    return {
        slot: spec
        for name in sorted({slot.domain for slot in lost} & chosen.keys())
        for slot, spec in specs(chosen[name], ()).items()
        if slot in lost and is_desired(chosen[name], slot)
    }


def choose(
    state: RotationState, desired: Specs, now: datetime, selector: str | None = None
) -> tuple[list[Move], list[str]]:
    """
    Return the moves that give a pending key to each slot without a next key. Return also the
    problems of the slots that can't get one. The pending key is the slot's standby key, else a new
    key.

    selector
        The selector of the next key. A key with another selector then does not count as the next.
    """
    moves, problems = [], []
    taken: dict[str, set[str]] = {}
    first = _free_number(state)
    for slot, spec in desired.items():
        candidate = state.candidate(slot)
        if candidate is not None and selector in (None, candidate.selector):
            continue
        standby = state.standby(slot, now)
        if standby is not None and selector in (None, standby.selector):
            moves.append(Move(standby, "standby", "pending", _FROM_STANDBY))
            continue
        names = taken.setdefault(slot.domain, _taken(state, slot.domain))
        try:
            name = selector or _selector(state, slot, spec, names, now)
            key_record_name(name, slot.domain)
        except InvalidValue as error:
            problems.append(f"{slot.domain}: {error}")
            continue
        names.add(name)
        moves.append(_creation(NewKey.of(slot, name, spec.bits, first + len(moves)), _NEXT))
    return moves, problems


def standby_keys(state: RotationState, now: datetime) -> tuple[list[Move], list[str]]:
    """
    Return the moves that create the missing standby keys, and the problems of the slots that can't
    get one.

    A slot waits until its rotation is finished. A domain with a delegation waits for a free
    selector.
    """
    moves, problems = [], []
    taken: dict[str, set[str]] = {}
    first = _free_number(state)
    for slot, keys in state.slots.items():
        states = {key.state for key in keys}
        if "active" not in states or states & set(UNUSED_STATES):
            continue
        if slot.domain in state.orphans.gone or not wants_standby(state.settings, slot):
            continue
        domain = domain_settings(state.settings, slot.domain.lower())
        spec = specs(domain, keys)[slot]
        names = taken.setdefault(slot.domain, _taken(state, slot.domain))
        try:
            name = _selector(state, slot, spec, names, now)
            key_record_name(name, slot.domain)
        except InvalidValue as error:
            if domain.delegation is None:
                problems.append(f"{slot.domain}: {error}")
            continue
        names.add(name)
        key = NewKey.of(slot, name, spec.bits, first + len(moves), "standby")
        moves.append(_creation(key, _STANDBY))
    return moves, problems


def _free_number(state: RotationState) -> int:
    """Return a number above those of the new keys that earlier parts of the plan create."""
    return max((key.number + 1 for key in state.keys if isinstance(key, NewKey)), default=0)


def _creation(key: NewKey, why: str) -> Move:
    return Move(key, None, key.state, why)


def replacement_key(state: RotationState, key: Key, now: datetime) -> NewKey:
    """
    Return a new key for the slot of a key that signs, regardless of pending keys in the slot.

    Raises InvalidValue if no selector is free.
    """
    domain = domain_settings(state.settings, key.domain.lower())
    spec = specs(domain, [one for one in state.keys if one.domain == key.domain])[key.slot]
    selector = _selector(state, key.slot, spec, _taken(state, key.domain), now)
    key_record_name(selector, key.domain)
    return NewKey.of(key.slot, selector, spec.bits, 0)


def _taken(state: RotationState, domain: str) -> set[str]:
    """Return the selectors that a new key of a domain must not have, in lower case."""
    present = {selector_in_record(key.selector) for key in state.keys if key.domain == domain}
    if domain_settings(state.settings, domain.lower()).delegation is None:
        return present.union(state.used.get(domain, ()))
    return present


def _selector(
    state: RotationState, slot: Slot, spec: KeyPlan, taken: Collection[str], now: datetime
) -> str:
    settings = state.settings
    if state.active(slot) is None and spec.selector not in taken:
        return spec.selector
    delegation = domain_settings(settings, slot.domain.lower()).delegation
    if delegation is None:
        scheme = settings.rotation.selector
        return selector_naming.unused_selector(scheme, spec.selector, slot.algorithm, now, taken)
    free = selector_naming.free_selector(delegation.selectors, taken)
    if free is None:
        raise InvalidValue(
            f"dkim:domains:{slot.domain}:delegation:selectors",
            list(delegation.selectors),
            "has no free selector: each belongs to a key that is still in progress",
            "add a selector, or run dkim.rotate again when dkim.status shows that a key is gone",
        )
    return free
