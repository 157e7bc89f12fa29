"""What is known of some domains' keys at one moment, and what follows for each by itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ...database.keystore import Key
from ...rotation import decision
from ...rotation.decision import Decision
from ...rotation.evidence import Evidence
from ...settings.model import Settings
from ...wanted import domain_settings, key_problem
from .limits import Limits
from .outcome import Slot, by_slot, slot_of

# The state that each is on its way to.
NEXT = {"pending": "active", "retired": "revoked", "revoked": decision.GONE}


@dataclass
class Situation:
    """
    now
        The database's clock.
    keys
        All keys of the domains.
    evidence
        All that is stored of them, by id.
    looked
        That of the keys that this run has looked at: no other may decide on what a record shows.
    switched
        Slots in which a key became active since the call began.
    """

    settings: Settings
    limits: Limits
    now: datetime
    keys: list[Key]
    evidence: Mapping[int, Evidence] = field(default_factory=dict)
    looked: Mapping[int, Evidence] = field(default_factory=dict)
    switched: Collection[Slot] = ()

    def __post_init__(self):
        self._slots = by_slot(self.keys)

    def slot(self, key: Key) -> list[Key]:
        """The keys that belong where this one does, by id."""
        return self._slots.get(slot_of(key), [])

    def active(self, slot: Slot) -> Key | None:
        """The key that signs there."""
        return next((key for key in self._slots.get(slot, ()) if key.state == "active"), None)

    def candidate(self, slot: Slot) -> Key | None:
        """The key to sign there next: the newest that is pending, where none newer signs."""
        there = self._slots.get(slot, ())
        readable = [key for key in there if is_readable(self.settings, key)]
        pending = [key for key in readable if key.state == "pending"]
        active = self.active(slot)
        if not pending or (active is not None and active.id > pending[-1].id):
            return None
        return pending[-1]

    def decide(self, key: Key) -> Decision:
        """The next step of one key, or what it waits for; an active key has neither."""
        if key.state == "pending":
            return self._pending(key)
        if key.state == "retired":
            limits = self.limits.with_ttl(self.ttl(key))
            return decision.retired(key.retired, self.now, limits.retire_for, limits.longest)
        if key.state == "revoked":
            return decision.revoked(
                key.revoked,
                self.looked.get(key.id),
                self.now,
                self.settings.rotation.revoke_for,
            )
        return Decision()

    def gate(self, key: Key, evidence: Mapping[int, Evidence] | None = None) -> Decision:
        """
        Whether a key that may sign, pending or retired, is one that the world can read.

        evidence
            By default that of this run's looks.
        """
        active = self.active(slot_of(key))
        signs = None if active is None else active.selector
        known = self.looked if evidence is None else evidence
        return self._gate(key, decision.Slot(signs), known.get(key.id))

    def decisions(self) -> Iterator[tuple[Key, Decision]]:
        """Every key that is on its way, with what follows for it."""
        for key in self.keys:
            if key.state in NEXT:
                yield key, self.decide(key)

    def _pending(self, key: Key) -> Decision:
        slot = slot_of(key)
        active, candidate = self.active(slot), self.candidate(slot)
        signs = None if active is None else active.selector
        superseded = active is not None and active.id > key.id
        slot = decision.Slot(signs, candidate is key, superseded)
        return self._gate(key, slot, self.looked.get(key.id))

    def _gate(self, key: Key, slot: decision.Slot, evidence: Evidence | None) -> Decision:
        rotation = self.settings.rotation
        domain = domain_settings(self.settings, key.domain.lower())
        return decision.pending(
            is_readable(self.settings, key),
            slot,
            evidence,
            rotation.margin,
            rotation.first_key_waits,
            # A delegation's selectors come back: a resolver may still have an older key's record.
            least_hold=0 if domain.delegation is None else domain.ttl,
        )

    def ttl(self, key: Key) -> int:
        """For how many seconds resolvers may hold a key's record: as seen, else by the settings."""
        evidence = self.evidence.get(key.id)
        if evidence is not None and evidence.ttl is not None:
            return evidence.ttl
        return domain_settings(self.settings, key.domain.lower()).ttl


def is_readable(settings: Settings, key: Key) -> bool:
    """Whether OpenDKIM can sign with the row, and DNS can hold its record."""
    return not key_problem(key, domain_settings(settings, key.domain.lower()))
