"""The state of some domains' keys at one time, as a run knows it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property

from ..keys.desired import (
    domain_settings,
    first_key_waits,
    has_standby,
    is_chosen,
    is_desired,
    key_problem,
    record_of,
)
from ..keys.model import GONE, Key, Slot
from ..keys.refusals import first_key_waits_for
from ..keys.removed_domains import WHY, WHY_BACK, Orphans
from ..record_names import key_name
from ..records import Record, delegation_records
from ..settings.duration import in_words
from ..settings.model import Settings
from .due_dates import standby_for
from .gate import (
    NO_REPLICAS,
    Decision,
    Evidence,
    Observation,
    may_be_deleted,
    may_be_revoked,
    may_sign,
    with_observation,
)
from .moves import UNUSED_STATES, Move, NewKey
from .replicas import Replicas
from .waiting_times import RetireFor

NO_ORPHANS = Orphans()
# The next state of a key by its state.
NEXT = {"standby": "active", "pending": "active", "retired": "revoked", "revoked": GONE}
# The next state of a key whose domain is gone.
_NEXT_OF_ORPHAN = {"active": "retired", "standby": "revoked", "pending": "revoked"}
# States of keys whose next move depends on DNS.
OBSERVED_STATES = ("pending", "revoked")


@dataclass(frozen=True)
class RotationState:
    """
    The state of the keys of some domains at one time.

    domains, keys
        The domains of a batch, and all their keys.
    evidence
        The stored evidence of the keys, by id.
    observed
        The evidence of the keys that this run has observed. A decision that depends on DNS needs
        it. None before the run has asked DNS.
    activated
        The slots in which a key became active since the start of the call, each with that key's
        selector.
    used
        Every selector that each domain ever had, in lower case.
    orphans
        The domains that are gone, and the domains that returned.
    refused
        The domains whose first key waits for its record, with the reason: ``keys.refusals``.
    replicas
        The standby servers, which mail hosts may read.
    """

    settings: Settings
    retire_for: RetireFor
    domains: Collection[str]
    keys: Sequence[Key]
    evidence: Mapping[int, Evidence] = field(default_factory=dict)
    observed: Mapping[int, Evidence] | None = None
    activated: Mapping[Slot, str] = field(default_factory=dict)
    used: Mapping[str, Collection[str]] = field(default_factory=dict)
    orphans: Orphans = NO_ORPHANS
    refused: Mapping[str, str] = field(default_factory=dict)
    replicas: Replicas = NO_REPLICAS

    @cached_property
    def slots(self) -> dict[Slot, list[Key]]:
        """The keys by slot, each list by id."""
        return by_slot(self.keys)

    @cached_property
    def _readable(self) -> frozenset[int]:
        return frozenset(key.id for key in self.keys if is_readable(self.settings, key))

    def is_readable(self, key: Key) -> bool:
        """Return whether OpenDKIM can sign with a row, and DNS can hold the key's record."""
        return isinstance(key, NewKey) or key.id in self._readable

    def find(self, key: Key) -> Key | None:
        """Return a key in its present state; None if the key is gone."""
        return next((one for one in self.keys if one.id == key.id), None)

    def active(self, slot: Slot) -> Key | None:
        """Return the key that signs in a slot."""
        return next((key for key in self.slots.get(slot, ()) if key.state == "active"), None)

    def candidate(self, slot: Slot) -> Key | None:
        """Return the next key of a slot: the newest pending key, unless a newer key signs."""
        pending = [
            key
            for key in self.slots.get(slot, ())
            if key.state == "pending" and self.is_readable(key)
        ]
        active = self.active(slot)
        if not pending or (active is not None and active.id > pending[-1].id):
            return None
        return pending[-1]

    def standby(self, slot: Slot, now: datetime) -> Key | None:
        """Return the standby key that a rotation of a slot may use."""
        for key in self.slots.get(slot, ()):
            if key.state == "standby" and self.is_readable(key) and not self._outdated(key, now):
                return key
        return None

    def passed_gate(self, key: Key) -> bool:
        """
        Return whether a key passes the gate by the last observation of its record. DNS may show
        another record now.
        """
        return self._last_decision(key).to_state is not None

    def _last_decision(self, key: Key) -> Decision:
        """Return the gate's decision by the last observation of a key's record."""
        evidence = self.evidence.get(key.id)
        if evidence is not None and evidence.value != desired_value(self.settings, key):
            evidence = None
        return self._gate(key, key.selector, evidence)

    def _outdated(self, key: Key, now: datetime) -> str:
        """Return why no rotation may use a standby key any more; empty if one may."""
        active = self.active(key.slot)
        if active is not None and active.id > key.id:
            return f"rotation: never signed, and the newer {active.selector} signs"
        limit = standby_for(self.settings.rotation)
        if key.created is not None and now - key.created >= timedelta(seconds=limit):
            return f"rotation: never signed, and standby for {in_words(limit)}"
        return ""

    def ttl(self, key: Key) -> int:
        """Return the TTL of a key's record in seconds: the observed one, else the setting."""
        evidence = self.evidence.get(key.id)
        if evidence is not None and evidence.ttl is not None:
            return evidence.ttl
        return domain_settings(self.settings, key.domain.lower()).ttl

    def decide(self, key: Key, now: datetime) -> Decision:
        """
        Return a key's next state, or what the key waits for. An active key has neither, unless its
        domain is gone.
        """
        if key.domain in self.orphans.due and key.state in _NEXT_OF_ORPHAN:
            return Decision(_NEXT_OF_ORPHAN[key.state], WHY)
        deciders = {
            "standby": self._decide_standby,
            "pending": self._decide_pending,
            "retired": self._decide_retired,
            "revoked": self._decide_revoked,
        }
        decider = deciders.get(key.state)
        return Decision() if decider is None else decider(key, now)

    def _decide_retired(self, key: Key, now: datetime) -> Decision:
        if (decision := self.reactivation(key)) is not None:
            return decision
        limit = self.retire_for.with_ttl(self.ttl(key))
        return may_be_revoked(key.retired, now, limit, self.replicas)

    def _decide_revoked(self, key: Key, now: datetime) -> Decision:
        seconds = self.settings.rotation.revoke_for
        return may_be_deleted(key.revoked, self._observed(key), now, seconds)

    def decisions(self, now: datetime) -> Iterator[tuple[Key, Decision]]:
        """Yield every key that is in progress, with its decision."""
        for key in self.keys:
            if key.state in NEXT or key.domain in self.orphans.due:
                yield key, self.decide(key, now)

    def gate(self, key: Key, evidence: Evidence | None) -> Decision:
        """Decide whether a standby, pending or retired key may replace the key that signs."""
        active = self.active(key.slot)
        return self._gate(key, None if active is None else active.selector, evidence)

    def gate_observed(self, key: Key) -> Decision:
        """Decide as :meth:`gate`, on the evidence of this run's observation only."""
        return self.gate(key, self._observed(key))

    def reactivation(self, key: Key) -> Decision | None:
        """
        Decide whether a key that was retired as orphaned signs again. Its domain must have
        returned, and DNS must still show the key's record. None if the domain needs a new key.
        """
        if key.id not in self.orphans.returned or key.state != "retired":
            return None
        evidence = self._observed(key)
        if evidence is None or not evidence.is_visible or self.active(key.slot) is not None:
            return None
        decision = self._gate(key, None, evidence)
        return decision if decision.to_state is None else Decision(decision.to_state, WHY_BACK)

    def is_unsigned(self, slot: Slot) -> bool:
        """Return whether no key signs in a slot, and no key of the slot will sign next."""
        if self.active(slot) is not None or self.candidate(slot) is not None:
            return False
        return all(self.reactivation(key) is None for key in self.slots.get(slot, ()))

    def next_state(self, key: Key) -> str:
        """Return the next state of a key."""
        if key.domain in self.orphans.due and key.state in _NEXT_OF_ORPHAN:
            return _NEXT_OF_ORPHAN[key.state]
        if key.state == "active":
            return "retired"
        return NEXT[key.state] if self.reactivation(key) is None else "active"

    def after(self, moves: Sequence[Move], now: datetime) -> RotationState:
        """Return the state after some moves at a time, as the table then holds it."""
        keys = {key.id: key for key in self.keys}
        used = {domain: set(selectors) for domain, selectors in self.used.items()}
        activated = dict(self.activated)
        signing = {slot: key.id for slot in self.slots if (key := self.active(slot)) is not None}
        for move in moves:
            key = keys.get(move.key.id, move.key)
            if move.to_state == "active":
                replaced = keys.get(signing.get(key.slot))
                if replaced is not None and replaced.id != key.id:
                    keys[replaced.id] = _moved(replaced, move.replaced_becomes, now)
                signing[key.slot] = key.id
                activated[key.slot] = key.selector
            if move.from_state is None:
                used.setdefault(key.domain, set()).add(key.selector)
            keys[key.id] = _moved(key, move.to_state, now)
        present = [key for key in keys.values() if key.state != GONE]
        # A revocation changes the key's record, so the observation is no evidence of the empty one.
        erased = {move.key.id for move in moves if move.to_state == "revoked"}
        observed = self.observed and {
            number: found for number, found in self.observed.items() if number not in erased
        }
        return replace(self, keys=present, observed=observed, activated=activated, used=used)

    def with_observations(
        self, observations: Mapping[int, Observation], now: datetime
    ) -> RotationState:
        """Return the state with a run's observations, by the ids of keys."""
        observed = {}
        for key in self.keys:
            one = observations.get(key.id)
            # If the key has moved since, its record is another, which was not observed.
            if one is not None and one.value == desired_value(self.settings, key):
                evidence = with_observation(self.evidence.get(key.id), one, now)
                if evidence.value == one.value:
                    observed[key.id] = evidence
        return replace(self, evidence={**self.evidence, **observed}, observed=observed)

    def _observed(self, key: Key) -> Evidence | None:
        return None if self.observed is None else self.observed.get(key.id)

    def _decide_standby(self, key: Key, now: datetime) -> Decision:
        # The domain may be gone by mistake, so it keeps its keys.
        if key.domain not in self.orphans.gone:
            if not wants_standby(self.settings, key.slot):
                return Decision("revoked", _NO_STANDBY)
            if outdated := self._outdated(key, now):
                return Decision("revoked", outdated)
        if not self.is_readable(key):
            return _UNREADABLE
        decision = self._last_decision(key)
        return decision if decision.to_state is None else Decision(waits_for=NEXT_ROTATION)

    def _decide_pending(self, key: Key, _now: datetime) -> Decision:
        active = self.active(key.slot)
        signs = None if active is None else active.selector
        for one in self.slots[key.slot]:
            # A former key with a record in DNS signs before a key that waits for its record.
            if self.reactivation(one) is not None:
                signs = one.selector
        if not self.is_readable(key):
            return _UNREADABLE
        if active is not None and active.id > key.id:
            return Decision("revoked", f"rotation: never signed, and the newer {signs} signs")
        if self.candidate(key.slot) is not key:
            return Decision(waits_for="a newer pending key signs first")
        return self._gate(key, signs, self._observed(key))

    def _gate(self, key: Key, signs: str | None, evidence: Evidence | None) -> Decision:
        if not self.is_readable(key):
            return _UNREADABLE
        rotation = self.settings.rotation
        is_refused = key.domain in self.refused
        waits = is_refused or first_key_waits(self.settings, key.domain)
        if signs is None and not waits:
            return Decision("active", "rotation: nothing signed before")
        domain = domain_settings(self.settings, key.domain.lower())
        # A delegation's selectors are used again: a resolver may still cache an older key's record.
        least = 0 if domain.delegation is None else domain.ttl
        decision = may_sign(evidence, rotation.margin, least)
        if not is_refused or signs is not None or not decision.missing:
            return decision
        reason = first_key_waits_for(self.refused[key.domain], key.domain, key.selector)
        return replace(decision, waits_for=f"{reason}; {decision.waits_for}")


