"""Application of a plan's moves to the table of keys, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import DatabaseError
from ..keys import changes as key_changes
from ..keys.model import Slot
from ..postgres.safe_errors import errors_translated
from ..private_key import PrivateKey
from ..settings.model import Database, Settings
from . import disclosure
from .moves import UNUSED_STATES, Move, NewKey, RotationPlan

if TYPE_CHECKING:
    import psycopg2.extensions as pg


def apply(
    connection: pg.connection,
    settings: Settings,
    plan: RotationPlan,
    private: Mapping[tuple[Slot, str], PrivateKey],
) -> RotationPlan:
    """
    Apply a plan and return the applied plan. Does not commit.

    When the database refuses a move, the returned plan has a problem for that move's domain. The
    moves of the other domains are still applied.

    private
        The private halves of the plan's new keys, by ``NewKey.slot_and_state``.
    """
    try:
        _apply_all(connection, settings, plan.moves, private)
        return plan
    except DatabaseError:
        if connection.closed:
            raise
    by_domain: dict[str, list[Move]] = {}
    for move in plan.moves:
        by_domain.setdefault(move.key.domain, []).append(move)
    done: list[Move] = []
    problems = []
    for domain, moves in by_domain.items():
        try:
            _apply_all(connection, settings, moves, private)
            done += moves
        except DatabaseError as error:
            if connection.closed:
                raise
            problems.append(f"{domain}: {error}")
    return replace(plan, moves=tuple(done), problems=(*plan.problems, *problems))


def _apply_all(
    connection: pg.connection,
    settings: Settings,
    moves: Sequence[Move],
    private: Mapping[tuple[Slot, str], PrivateKey],
) -> None:
    """Apply all the moves, or none of them."""
    with connection.cursor() as cursor:
        cursor.execute("SAVEPOINT moves")
        try:
            with errors_translated():
                if settings.rotation.publish_private is not None:
                    _keep_for_disclosure(connection, settings.database, moves)
                ids = _create(connection, settings.database, moves, private)
                _move(connection, settings.database, moves, ids)
        except DatabaseError:
            if not connection.closed:
                cursor.execute("ROLLBACK TO SAVEPOINT moves")
            raise
        cursor.execute("RELEASE SAVEPOINT moves")


def _keep_for_disclosure(
    connection: pg.connection, database: Database, moves: Sequence[Move]
) -> None:
    # Disclosure makes signatures deniable. A key that never signed has no signatures to deny.
    kept = [
        move.key.id
        for move in moves
        if move.to_state == "revoked" and move.disclose and move.from_state not in UNUSED_STATES
    ]
    if kept:
        disclosure.keep(connection, database, kept)


def _create(
    connection: pg.connection,
    database: Database,
    moves: Sequence[Move],
    private: Mapping[tuple[Slot, str], PrivateKey],
) -> dict[int, int]:
    """Store the new keys. Return the id of each in the table by its id in the plan."""
    groups: dict[tuple[str, str], list[NewKey]] = {}
    for move in moves:
        if move.from_state is None:
            groups.setdefault((move.why, move.to_state), []).append(move.key)
    ids = {}
    for (why, state), new_keys in groups.items():
        pairs = [(key.desired, private[key.slot_and_state]) for key in new_keys]
        stored = key_changes.store(connection, database, pairs, why, state)
        found = {(key.domain, key.selector): key.id for key in stored}
        for key in new_keys:
            number = found.get((key.domain, key.selector))
            if number is None:
                raise DatabaseError(
                    f"another program has taken the selector {key.selector!r}; run again"
                )
            ids[key.id] = number
    return ids


def _move(
    connection: pg.connection, database: Database, moves: Sequence[Move], ids: Mapping[int, int]
) -> None:
    groups: dict[tuple[str, str, str], list[int]] = {}
    for move in moves:
        if move.from_state is not None:
            group = (move.to_state, move.why, move.replaced_becomes)
            groups.setdefault(group, []).append(ids.get(move.key.id, move.key.id))
    # Moves to "active" come last: one slot has one active key.
    for state, why, replaced_becomes in sorted(groups, key=lambda group: group[0] == "active"):
        numbers = groups[state, why, replaced_becomes]
        if state == "active":
            key_changes.switch_to(connection, database, numbers, why, replaced_becomes)
        else:
            key_changes.move(connection, database, numbers, state, why)
