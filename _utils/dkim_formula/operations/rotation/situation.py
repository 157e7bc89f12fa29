"""What is known of some domains' keys at one moment, and what follows for each by itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ...database.keystore import Key
from ...rotation import decision
from ...rotation.decision import Decision
from ...rotation.evidence import PARTLY_SILENT, RIGHT, Evidence
from ...settings.model import Settings
from ...wanted import domain_settings, key_problem
from ..orphans import WHY, WHY_BACK, Orphans
from .limits import Limits
from .outcome import Slot, by_slot, slot_of

NO_ORPHANS = Orphans()
# The state that each is on its way to.
NEXT = {"pending": "active", "retired": "revoked", "revoked": decision.GONE}

# What becomes of the keys of a domain that is gone.
_OF_ORPHANS = {"active": "retired", "pending": "revoked"}


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
    orphans
        Which domains are gone, and which have come back.
    """

    settings: Settings
    limits: Limits
    now: datetime
    keys: list[Key]
    evidence: Mapping[int, Evidence] = field(default_factory=dict)
    looked: Mapping[int, Evidence] = field(default_factory=dict)
    switched: Collection[Slot] = ()
    orphans: Orphans = NO_ORPHANS

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
        """
        The next step of one key, or what it waits for; an active key has neither, but in a domain
        that is gone.
        """
        if key.domain in self.orphans.due and key.state in _OF_ORPHANS:
            return Decision(_OF_ORPHANS[key.state], WHY)
        if key.state == "pending":
            return self._pending(key)
        if key.state == "retired":
            if (back := self.comeback(key)) is not None:
                return back
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

    def comeback(self, key: Key) -> Decision | None:
        """
        Whether a key that was retired as orphaned signs again: its domain is back, and DNS shows
        its record still. None where a new key has to.
        """
        if key.id not in self.orphans.back or key.state != "retired":
            return None
        evidence = self.looked.get(key.id)
        is_shown = evidence is not None and evidence.verdict in {RIGHT, *PARTLY_SILENT}
        if not is_shown or self.active(slot_of(key)) is not None:
            return None
        decided = self._gate(key, decision.Slot(None), evidence)
        return decided if decided.step is None else Decision(decided.step, WHY_BACK)

    def is_unsigned(self, slot: Slot) -> bool:
        """Whether no key signs in a slot, and none that is there is about to."""
        if self.active(slot) is not None or self.candidate(slot) is not None:
            return False
        return all(self.comeback(key) is None for key in self._slots.get(slot, ()))

    def next_state(self, key: Key) -> str:
        """The state that a key is on its way to."""
        if key.state == "active":
            return "retired"
        if key.domain in self.orphans.due and key.state == "pending":
            return "revoked"
        return NEXT[key.state] if self.comeback(key) is None else "active"

    def decisions(self) -> Iterator[tuple[Key, Decision]]:
        """Every key that is on its way, with what follows for it."""
        for key in self.keys:
            if key.state in NEXT or key.domain in self.orphans.due:
                yield key, self.decide(key)

    def _pending(self, key: Key) -> Decision:
        slot = slot_of(key)
        active, candidate = self.active(slot), self.candidate(slot)
        signs = None if active is None else active.selector
        for one in self.slot(key):
            # A key that DNS shows already goes before one that waits for that.
            if self.comeback(one) is not None:
                signs = one.selector
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
