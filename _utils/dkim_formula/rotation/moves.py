"""The plan of a rotation: new keys, and moves of keys from state to state."""

from __future__ import annotations

from dataclasses import dataclass

from ..keys.model import DesiredKey, Key, Slot

# States of keys that have never signed.
UNUSED_STATES = ("standby", "pending")
# New keys are the newest keys, so their ids are above every id of the table.
_FIRST_NEW_ID = 2**62


@dataclass(frozen=True)
class NewKey(Key):
    """A key that a plan creates. The key has no private half until a run generates one."""

    @classmethod
    def of(
        cls, slot: Slot, selector: str, bits: int, number: int, state: str = "pending"
    ) -> NewKey:
        """Return a new key. ``number`` is unique among the new keys of a plan."""
        return cls(
            id=_FIRST_NEW_ID + number,
            domain=slot.domain,
            selector=selector,
            algorithm=slot.algorithm,
            bits=bits,
            state=state,
            address=slot.address,
            created=None,
            activated=None,
            retired=None,
            revoked=None,
            public="",
        )

    @property
    def number(self) -> int:
        """The number that the key was made with."""
        return self.id - _FIRST_NEW_ID

    @property
    def slot_and_state(self) -> tuple[Slot, str]:
        """The key's slot and first state. A plan has at most one new key for each such pair."""
        return self.slot, self.state

    @property
    def desired(self) -> DesiredKey:
        """The desired key that a run generates."""
        return DesiredKey(self.domain, self.selector, self.algorithm, self.bits, self.address)


@dataclass(frozen=True)
class Move:
    """
    A key's move from state to state.

    from_state
        None for a key that is created.
    to_state
        ``gone`` deletes the row.
    why
        The reason, for the history.
    replaced_becomes
        With ``to_state`` active: the next state of the key that was active in the slot.
    disclose
        Whether the private half of a revoked key may be published (``rotation:publish_private``).
    """

    key: Key
    from_state: str | None
    to_state: str
    why: str
    replaced_becomes: str = "retired"
    disclose: bool = True


@dataclass(frozen=True)
class RotationPlan:
    """
    The moves that a run makes, in their order.

    refused
        The reason for refusing the whole request; empty if the plan carries out the request.
    """

    moves: tuple[Move, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    refused: str = ""

    def then(self, other: RotationPlan) -> RotationPlan:
        """Return this plan followed by another one."""
        return RotationPlan(
            (*self.moves, *other.moves),
            (*self.notes, *other.notes),
            (*self.problems, *other.problems),
        )

    @property
    def new_keys(self) -> list[NewKey]:
        """The keys that a run generates before it applies the plan."""
        return [move.key for move in self.moves if move.from_state is None]
