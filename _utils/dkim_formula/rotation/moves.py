"""A plan of a rotation: moves of keys from state to state, new keys among them."""

from __future__ import annotations

from dataclasses import dataclass

from ..keys.model import DesiredKey, Key, Slot

# A key in such a state has signed nothing.
UNUSED_STATES = ("standby", "pending")
# Ids of new keys are above every id of the table: new keys are the newest.
_FIRST_NEW_ID = 2**62


@dataclass(frozen=True)
class NewKey(Key):
    """A key that a plan creates. The key has no private half until a run generates one."""

    @classmethod
    def of(
        cls, slot: Slot, selector: str, bits: int, number: int, state: str = "pending"
    ) -> NewKey:
        """Return a new key; ``number`` is one of its own among a plan's new keys."""
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
    def place(self) -> tuple[Slot, str]:
        """Return what a plan has one new key of at most: a slot, and the key's first state."""
        return self.slot, self.state

    @property
    def desired(self) -> DesiredKey:
        """Return what a run generates."""
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
        For the history.
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
    What a run does: moves of keys, in their order.

    refused
        Why the request is refused as a whole; empty where the plan carries the request out.
    """

    moves: tuple[Move, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    refused: str = ""

    def then(self, other: RotationPlan) -> RotationPlan:
        """Return this plan and then another one."""
        return RotationPlan(
            (*self.moves, *other.moves),
            (*self.notes, *other.notes),
            (*self.problems, *other.problems),
        )

    @property
    def new_keys(self) -> list[NewKey]:
        """The keys that a run generates before it applies the plan."""
        return [move.key for move in self.moves if move.from_state is None]
