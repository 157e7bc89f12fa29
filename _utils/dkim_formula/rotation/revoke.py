"""
The plan of a revocation: a pure function, like the plan of a rotation.

A compromised key is revoked at once, and another key becomes active in the same transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ..errors import InvalidValue
from ..keys.model import Key
from ..settings.duration import in_words
from ..text import timestamp
from .gate import OK
from .moves import UNUSED_STATES, Move, RotationPlan
from .new_keys import replacement_key
from .state import RotationState, argument_of, name_of


@dataclass(frozen=True)
class Revoke:
    """
    Request to erase a private key and empty its record.

    compromised
        Someone else has the private key. The key is revoked at once, in any state, and another key
        signs.
    force
        The key is revoked at once. No other key replaces a key that signs.
    """

    key: Key
    compromised: bool = False
    force: bool = False

    @property
    def is_at_once(self) -> bool:
        """Return whether the key is revoked in any state."""
        return self.compromised or self.force


def plan_revocation(state: RotationState, request: Revoke, now: datetime) -> RotationPlan:
    """Return the moves that carry out a revocation in a state at a time."""
    key = state.find(request.key)
    if key is None:
        return RotationPlan()
    if key.state == "revoked":
        return RotationPlan(notes=(f"{name_of(key)} is revoked already",))
    if refused := _refusal(state, request, key, now):
        return RotationPlan(refused=f"{argument_of(key)}: {refused}")
    if key.state != "active":
        return RotationPlan((_revoked(key, request),))
    if not request.compromised:
        return RotationPlan((_revoked(key, request),), (_unsigned(key),))
    return _plan_replacement(state, request, key, now)


def _refusal(state: RotationState, request: Revoke, key: Key, now: datetime) -> str:
    """Return why a key must not be revoked now; empty if the key may be revoked."""
    if request.is_at_once or key.state in UNUSED_STATES:
        return ""
    if key.state == "active":
        return (
            "the key is active; use dkim.rotate to replace the key in time, compromised=True to "
            "replace it at once, or force=True to have mail leave unsigned"
        )
    decision = state.decide(key, now)
    if decision.to_state is not None:
        return ""
    until = decision.not_before
    until = "" if until is None else f" until {timestamp(until)}"
    return f"{decision.waits_for}{until}; use force=True or compromised=True to revoke at once"


def _plan_replacement(
    state: RotationState, request: Revoke, key: Key, now: datetime
) -> RotationPlan:
    """Return the plan for a compromised key that signs."""
    try:
        moves = _replacement_moves(state, key, now)
    except InvalidValue as error:
        if not request.force:
            return RotationPlan(
                problems=(
                    f"{name_of(key)}: no key can replace the key ({error}); use force=True too to "
                    "have mail leave unsigned rather than signed with the key",
                )
            )
        moves = [_revoked(key, request)]
        return RotationPlan(tuple(moves), (_consequence(state, key), _unsigned(key)))
    notes = [_consequence(state, key), *_early_signature(state, moves[-1].key)]
    return RotationPlan(tuple(moves), tuple(notes))


def _replacement_moves(state: RotationState, key: Key, now: datetime) -> list[Move]:
    """
    Return the moves by which another key replaces a compromised one: the standby or pending key
    with the most evidence, else a new key.
    """
    why = f"rotation: in the place of the compromised {key.selector}"
    waiting = [one for one in state.slots[key.slot] if one.state in UNUSED_STATES and one.can_sign]
    if waiting:
        best = max(waiting, key=lambda one: (_evidence_rank(state, one), one.id))
        return [Move(best, best.state, "active", why, replaced_becomes="revoked")]
    new = replacement_key(state, key, now)
    return [
        Move(new, None, "pending", why),
        Move(new, "pending", "active", why, replaced_becomes="revoked"),
    ]


def _evidence_rank(state: RotationState, key: Key) -> int:
    """Return 2 for a key that passes the gate, 1 for a key whose record is visible, else 0."""
    evidence = state.evidence.get(key.id)
    if evidence is None or evidence.verdict != OK:
        return 0
    return 1 if state.gate(key, evidence).missing else 2


def _revoked(key: Key, request: Revoke) -> Move:
    why = "revoked by force" if request.force else "revoked by dkim.revoke"
    if request.compromised:
        why = "compromised"
    return Move(key, key.state, "revoked", why, disclose=not request.compromised)


def _unsigned(key: Key) -> str:
    return f"{name_of(key)} was active, and no other key replaces it"


def _consequence(state: RotationState, key: Key) -> str:
    return (
        f"{name_of(key)}: mail in transit that the key signed does not verify any more; anyone "
        "with the private key can sign while resolvers cache the old record, for up to "
        f"{in_words(state.ttl(key))}"
    )


def _early_signature(state: RotationState, key: Key) -> Sequence[str]:
    """Return a note if the next key signs before every resolver has the key's record."""
    evidence = state.evidence.get(key.id)
    if not state.gate(key, evidence).missing:
        return ()
    known = None if evidence is None else evidence.negative_ttl
    time = "as long as the zone's SOA says" if known is None else in_words(known)
    return (
        f"{name_of(key)} signs before every resolver has its record: signatures may fail for up to "
        f"{time} after the record is published",
    )