# ``waits_for`` of a standby key whose record DNS has shown for long enough.
NEXT_ROTATION = "the next rotation"
_NO_STANDBY = "rotation: never signed, and the settings ask for no standby key any more"
_UNREADABLE = Decision(waits_for="the row holds no readable key: delete the row")


def _moved(key: Key, state: str, now: datetime) -> Key:
    """Return a key moved to a state, with the times that the table's trigger sets."""
    if key.created is None and state in UNUSED_STATES:
        return replace(key, state=state, created=now)
    times = {
        "active": {"activated": now, "retired": None},
        "retired": {"retired": now},
        "revoked": {"revoked": now},
    }
    return replace(key, state=state, **times.get(state, {}))


def by_slot(keys: Iterable[Key]) -> dict[Slot, list[Key]]:
    """Return the keys by slot. Each list is sorted by id."""
    slots: dict[Slot, list[Key]] = {}
    for key in sorted(keys, key=lambda key: key.id):
        slots.setdefault(key.slot, []).append(key)
    return slots


def name_of(key: Key) -> str:
    """Return a key's name in the domain's own zone."""
    return key_name(key.selector, key.domain)


def argument_of(key: Key) -> str:
    """Return a key's domain and selector, as errors about a command's arguments name the key."""
    return f"{key.domain}, selector {key.selector!r}"


def is_readable(settings: Settings, key: Key) -> bool:
    """Return whether OpenDKIM can sign with the row, and DNS can hold the key's record."""
    return not key_problem(key, domain_settings(settings, key.domain.lower()))


def records_of(settings: Settings, key: Key) -> list[Record]:
    """
    Return the records that DNS must show before verifiers find a key: the key record, and the CNAME
    of a delegated domain until the key is revoked. Only the domain's owner can add the CNAME.
    """
    domain = domain_settings(settings, key.domain.lower())
    record = record_of(key, domain)
    if domain.delegation is None or key.state == "revoked":
        return [record]
    delegation = replace(domain.delegation, selectors=())
    return [record, *delegation_records(domain.name, delegation, (key.selector,), domain.ttl)]


def wants_standby(settings: Settings, slot: Slot) -> bool:
    """Return whether the settings ask for a standby key in a slot."""
    if not has_standby(settings, slot.domain) or not is_chosen(settings, slot.domain):
        return False
    return is_desired(domain_settings(settings, slot.domain.lower()), slot)


def desired_value(settings: Settings, key: Key) -> str:
    """Return the record that an observation expects. A change of settings can change this text."""
    record = records_of(settings, key)[0]
    return f"{record.name} {record.value}"
