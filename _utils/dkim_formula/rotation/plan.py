"""
The plan of a run: a pure function of the keys' state, a request and a time.

No function in this module reads a database, DNS, a clock, a file or Postfix. docs/rotation.md is
the contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ..dns.zones import is_manual
from ..keys.desired import domain_settings, key_problem
from ..keys.model import Key
from ..records import Record
from ..settings.model import Domain
from .gate import NO_DOMAIN, OK, Decision
from .moves import Move, RotationPlan
from .new_keys import Specs, choose, due_specs, standby_keys
from .revoke import Revoke, plan_revocation
from .state import (
    NEXT_ROTATION,
    OBSERVED_STATES,
    RotationState,
    argument_of,
    desired_value,
    name_of,
    records_of,
)


@dataclass(frozen=True)
class Advance:
    """
    Request to move every key that is in progress as far as the evidence allows.

    lost
        The unsigned slots of domains that returned. A slot gets a new key if its former key can't
        sign again.
    """

    lost: Specs = field(default_factory=dict)


@dataclass(frozen=True)
class RotateDue(Advance):
    """
    Request to create a next key for each due key, or to use the standby key, then to advance.

    chosen
        The domains that may have a due key, by name.
    """

    chosen: Mapping[str, Domain] = field(default_factory=dict)


@dataclass(frozen=True)
class Rotate:
    """
    Request to create a key in each slot without a next key, or to use the standby key, then to
    advance.

    selector
        The new key's selector; by default a selector by ``rotation:selector``.
    force
        The next key of each slot becomes active, whatever DNS shows of its record.
    """

    specs: Specs
    selector: str | None = None
    force: bool = False


@dataclass(frozen=True)
class Activate:
    """Request to make a standby, pending or retired key active; ``force`` overrides the gate."""

    key: Key
    force: bool = False


@dataclass(frozen=True)
class Retire:
    """Request to retire the active key, so that no key signs."""

    key: Key
    force: bool = False


Request = Advance | RotateDue | Rotate | Activate | Retire | Revoke


@dataclass(frozen=True)
class Wait:
    """A key that is in progress, the key's next state, and what the key waits for."""

    key: Key
    next_state: str
    decision: Decision


@dataclass(frozen=True)
class Outlook:
    """
    The work that remains after a run.

    to_publish
        The records that a person must publish, each with its key.
    """

    waiting: tuple[Wait, ...] = ()
    to_publish: tuple[tuple[Key, Record], ...] = ()


def plan(state: RotationState, request: Request, now: datetime) -> RotationPlan:
    """
    Return the moves that carry out a request in a state at a time.

    A run applies three parts one by one: :func:`plan_new_keys`, :func:`plan_moves`,
    :func:`plan_standby`.
    """
    first = plan_moves(state, request, now)
    if first.refused:
        return first
    return first.then(plan_standby(state.after(first.moves, now), request, now))


def plan_standby(state: RotationState, _request: Request, now: datetime) -> RotationPlan:
    """
    Return the last part of a plan: a standby key for each slot that lacks one. This part is
    separate so that the moves of the earlier parts don't wait until these keys are generated.
    """
    moves, problems = standby_keys(state, now)
    return RotationPlan(tuple(moves), problems=tuple(problems))


def plan_moves(state: RotationState, request: Request, now: datetime) -> RotationPlan:
    """Return the plan of a request without the creation of standby keys."""
    if isinstance(request, Activate):
        return _activate(state, request)
    if isinstance(request, Retire):
        return _retire(state, request)
    if isinstance(request, Revoke):
        return plan_revocation(state, request, now)
    return _advance(state, request, now)


def plan_new_keys(state: RotationState, request: Request, now: datetime) -> RotationPlan:
    """
    Return the first part of a rotation's plan: a pending key for each slot without a next key. A
    run applies this part separately, before it observes DNS.
    """
    specs: Specs = {}
    selector = None
    if isinstance(request, RotateDue):
        specs = due_specs(state, request.chosen, now)
    elif isinstance(request, Rotate):
        specs, selector = request.specs, request.selector
    chosen, problems = choose(state, specs, now, selector)
    notes = [
        f"{slot.domain}: another run has just activated the key {state.activated[slot]}"
        for slot in (move.key.slot for move in chosen)
        if slot in state.activated
    ]
    moves = [move for move in chosen if move.key.slot not in state.activated]
    return RotationPlan(tuple(moves), tuple(notes), tuple(problems))


def _advance(state: RotationState, request: Advance | Rotate, now: datetime) -> RotationPlan:
    first = plan_new_keys(state, request, now)
    forced = request.specs if isinstance(request, Rotate) and request.force else {}
    moves, notes = [], []
    then = state.after(first.moves, now)
    for key, decision in then.decisions(now):
        if decision.to_state is not None:
            moves.append(Move(key, key.state, decision.to_state, decision.why))
        # A key that another run has activated since this run began satisfies the request.
        elif (
            key.slot in forced
            and key.slot not in state.activated
            and then.candidate(key.slot) is key
        ):
            moves.append(_forced(key, decision, notes))
    lost, problems = _replace_lost(then.after(moves, now), request, now)
    return RotationPlan(
        (*first.moves, *moves, *lost), (*first.notes, *notes), (*first.problems, *problems)
    )


