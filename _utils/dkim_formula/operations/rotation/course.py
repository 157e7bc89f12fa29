"""
The way of some domains' keys, as far as it goes in one run.

A batch of domains takes the same turns each time: make what is to be made, look, take the steps
that the looks allow, publish, look once more. What a run publishes it sees in its last look, so no
key becomes active on a record that the same run has put there; and a run that only tells can tell
all of it. No connection is open while DNS is asked or keys are made.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from ...database import evidence as evidence_table
from ...database import keystore
from ...database.comparison import Wanted
from ...database.connection import session
from ...database.keystore import Key
from ...dns.failure import NoLibrary
from ...errors import keeping_what_was_done
from ...records import BY_HAND
from ...rotation.decision import Decision
from ...rotation.evidence import RIGHT, Look, after
from ...settings.model import Settings
from ...wanted import domain_problem
from .. import publish as publishing
from ..orphans import Orphans
from ..publish import TO_BE_MADE
from . import starting, steps
from .limits import Limits, limits
from .looking import look, records_of, value_of
from .outcome import Outcome, Slot, name_of, slot_of
from .situation import NO_ORPHANS, Situation, is_readable
from .starting import Start
from .steps import Move, Planner

BATCH = 500  # domains

Progress = Callable[[int, int], None]


@dataclass
class Course:
    """
    One call's way through its domains.

    test
        Only tell.
    force
        Slots whose next key is made active whatever is known of its record.
    asked
        Ids of keys to be looked at beside those that are pending or revoked.
    planner
        What follows from a situation; by default every key's next step.
    looks_first
        Whether steps wait for a look; if not, it comes after them.
    mark
        The history's newest line when the call began.
    orphans
        Which domains are gone, and which have come back.
    anew
        Rotations to be started where a domain that came back can't have its former key.
    """

    settings: Settings
    test: bool = False
    force: Collection[Slot] = ()
    asked: Collection[int] = ()
    planner: Planner | None = None
    looks_first: bool = True
    mark: int = 0
    orphans: Orphans = NO_ORPHANS
    anew: Sequence[Start] = ()
    outcome: Outcome = field(default_factory=Outcome)

    def __post_init__(self):
        self.limits: Limits = limits(self.settings)
        self._at: datetime | None = None

    def run(
        self,
        domains: Iterable[str],
        starts: Sequence[Start] = (),
        progress: Progress | None = None,
    ) -> None:
        """
        Takes the domains as far as they go.

        starts
            Rotations to be started, in these domains.
        progress
            Called with (done, total) domains after each batch, where there are several.
        """
        every = [name for name in sorted(set(domains)) if self._is_a_name(name)]
        by_domain: dict[str, list[Start]] = {}
        for start in starts:
            by_domain.setdefault(start.slot[0], []).append(start)
        for at in range(0, len(every), BATCH):
            batch = every[at : at + BATCH]
            of_batch = [start for name in batch for start in by_domain.get(name, ())]
            with keeping_what_was_done(self.outcome.done):
                self._batch(batch, of_batch)
            if progress is not None and len(every) > BATCH:
                progress(at + len(batch), len(every))

    def _is_a_name(self, name: str) -> bool:
        if problem := domain_problem(self.settings, name):
            self.outcome.note(problem)
        return not problem

    def plan(self, situation: Situation) -> list[Move]:
        """Every key's next step; of the forced slots the next key's, whatever is missing."""
        if self.planner is not None:
            return list(self.planner(situation))
        moves = []
        for key, decided in situation.decisions():
            if decided.step is not None:
                moves.append(Move(key, decided.step, decided.why))
            elif self._is_forced(key, situation):
                moves.append(forced(key, decided, self.outcome))
        return moves

    def _is_forced(self, key: Key, situation: Situation) -> bool:
        # Another run that has changed the signing key since this one was called was the answer.
        slot = slot_of(key)
        is_open = slot in self.force and slot not in situation.switched
        return is_open and situation.candidate(slot) is key

    def _batch(self, domains: Sequence[str], starts: Sequence[Start]) -> None:
        if self.test:
            self._tell(domains, starts)
            return
        if starts:
            starting.begin(self.settings, self.limits, starts, self.mark, self.outcome)
        if self.force:
            self._publish(domains)
        looks = self._look(self._keys(domains)) if self.looks_first else {}
        steps.take(self._facts(domains, looks), self.plan, self.outcome)
        self._begin_anew(domains, looks)
        published = self._publish(domains)
        keys = [key for key in self._keys(domains) if self._is_unseen(key, looks, published)]
        looks |= self._look(keys)
        self._report(steps.see(self._facts(domains, looks)))

    def _begin_anew(self, domains: Sequence[str], looks: Mapping[int, Look]) -> None:
        """New keys for domains that came back and whose former keys can't sign again."""
        starts = [start for start in self.anew if start.slot[0] in domains]
        if not starts:
            return
        facts = self._facts(domains, looks)
        with session(self.settings.database) as connection:
            situation = steps.read(connection, facts)
        starts = [start for start in starts if situation.is_unsigned(start.slot)]
        if starts:
            starting.begin(self.settings, self.limits, starts, self.mark, self.outcome)
            steps.take(facts, lambda now: self._first_steps(now, starts), self.outcome)

    def _first_steps(self, situation: Situation, starts: Sequence[Start]) -> list[Move]:
        """The steps of keys that have just been made for the starts."""
        slots = {start.slot for start in starts}
        return [
            move
            for move in self.plan(situation)
            if slot_of(move.key) in slots and move.key.state == "pending"
        ]

    def _tell(self, domains: Sequence[str], starts: Sequence[Start]) -> None:
        """What :meth:`_batch` would do."""
        looks = self._look(self._keys(domains)) if self.looks_first else {}
        with session(self.settings.database) as connection:
            starting.fill_in(connection, self.settings, domains)
            situation = steps.read(connection, self._facts(domains, looks))
            used = evidence_table.used_selectors(connection, self.settings.database, domains)
            connection.rollback()
        wanted = starting.choose(situation, used, starts, self.outcome).values()
        new = [to_be_made(number, one) for number, one in enumerate(wanted)]
        for key in new:
            self.outcome.change(key, "pending")
        situation = replace(situation, keys=[*situation.keys, *new])
        keys = steps.tell(situation, self.plan(situation), self.outcome)
        situation = replace(situation, keys=keys)
        starts = [one for one in self.anew if situation.is_unsigned(one.slot)]
        starts = [one for one in starts if one.slot[0] in domains]
        more = starting.choose(situation, used, starts, self.outcome).values()
        first = [to_be_made(len(new) + number, one) for number, one in enumerate(more)]
        for key in first:
            self.outcome.change(key, "pending")
        situation = replace(situation, keys=[*keys, *first])
        keys = steps.tell(situation, self._first_steps(situation, starts), self.outcome)
        wanted = [*wanted, *more]
        if self.settings.dns.publish == "rfc2136":
            there = [key for key in keys if key.public != TO_BE_MADE]
            self._tell_dns(publishing.foretell_keys(self.settings, domains, there, list(wanted)))
        self._report(self._seen_after(situation, keys, looks))

    def _seen_after(
        self, situation: Situation, keys: list[Key], looks: Mapping[int, Look]
    ) -> Situation:
        """As the last look of a run would find it, but for what that run publishes."""
        there = [key for key in keys if key.public != TO_BE_MADE]
        unseen = [key for key in there if self._is_unseen(key, looks, set())]
        with session(self.settings.database) as connection:
            self._at = evidence_table.clock(connection)
        looked = dict(situation.looked)
        for number, seen in self._look(unseen).items():
            looked[number] = after(situation.evidence.get(number), seen, seen.at)
        return replace(situation, keys=keys, looked=looked)

    def _facts(self, domains: Sequence[str], looks: Mapping[int, Look]) -> steps.Facts:
        return steps.Facts(self.settings, self.limits, domains, looks, self.mark, self.orphans)

    def read(self, connection, domain: str) -> Situation:
        """What is known of one domain, without a look."""
        return steps.read(connection, self._facts([domain], {}))

    def _keys(self, domains: Sequence[str]) -> list[Key]:
        """The domains' keys, whole; ``at`` of the looks that follow is from before."""
        with session(self.settings.database) as connection:
            starting.fill_in(connection, self.settings, domains)
            keys = keystore.list_of(connection, self.settings.database, domains)
            self._at = evidence_table.clock(connection)
            if self.test:
                connection.rollback()
        return keys

    def _look(self, keys: Sequence[Key]) -> dict[int, Look]:
        asked = {*self.asked, *self.orphans.back}
        of_interest = [key for key in keys if key.state in _LOOKED_FOR or key.id in asked]
        return look(self.settings, of_interest, self._at, self.outcome)

    def _publish(self, domains: Sequence[str]) -> set[str]:
        """Brings the key records into DNS where the settings say so; gives the names changed."""
        if self.settings.dns.publish != "rfc2136":
            return set()
        try:
            done = publishing.publish_keys(self.settings, domains)
        except NoLibrary as error:
            self.outcome.problem(str(error))
            return set()
        self._tell_dns(done)
        return {name.partition(" ")[0] for name in done["changes"]}

    def _tell_dns(self, done: dict[str, object]) -> None:
        for name, changed in done["changes"].items():
            entry = self.outcome.dns.setdefault(name, dict(changed))
            entry["new"] = changed["new"]
        for text in done["problems"]:
            self.outcome.problem(text)

    def _is_unseen(self, key: Key, looks: Mapping[int, Look], published: set[str]) -> bool:
        """Whether a look at a key's record could tell more than this run's first one did."""
        if not is_readable(self.settings, key):
            return False
        record = records_of(self.settings, key)[0]
        seen = looks.get(key.id)
        return seen is None or seen.value != value_of(record) or record.name in published

    def _report(self, situation: Situation) -> None:
        by_machine = self.settings.dns.publish == "rfc2136"
        next_run = Decision(waits_for="the next run", until=situation.now)
        for key, decided in situation.decisions():
            self.outcome.wait(key, situation.next_state(key), next_run if decided.step else decided)
        for key in situation.keys:
            if self._is_to_be_published(key, situation):
                records = records_of(self.settings, key)
                if key.public == TO_BE_MADE:
                    records[0] = replace(records[0], value=TO_BE_MADE)
                self.outcome.publish += [
                    record for record in records if not by_machine or record.purpose in BY_HAND
                ]

    def _is_to_be_published(self, key: Key, situation: Situation) -> bool:
        """Whether a key's record is not known to be as it should, and somebody waits for it."""
        if not is_readable(self.settings, key):
            return False
        is_new = self.outcome.changes.get(name_of(key), {}).get("new") == "active"
        if key.state not in _LOOKED_FOR and not is_new:
            return False
        evidence = situation.looked.get(key.id)
        return evidence is None or evidence.verdict != RIGHT


def forced(key: Key, decided: Decision, outcome: Outcome) -> Move:
    """A key's way past the gate, with what it goes without."""
    missing = "; ".join(decided.missing) or decided.waits_for
    outcome.note(f"{name_of(key)} signs by force, without this evidence: {missing}")
    return Move(key, "active", f"rotation: forced, though {missing}")


# Keys whose next step asks for what DNS shows.
_LOOKED_FOR = ("pending", "revoked")
# Above every id that a table has: keys that are still to be made are the newest.
_FUTURE = 2**62


def to_be_made(number: int, one: Wanted) -> Key:
    """A key that is still to be made, the ``number``-th of them, as a row that is pending."""
    return Key(
        id=_FUTURE + number,
        domain=one.domain,
        selector=one.selector,
        algorithm=one.algorithm,
        bits=one.bits,
        state="pending",
        address=one.address,
        created=None,
        activated=None,
        retired=None,
        revoked=None,
        public=TO_BE_MADE,
    )
