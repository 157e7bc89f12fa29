"""
A run: observe DNS, lock, read, plan, apply, publish, observe again, report.

A run handles many domains in batches. The run observes the records that it publishes at the end of
the batch, after the moves. So no key becomes active on a record that the same run has published. No
database connection is open while the run asks DNS or generates keys. A test run makes the plan's
moves in memory.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from ..dns import publish as publishing
from ..errors import NoLibrary, keeping_what_was_done
from ..keys import changes as key_changes
from ..keys import history, refusals
from ..keys import table as keys_table
from ..keys.completion import complete_domains
from ..keys.desired import domain_problem, has_standby
from ..keys.model import Key, Slot
from ..keys.removed_domains import Orphans
from ..postfix import queue
from ..postgres.commit import commit
from ..postgres.connection import session
from ..private_key import PrivateKey
from ..settings.model import Settings
from . import replica_replay
from .apply import apply
from .gate import Observation
from .moves import NewKey, RotationPlan
from .observe import observe, read_evidence, store_evidence
from .plan import (
    Request,
    Rotate,
    RotateDue,
    outlook,
    plan,
    plan_moves,
    plan_new_keys,
    plan_standby,
)
from .replicas import Replicas
from .report import RotationReport
from .revoke import Revoke
from .state import (
    NO_ORPHANS,
    OBSERVED_STATES,
    RotationState,
    desired_value,
    is_readable,
    records_of,
)
from .waiting_times import RetireFor, retire_for

BATCH = 500  # domains

Progress = Callable[[int, int], None]


def retirement(settings: Settings) -> RetireFor:
    """Return how long a retired key's record stays, by the settings and this host's Postfix."""
    return retire_for(settings, *queue.longest())


@dataclass
class RotationRun:
    """
    The run of one command through its domains.

    test
        Whether the run changes nothing.
    since
        The history's newest line at the start of the command.
    orphans
        The domains that are gone, and the domains that returned.
    """

    settings: Settings
    request: Request
    test: bool = False
    since: int = 0
    orphans: Orphans = NO_ORPHANS
    report: RotationReport = field(default_factory=RotationReport)

    def __post_init__(self):
        self._database = self.settings.database
        self._retire_for = retirement(self.settings)
        # The time of the database's clock before the next observations.
        self._at: datetime | None = None
        # The ids of keys to observe although their state does not require an observation.
        self._to_ask: set[int] = set()
        self._replicas: Replicas | None = None

    def run(self, domains: Iterable[str], progress: Progress | None = None) -> None:
        """
        Carry out the request in some domains.

        progress
            Called with (done, total) domains after each batch if there are several.
        """
        # Needed also without a key in progress: a standby that loses its connection must be known.
        self._replicas = self._observe_replicas()
        names = [name for name in sorted(set(domains)) if self._can_have_keys(name)]
        for at in range(0, len(names), BATCH):
            batch = names[at : at + BATCH]
            with keeping_what_was_done(self.report.done):
                self._run_batch(batch)
            if progress is not None and len(names) > BATCH:
                progress(at + len(batch), len(names))
        if names and not self.test:
            # A standby that has replayed the log up to now shows this run's switches.
            with keeping_what_was_done(self.report.done):
                self._observe_replicas()

    def preview(self, domains: Collection[str]) -> RotationPlan:
        """Return the plan for some domains from stored data, without asking DNS."""
        with self._session() as connection:
            state, now = self._read(connection, domains, None)
        return plan(state, self.request, now)

    def _can_have_keys(self, name: str) -> bool:
        problem = domain_problem(self.settings, name)
        if problem:
            self.report.note(problem)
        return not problem

    def _run_batch(self, domains: Sequence[str]) -> None:
        if not self.test:
            self._create_pending(domains)
        observations = {} if self._is_urgent() else self._observe(self._complete(domains))
        state = self._move(domains, observations, plan if self.test else plan_moves)
        has_any = any(has_standby(self.settings, domain) for domain in domains)
        if not self.test and has_any:
            state = self._move(domains, None, plan_standby)
        published = self._publish(domains, state)
        keys = self._keys_left(state) if self.test else self._complete(domains)
        observations |= self._observe(
            key for key in keys if self._is_unobserved(key, observations, published)
        )
        self._report(domains, state, observations)

    def _is_urgent(self) -> bool:
        """Return whether a key is compromised, so that the run must not wait for name servers."""
        return isinstance(self.request, Revoke) and self.request.compromised

    def _create_pending(self, domains: Sequence[str]) -> None:
        """Create the pending keys of rotations, and publish the records of keys to be forced."""
        request = self.request
        is_due = isinstance(request, RotateDue) and not request.chosen.keys().isdisjoint(domains)
        if is_due or isinstance(request, Rotate):
            self._move(domains, None, plan_new_keys)
        if isinstance(request, Rotate) and request.force:
            self._publish(domains)

    def _move(
        self,
        domains: Sequence[str],
        observations: Mapping[int, Observation] | None,
        planner: Callable[[RotationState, Request, datetime], RotationPlan],
    ) -> RotationState:
        """
        Read the database under the lock, plan, apply the plan, and return the state after the plan.

        The generation of private halves is slow. The run releases the lock for that time and then
        plans again.
        """
        private: dict[tuple[Slot, str], PrivateKey] = {}
        while True:
            with self._writing() as connection:
                state, now = self._read(connection, domains, observations)
                planned = planner(state, self.request, now)
                missing = [key for key in planned.new_keys if key.slot_and_state not in private]
                if self.test:
                    self.report.add_plan(state, planned)
                    return state.after(planned.moves, now)
                if not missing:
                    store_evidence(connection, self._database, state.observed or {})
                    applied = apply(connection, self.settings, planned, private)
                    # The report gets the changes at the commit, because the later release of the
                    # lock may fail.
                    report = partial(self.report.add_plan, state, applied)
                    commit(connection, self._database, report)
                    return state.after(applied.moves, now)
            private |= _generated(missing)

    def _report(
        self,
        domains: Sequence[str],
        state: RotationState,
        observations: Mapping[int, Observation],
    ) -> None:
        """Store the last observations, and report the work that remains."""
        if self.test:
            now = self._at
            state = state.with_observations(observations, now)
        else:
            with self._writing() as connection:
                state, now = self._read(connection, domains, observations)
                store_evidence(connection, self._database, state.observed)
        self.report.add_outlook(outlook(state, self.request, now))

    # --- the database -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def _session(self) -> Iterator:
        """Open a session. A test run rolls it back."""
        with session(self._database) as connection:
            yield connection
            if self.test:
                connection.rollback()

    @contextlib.contextmanager
    def _writing(self) -> Iterator:
        """Open a session and lock out other writers. A test run writes nothing, without a lock."""
        with self._session() as connection, contextlib.ExitStack() as stack:
            if not self.test:
                stack.enter_context(key_changes.writing(connection))
            yield connection

    def _read(
        self,
        connection,
        domains: Collection[str],
        observations: Mapping[int, Observation] | None,
    ) -> tuple[RotationState, datetime]:
        """Return the state of some domains with this run's observations, and the time."""
        if self._replicas is None:
            self._replicas = self._observe_replicas()
        if self.test:
            complete_domains(connection, self._database, domains)
        keys = keys_table.list_of(connection, self._database, domains)
        now = history.clock(connection)
        state = RotationState(
            settings=self.settings,
            retire_for=self._retire_for,
            domains=frozenset(domains),
            keys=keys,
            evidence=read_evidence(connection, self._database, [key.id for key in keys]),
            activated=history.activated_after(connection, self._database, self.since),
            used=history.used_selectors(connection, self._database, domains),
            orphans=self.orphans,
            refused=refusals.waiting(connection, self._database, domains),
            replicas=self._replicas,
        )
        if observations is not None:
            state = state.with_observations(observations, now)
        return state, now

    def _observe_replicas(self) -> Replicas:
        """Observe the standby servers, and return their marks."""
        with self._session() as connection:
            replica_replay.observe(connection, self._database)
            return replica_replay.read(connection, self._database)

    def _complete(self, domains: Sequence[str]) -> list[Key]:
        """Complete the rows of other programs, prepare observations, and return the keys."""
        with self._session() as connection:
            completed = complete_domains(connection, self._database, domains)
            keys = keys_table.list_of(connection, self._database, domains)
            self._at = history.clock(connection)
            self._to_ask = self._to_observe(connection, domains, keys)
        for old, new in completed:
            self.report.change(new, new.state, old.state)
        return keys

    def _to_observe(self, connection, domains: Sequence[str], keys: Iterable[Key]) -> set[int]:
        """
        Return the ids of the standby keys that have not passed the gate or that this run makes
        pending, and of the key that an urgent run has just made active.
        """
        if not any(key.state == "standby" for key in keys) and not self._is_urgent():
            return set()
        state, now = self._read(connection, domains, None)
        standby = (key for key in state.keys if key.state == "standby")
        asked = {key.id for key in standby if not state.passed_gate(key)}
        if self.test:
            moves = plan_new_keys(state, self.request, now).moves
            asked |= {move.key.id for move in moves if move.from_state is not None}
        if self._is_urgent():
            asked |= {key.id for key in state.keys if state.activated.get(key.slot) == key.selector}
        return asked

    def _keys_left(self, state: RotationState) -> list[Key]:
        """Return the keys in the table after a test run, and prepare observations."""
        with session(self._database) as connection:
            self._at = history.clock(connection)
        return [key for key in state.keys if not isinstance(key, NewKey)]

    # --- DNS --------------------------------------------------------------------------------------

    def _observe(self, keys: Iterable[Key]) -> dict[int, Observation]:
        """Observe the records of the keys whose next move depends on DNS."""
        key = getattr(self.request, "key", None)
        asked = {*self._to_ask, *self.orphans.returned, *([] if key is None else [key.id])}
        keys = [key for key in keys if key.state in OBSERVED_STATES or key.id in asked]
        return observe(self.settings, keys, self._at, self.report)

    def _is_unobserved(
        self, key: Key, observations: Mapping[int, Observation], published: Collection[str]
    ) -> bool:
        """Return whether a second observation in this run could show something new."""
        if not is_readable(self.settings, key):
            return False
        if records_of(self.settings, key)[0].name in published:
            return True
        first = observations.get(key.id)
        return first is None or first.value != desired_value(self.settings, key)

    def _publish(self, domains: Sequence[str], state: RotationState | None = None) -> set[str]:
        """
        Publish the key records if the settings say so, and return the names that changed. A test
        run only reports the records that a run would publish in a state.
        """
        if not self.settings.dns.is_published:
            return set()
        if self.test:
            stored = [key for key in state.keys if not isinstance(key, NewKey)]
            new = [key.desired for key in state.keys if isinstance(key, NewKey)]
            self.report.add_dns(publishing.preview_keys(self.settings, domains, stored, new))
            return set()
        try:
            published = publishing.publish_keys(self.settings, domains)
        except NoLibrary as error:
            self.report.problem(str(error))
            return set()
        self.report.add_dns(published)
        return {name.partition(" ")[0] for name in published["changes"]}


def _generated(new_keys: Iterable[NewKey]) -> dict[tuple[Slot, str], PrivateKey]:
    """Return a private key for each new key. The generation of an RSA key releases the GIL."""
    keys = list(new_keys)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        private = pool.map(lambda key: PrivateKey.generate(key.algorithm, key.bits), keys)
        return {key.slot_and_state: one for key, one in zip(keys, private, strict=True)}
