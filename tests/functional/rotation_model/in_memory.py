"""Rotations in memory: a run's turns, with a table of keys, servers and a clock."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta, timezone

from dkim_formula.keys.model import GONE, Key, Slot
from dkim_formula.records import key_record
from dkim_formula.rotation.gate import Evidence, Observation
from dkim_formula.rotation.moves import Move, RotationPlan
from dkim_formula.rotation.plan import (
    Request,
    Rotate,
    RotateDue,
    outlook,
    plan,
    plan_moves,
    plan_new_keys,
    plan_standby,
)
from dkim_formula.rotation.state import RotationState, desired_value, records_of
from dkim_formula.rotation.waiting_times import RetireFor
from dkim_formula.settings.model import Settings

from .domain_names import NEGATIVE_TTL, RECORD_TTL
from .facts import Facts, Row
from .judge import QUEUE_LIFE

_START = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Refused(Exception):
    """The plan refuses the request."""


class Died(Exception):
    """The run was killed."""


@dataclass(eq=False)
class Server:
    """An authoritative server with its TXT records by name."""

    texts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    answers: bool = True


@dataclass(eq=False)
class Memory:
    """
    One history's table of keys, its two servers and its clock.

    turns
        The number of turns after which the run dies. None lets the run live.
    concurrent
        Another command, called once between the observations and the plan of a run.
    """

    settings: Settings
    servers: tuple[Server, Server] = field(default_factory=lambda: (Server(), Server()))
    keys: dict[int, Key] = field(default_factory=dict)
    evidence: dict[int, Evidence] = field(default_factory=dict)
    history: list[tuple] = field(default_factory=list)
    clock: datetime = _START
    turns: int | None = None
    concurrent: Callable[[], None] | None = None
    asked: set[str] = field(default_factory=set)
    _last_id: int = 0

    # --- what the judge asks for ------------------------------------------------------------------

    def texts(self, server: Server, name: str) -> tuple[str, ...]:
        return server.texts.get(name, ())

    def show(self, name: str, value: str) -> str:
        answers = [server for server in self.servers if server.answers]
        if not answers:
            return "no answer"
        if not all(self.texts(server, name) == (value,) for server in answers):
            return "wrong"
        return "ok" if len(answers) == len(self.servers) else "partly"

    def is_silent(self, server: Server) -> bool:
        """Return whether a server gives no answer to this machine, but may answer others."""
        return not server.answers

    def does_answer(self, server: Server) -> bool:
        return server.answers

    def facts(self) -> Facts:
        return Facts(
            {
                key.id: Row(
                    key.id,
                    key.domain,
                    key.address,
                    key.algorithm,
                    key.selector,
                    key.state,
                    key.state == "revoked",
                    key.public,
                )
                for key in self.keys.values()
            },
            tuple(self.history),
            (),
        )

    # --- a run ------------------------------------------------------------------------------------

    def run(self, request: Request, domains: Iterable[str]) -> list:
        """Run all turns, and return what keys then wait for."""
        domains = frozenset(domains)
        since = len(self.history)
        refused = plan(self._read(domains, since), request, self.now()).refused
        if refused:
            raise Refused(refused)
        if isinstance(request, (Rotate, RotateDue)):
            self._turn(lambda: self._apply(plan_new_keys, request, domains, since))
        if isinstance(request, Rotate) and request.force:
            self._turn(self._publish)
        is_urgent = getattr(request, "compromised", False)
        observations = {} if is_urgent else self._observe(request, domains)
        if self.concurrent is not None:
            concurrent, self.concurrent = self.concurrent, None
            concurrent()
        self._turn(lambda: self._apply(plan_moves, request, domains, since, observations))
        self._turn(lambda: self._apply(plan_standby, request, domains, since))
        self._turn(self._publish)
        observations |= self._observe(request, domains)
        state = self._read(domains, since).with_observations(observations, self.now())
        self._turn(lambda: self.evidence.update(state.observed))
        return list(outlook(state, request, self.now()).waiting)

    def now(self) -> datetime:
        """Return the time. Each call returns a later one."""
        self.clock += timedelta(microseconds=1)
        return self.clock

    def _turn(self, turn: Callable[[], None]) -> None:
        if self.turns == 0:
            raise Died
        if self.turns is not None:
            self.turns -= 1
        turn()

    def _read(self, domains: frozenset[str], since: int) -> RotationState:
        keys = [key for key in self.keys.values() if key.domain in domains]
        used = {domain: set() for domain in domains}
        for _, domain, selector, *_ in self.history:
            used.setdefault(domain, set()).add(selector)
        return RotationState(
            self.settings,
            RetireFor(QUEUE_LIFE, "the queue"),
            domains,
            keys,
            evidence={key.id: self.evidence[key.id] for key in keys if key.id in self.evidence},
            activated={
                self.slots[number]: selector
                for number, _, selector, _, state in self.history[since:]
                if state == "active"
            },
            used=used,
        )

    def _apply(self, planner, request, domains, since, observations=None) -> None:
        state, now = self._read(domains, since), self.now()
        if observations is not None:
            state = state.with_observations(observations, now)
            self.evidence.update(state.observed)
        planned = planner(state, request, now)
        expected = state.after(planned.moves, now)
        self.carry_out(planned.moves)
        self._check(expected, planned, domains)

    def _check(self, expected: RotationState, planned: RotationPlan, domains) -> None:
        """Assert that the table has the state that the plan predicts."""
        new = {(key.domain, key.selector) for key in planned.new_keys}
        present = [key for key in self.keys.values() if key.domain in domains]
        assert sorted((one.domain, one.selector, one.state) for one in expected.keys) == sorted(
            (one.domain, one.selector, one.state) for one in present
        )
        assert new <= {(key.domain, key.selector) for key in present}

    # --- the table --------------------------------------------------------------------------------

    @property
    def slots(self) -> dict[int, Slot]:
        """The slot of each key, also of removed ones, by id."""
        return self._slots

    def __post_init__(self):
        self._slots: dict[int, Slot] = {}

    def carry_out(self, moves: Iterable[Move]) -> None:
        """Make a plan's moves, as the table of keys does."""
        ids = {}
        for move in moves:
            if move.from_state is None:
                key = move.key
                ids[key.id] = self.insert(key.slot, key.selector, key.bits, move.to_state)
        changes = [move for move in moves if move.from_state is not None]
        for move in sorted(changes, key=lambda move: move.to_state == "active"):
            key = self.keys[ids.get(move.key.id, move.key.id)]
            assert key.state == move.from_state
            for other in list(self.keys.values()):
                if move.to_state == other.state == "active" and other.slot == key.slot:
                    self._change(other, move.replaced_becomes)
            self._change(key, move.to_state)

    def insert(self, slot: Slot, selector: str, bits: int, state: str = "pending") -> int:
        """Store a new key, and return its id."""
        self._last_id += 1
        names = {one.name: None for one in fields(Key)}
        names |= {"is_odd": False, "fault": "", "advice": "", "path": ""}
        names |= {"id": self._last_id, "selector": selector, "bits": bits, "state": "pending"}
        key = Key(**{**names, **slot._asdict(), "public": f"key{self._last_id}"})
        self._slots[key.id] = Slot(*slot)
        self.keys[key.id] = replace(key, created=self.clock, state=state)
        self.history.append((key.id, key.domain, key.selector, None, state))
        if state == "active":
            self.keys[key.id] = replace(self.keys[key.id], activated=self.clock)
        return key.id

    def delete(self, key: Key) -> None:
        """Delete a key, as a person may."""
        self._change(key, GONE)

    def _change(self, key: Key, state: str) -> None:
        self.history.append(
            (key.id, key.domain, key.selector, key.state, None if state == GONE else state)
        )
        if state == GONE:
            del self.keys[key.id]
            self.evidence.pop(key.id, None)
            return
        times = {}
        if state not in ("standby", "pending"):
            times[{"active": "activated"}.get(state, state)] = self.clock
        self.keys[key.id] = replace(key, state=state, **times)

    # --- DNS --------------------------------------------------------------------------------------

    def desired(self) -> dict[str, str]:
        """The value of each key's record, by name."""
        records = [records_of(self.settings, key)[0] for key in self.keys.values()]
        return {record.name: record.value for record in records}

    def publish_by_hand(self, which: Iterable[int]) -> None:
        """Let the servers have the desired records and no others."""
        for number in which:
            self.servers[number].texts = {name: (value,) for name, value in self.desired().items()}

    def transfer(self) -> None:
        """Copy the primary's records to the secondary."""
        self.servers[1].texts = dict(self.servers[0].texts)

    def _publish(self) -> None:
        if self.settings.dns.publish == "rfc2136" and self.servers[0].answers:
            self.publish_by_hand([0])

    def _observe(self, request: Request, domains: frozenset[str]) -> dict[int, Observation]:
        at = self.now()
        asked = getattr(getattr(request, "key", None), "id", None)
        keys = [key for key in self.keys.values() if key.domain in domains]
        state = self._read(domains, len(self.history))
        observed = [
            key
            for key in keys
            if key.state in ("pending", "revoked")
            or key.id == asked
            or (key.state == "standby" and not state.passed_gate(key))
        ]
        return {key.id: self._observation(key, at) for key in observed}

    def _observation(self, key: Key, at: datetime) -> Observation:
        record = records_of(self.settings, key)[0]
        self.asked.add(record.name)
        shown = [self.texts(server, record.name) for server in self.servers if server.answers]
        good = [(record.value,), ()] if key.state == "revoked" else [(record.value,)]
        others = [text for texts in shown for text in texts if text != record.value]
        return Observation(
            verdict=self._verdict(shown, good),
            detail="",
            at=at,
            value=desired_value(self.settings, key),
            negative_ttl=NEGATIVE_TTL if shown else None,
            ttl=RECORD_TTL if (record.value,) in shown else None,
            other_ttl=RECORD_TTL if others else None,
            else_ok=0 < len(shown) < len(self.servers) and all(one in good for one in shown),
        )

    def _verdict(self, shown: list[tuple[str, ...]], good: list[tuple[str, ...]]) -> str:
        wrong = [texts for texts in shown if texts not in good]
        if not wrong:
            return "ok" if len(shown) == len(self.servers) else "no answer"
        if len(wrong) < len(shown):
            return "inconsistent"
        if any(len(texts) > 1 for texts in wrong):
            return "duplicate"
        return "different" if any(wrong) else "missing"


def other_record(key: Key) -> str:
    """Return a record of the key's name with another public key."""
    return key_record(key.domain, key.selector, key.algorithm, "other").value