def _replace_lost(
    state: RotationState, request: Advance | Rotate, now: datetime
) -> tuple[list[Move], list[str]]:
    """
    Return the moves of new keys for domains that returned. Only an observation of DNS shows whether
    a former key can sign again, so this needs a run that has observed DNS.
    """
    if not isinstance(request, Advance) or state.observed is None:
        return [], []
    lost = {
        slot: spec
        for slot, spec in request.lost.items()
        if slot.domain in state.domains and state.is_unsigned(slot)
    }
    moves, problems = choose(state, lost, now)
    then = state.after(moves, now)
    for key in [move.key for move in moves]:
        decision = then.decide(then.find(key), now)
        if decision.to_state is not None:
            moves.append(Move(key, "pending", decision.to_state, decision.why))
    return moves, problems


def _forced(key: Key, decision: Decision, notes: list[str]) -> Move:
    """Return a key's move past the gate, and add a note about the missing evidence."""
    missing = "; ".join(decision.missing) or decision.waits_for
    notes.append(f"{name_of(key)} signs by force, without this evidence: {missing}")
    return Move(key, key.state, "active", f"rotation: forced, though {missing}")


def _activate(state: RotationState, request: Activate) -> RotationPlan:
    key = state.find(request.key)
    if key is None:
        return RotationPlan()
    if key.state == "active":
        return RotationPlan(notes=(f"{name_of(key)} is active already",))
    if key.state == "revoked":
        problem = "the key is revoked, and its private half is erased; use dkim.rotate"
        return RotationPlan(refused=f"{argument_of(key)}: {problem}")
    if problem := key_problem(key, domain_settings(state.settings, key.domain.lower())):
        return RotationPlan(refused=f"{argument_of(key)}: {problem}")
    decision, notes = state.gate_observed(key), []
    if decision.to_state is not None:
        moves = [Move(key, key.state, decision.to_state, decision.why)]
    else:
        moves = [_forced(key, decision, notes)] if request.force else []
    return RotationPlan(tuple(moves), tuple(notes))


def _retire(state: RotationState, request: Retire) -> RotationPlan:
    key = state.find(request.key)
    if key is None:
        return RotationPlan()
    if key.state == "retired":
        return RotationPlan(notes=(f"{name_of(key)} is retired already",))
    if key.state != "active":
        problem = f"the key is {key.state}, and only an active key can be retired"
        return RotationPlan(refused=f"{argument_of(key)}: {problem}")
    if not request.force:
        return RotationPlan(
            refused=f"{argument_of(key)}: no other {key.algorithm} key signs, so mail would leave "
            "unsigned; use dkim.rotate to replace the key, or force=True"
        )
    note = f"{name_of(key)} no longer signs, and no other key replaces it"
    return RotationPlan((Move(key, "active", "retired", "retired by force"),), (note,))


def outlook(state: RotationState, request: Request, now: datetime) -> Outlook:
    """Return the work that remains in the state after a run."""
    next_run = Decision(waits_for="the next run", not_before=now)
    waiting = [
        Wait(key, state.next_state(key), decision if decision.to_state is None else next_run)
        for key, decision in state.decisions(now)
        if decision.waits_for != NEXT_ROTATION
    ]
    if isinstance(request, Activate) and not request.force:
        key = state.find(request.key)
        if key is not None and key.state == "retired":
            # A waiting standby key is already in the list.
            decision = state.gate_observed(key)
            if decision.to_state is None:
                waiting.append(Wait(key, "active", decision))
    return Outlook(tuple(waiting), tuple(_to_publish(state)))


def _to_publish(state: RotationState) -> list[tuple[Key, Record]]:
    found = []
    for key in state.keys:
        if _has_record_to_publish(state, key):
            found += [
                (key, record)
                for record in records_of(state.settings, key)
                if is_manual(state.settings.dns, record)
            ]
    return found


def _has_record_to_publish(state: RotationState, key: Key) -> bool:
    """Return whether a key is in progress and its record may be missing from DNS."""
    if not state.is_readable(key):
        return False
    if key.state == "standby":
        last = state.evidence.get(key.id)
        is_visible = last is not None and last.verdict == OK
        return not is_visible or last.value != desired_value(state.settings, key)
    is_new = key.state == "active" and state.activated.get(key.slot) == key.selector
    if key.state not in OBSERVED_STATES and not is_new:
        return False
    evidence = None if state.observed is None else state.observed.get(key.id)
    return evidence is None or evidence.verdict not in (OK, NO_DOMAIN)
