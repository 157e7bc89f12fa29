"""Steps of keys: one transaction for a batch, which decides again on what is there by then."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ...database import evidence as evidence_table
from ...database import keystore
from ...database.comparison import Wanted
from ...database.connection import errors_translated, session
from ...database.keystore import Key
from ...errors import DatabaseError
from ...keys import PrivateKey
from ...rotation.decision import GONE
from ...rotation.evidence import Look, after
from ...settings.model import Settings
from ..orphans import Orphans
from .limits import Limits
from .looking import records_of, value_of
from .outcome import Outcome, slot_of
from .situation import NO_ORPHANS, Situation


@dataclass(frozen=True)
class Move:
    """
    A key's step.

    step
        The state that it moves to, ``gone`` for none.
    why
        For the history.
    instead
        Where the step is to ``active``: what becomes of the key that was.
    discloses
        Whether a revoked key's private half may be published (``rotation:publish_private``).
    new
        Of a key that the table has not yet: what it is to be, and its private half.
    """

    key: Key
    step: str
    why: str
    instead: str = "retired"
    discloses: bool = True
    new: tuple[Wanted, PrivateKey] | None = None


# What follows from a situation. It is called with one that was read under the lock.
Planner = Callable[[Situation], Iterable[Move]]


@dataclass(frozen=True)
class Facts:
    """
    What a run brings with it to the database.

    domains
        Whose keys it is about.
    looks
        What it saw, by the keys' ids.
    mark
        The history's newest line when it began.
    orphans
        Which domains are gone, and which have come back.
    """

    settings: Settings
    limits: Limits
    domains: Collection[str]
    looks: Mapping[int, Look]
    mark: int
    orphans: Orphans = NO_ORPHANS


def read(connection, facts: Facts) -> Situation:
    """What is known of the domains' keys now, with what the looks of this run add to it."""
    settings, looks = facts.settings, facts.looks
    keys = keystore.list_of(connection, settings.database, facts.domains)
    now = evidence_table.clock(connection)
    stored = evidence_table.read(connection, settings.database, [key.id for key in keys])
    looked = {}
    for key in keys:
        # A key that has moved since has another record: what was seen is no evidence of that one.
        if key.id in looks and looks[key.id].value == value_of(records_of(settings, key)[0]):
            evidence = after(stored.get(key.id), looks[key.id], now)
            if evidence.value == looks[key.id].value:
                looked[key.id] = evidence
    switched = evidence_table.switched_since(connection, settings.database, facts.mark)
    return Situation(
        settings,
        facts.limits,
        now,
        keys,
        {**stored, **looked},
        looked,
        switched.keys(),
        facts.orphans,
    )


def take(facts: Facts, planner: Planner, outcome: Outcome) -> None:
    """
    Stores what was seen, and takes the steps that follow from what the database holds then; they
    are the outcome's changes. A domain in which the database refuses a step is a problem, and keeps
    no other back.
    """
    settings = facts.settings
    with session(settings.database) as connection, keystore.writing(connection):
        situation = read(connection, facts)
        moves = list(planner(situation))
        evidence_table.write(connection, settings.database, situation.looked)
        try:
            _savepoint(connection, lambda: _apply(connection, settings, moves))
        except DatabaseError:
            moves = _one_by_one(connection, settings, moves, outcome)
        # Told as soon as it is for good: giving the lock back may fail too.
        connection.commit()
        tell(situation, moves, outcome)


def see(facts: Facts) -> Situation:
    """Stores what was seen, and gives what is known then."""
    settings = facts.settings
    with session(settings.database) as connection, keystore.writing(connection):
        situation = read(connection, facts)
        evidence_table.write(connection, settings.database, situation.looked)
    return situation


def tell(situation: Situation, moves: Sequence[Move], outcome: Outcome) -> list[Key]:
    """
    Moves as changes, those of the keys that make room for another among them; gives the keys as
    they are then.
    """
    states: dict[int, str] = {}
    for move in moves:
        before = situation.active(slot_of(move.key)) if move.step == "active" else None
        if before is not None:
            states[before.id] = move.instead
        states[move.key.id] = move.step
    keys = []
    for key in situation.keys:
        state = states.get(key.id, key.state)
        if state != key.state:
            outcome.change(key, None if state == GONE else state, key.state)
        if state != GONE:
            keys.append(replace(key, state=state))
    for move in moves:
        if move.new is not None:
            outcome.change(move.key, move.step)
            keys.append(replace(move.key, state=move.step))
    return keys


def _one_by_one(
    connection, settings: Settings, moves: Sequence[Move], outcome: Outcome
) -> list[Move]:
    by_domain: dict[str, list[Move]] = {}
    for move in moves:
        by_domain.setdefault(move.key.domain, []).append(move)
    done: list[Move] = []
    for domain, of_domain in by_domain.items():
        try:
            _savepoint(connection, lambda part=of_domain: _apply(connection, settings, part))
            done += of_domain
        except DatabaseError as error:
            outcome.problem(f"{domain}: {error}")
    return done


def _is_disclosed(move: Move) -> bool:
    """A key that never signed proves nothing that would have to be undone."""
    return move.step == "revoked" and move.discloses and move.key.state != "pending"


def _stored(connection, settings: Settings, move: Move) -> int:
    stored = keystore.store(connection, settings.database, [move.new], move.why, "pending")
    if not stored:
        wanted, _ = move.new
        raise DatabaseError(f"the selector {wanted.selector!r} was taken meanwhile: run it again")
    return stored[0].id


def _savepoint(connection, work: Callable[[], None]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SAVEPOINT steps")
        try:
            with errors_translated():
                work()
        except DatabaseError:
            if connection.closed:
                raise
            cursor.execute("ROLLBACK TO SAVEPOINT steps")
            raise
        cursor.execute("RELEASE SAVEPOINT steps")


def _apply(connection, settings: Settings, moves: Sequence[Move]) -> None:
    database = settings.database
    if settings.rotation.publish_private is not None:
        disclosed = [move.key.id for move in moves if _is_disclosed(move)]
        if disclosed:
            evidence_table.keep_for_disclosure(connection, database, disclosed)
    groups: dict[tuple[str, str, str], list[int]] = {}
    for move in moves:
        number = move.key.id if move.new is None else _stored(connection, settings, move)
        groups.setdefault((move.step, move.why, move.instead), []).append(number)
    # What makes room comes before what takes it.
    for step, why, instead in sorted(groups, key=lambda group: group[0] == "active"):
        numbers = groups[step, why, instead]
        if step == "active":
            keystore.switch_to(connection, database, numbers, why, instead)
        else:
            keystore.move(connection, database, numbers, step, why)
