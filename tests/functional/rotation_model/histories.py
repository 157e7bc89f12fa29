"""
Histories in memory, judged by ``judge``.

Requests come in any order, DNS lags, lies and disappears, the clock is set back, runs die, and
other runs come in between.
"""

import contextlib
from dataclasses import replace
from datetime import timedelta

from dkim_formula.keys.model import Slot
from dkim_formula.rotation.new_keys import specs
from dkim_formula.rotation.plan import Activate, Advance, Retire, Rotate, RotateDue
from dkim_formula.rotation.revoke import Revoke
from dkim_formula.settings.model import Database, Dns, Settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .in_memory import Died, Memory, Refused, other_record
from .judge import REVOKE_FOR, Judge, Operation, name_of
from .sites import (
    DELEGATED,
    DOMAINS,
    SLOTS,
    UP_TO_EACH_MOVE,
    WAITS,
    rotation_settings,
    without_key,
)

NAMES = sorted(DOMAINS)
COMMANDS = ("rotate", "advance", "rotate_due", "activate", "retire", "revoke", "compromised")
OTHERS = (
    "generate",
    "delete",
    "publish",
    "transfer",
    "fail",
    "recover",
    "lie",
    "lapse",
    "wait",
    "set_back",
    "switch_setting",
)
# A command, a number that chooses its key or domain, force, the turn at which the run dies, and
# another command in between.
ACTIONS = st.tuples(
    st.sampled_from(COMMANDS + OTHERS),
    st.integers(0, 40),
    st.booleans(),
    st.sampled_from([None, None, None, 0, 1, 2, 3, 4]),
    st.sampled_from([None, None, None, *COMMANDS]),
)


class History:
    """One history: its world and its judge."""

    def __init__(self, automatic: bool, standby: bool):
        self.world = Memory(
            Settings(
                database=Database(),
                domains=DOMAINS,
                dns=Dns(publish="rfc2136" if automatic else "none"),
                rotation=rotation_settings(standby),
            )
        )
        self.standby = standby
        self.manual = not automatic
        self.judge = Judge(self.world, DELEGATED)
        self.seconds_back = 0
        for domain in DOMAINS.values():
            for slot, spec in specs(domain, ()).items():
                self.world.insert(slot, spec.selector, spec.bits, "active")

    def play(self, actions) -> None:
        for name, number, force, turns, between in actions:
            if name in COMMANDS:
                self.command(name, number, force, turns, between)
            else:
                getattr(self, name)(number, force)

    # --- commands ---------------------------------------------------------------------------------

    def command(self, name, number, force=False, turns=None, between=None, must=False):
        """Run and judge a command. The judge allows it also the effects of a command in between."""
        request = self.request(name, number, force)
        if request is None:
            return []
        operation = self.operation(name, request, force)
        if between is not None and (other := self.request(between, number + 1, False)):
            self.world.concurrent = lambda: self.between(between, other, operation)
        before = self.world.facts()
        shown = self.judge.shown(before)
        texts = dict(self.world.servers[0].texts)
        self.world.asked.clear()
        self.world.turns, waiting = turns, []
        try:
            waiting = self.world.run(request, self.domains(request))
        except Refused:
            assert not must
            operation.refused = True
        except Died:
            operation.completed = False
        finally:
            self.world.turns = self.world.concurrent = None
        operation.completed = operation.completed and len(operation.commands) == 1
        operation.asked = frozenset(self.world.asked)
        self.judge.judge(operation, before, self.world.facts(), shown, texts)
        return waiting

    def between(self, name, request, operation):
        """Run another command in the middle of one."""
        turns, self.world.turns = self.world.turns, None
        other = self.operation(name, request, False)
        operation.commands += other.commands
        operation.compromised |= other.compromised
        with contextlib.suppress(Refused):
            self.world.run(request, self.domains(request))
        self.world.turns = turns

    def request(self, name, number, force):
        domain = DOMAINS[NAMES[number % len(NAMES)]]
        keys = list(self.world.keys.values())
        key = keys[number % len(keys)] if keys else None
        if name == "advance":
            return Advance()
        if name == "rotate_due":
            return RotateDue(chosen=DOMAINS)
        if name == "rotate":
            of_domain = [one for one in keys if one.domain == domain.name]
            return Rotate(specs(domain, of_domain), force=force)
        if key is None:
            return None
        if name == "compromised":
            return Revoke(key, compromised=True)
        return {"activate": Activate, "retire": Retire, "revoke": Revoke}[name](key, force=force)

    def domains(self, request):
        if isinstance(request, Rotate):
            return {slot.domain for slot in request.specs}
        key = getattr(request, "key", None)
        return DOMAINS if key is None else {key.domain}

    def operation(self, name, request, force):
        key = getattr(request, "key", None)
        domain = None if key is None else key.domain
        selector = None if key is None else key.selector
        is_compromised = getattr(request, "compromised", False)
        return Operation(
            (("revoke" if is_compromised else name, domain, selector),),
            self.judge.now,
            force and not is_compromised and name not in ("advance", "rotate_due"),
            frozenset({(domain, selector)} if is_compromised else ()),
        )

    # --- the world --------------------------------------------------------------------------------

    def generate(self, number, _force):
        """Insert a pending key beside others, as ``dkim.generate`` does."""
        slot = Slot(*SLOTS[number % len(SLOTS)])
        selector = f"made{number}"
        if slot.domain in DELEGATED or any(line[2] == selector for line in self.world.history):
            return
        state = "pending" if self.world.facts().active(slot) else "active"
        self.judged("generate", slot.domain, lambda: self.world.insert(slot, selector, 1024, state))

    def delete(self, number, force):
        keys = list(self.world.keys.values())
        if keys and (force or keys[number % len(keys)].state != "active"):
            key = keys[number % len(keys)]
            self.judged("delete", key.domain, lambda: self.world.delete(key), key.selector, force)

    def judged(self, name, domain, call, selector=None, force=False):
        before = self.world.facts()
        shown = self.judge.shown(before)
        call()
        operation = Operation(((name, domain, selector),), self.judge.now, force)
        texts = dict(self.world.servers[0].texts)
        self.judge.judge(operation, before, self.world.facts(), shown, texts)

    def publish(self, number, _force):
        if self.manual:
            self.world.publish_by_hand([(0,), (1,), (0, 1)][number % 3])

    def transfer(self, _number, _force):
        self.world.transfer()

    def fail(self, number, _force):
        self.world.servers[number % 2].answers = False

    def recover(self, number, _force):
        self.world.servers[number % 2].answers = True

    def lie(self, number, force):
        keys = list(self.world.keys.values())
        if keys and self.manual:
            key, server = keys[number % len(keys)], self.world.servers[number % 2]
            name = name_of(key)
            present = server.texts.get(name, ())
            lies = [(), (other_record(key),), (*present[:1], other_record(key))]
            server.texts[name] = lies[(number + force) % 3]

    def lapse(self, number, _force):
        """Publish a new record, remove or replace it for some time, and publish it again."""
        if not self.manual:
            return
        self.command("rotate", number)
        for turn in range(4):
            self.world.publish_by_hand((0, 1))
            if turn == 1:
                pending = [
                    n for n, one in enumerate(self.world.keys.values()) if one.state == "pending"
                ]
                self.lie(pending[-1] if pending else number, bool(number % 2))
            self.command("advance", number)
            self.let_pass(WAITS[(number + turn) % 4])

    def wait(self, number, _force):
        self.let_pass(WAITS[number % len(WAITS)])

    def let_pass(self, seconds):
        self.world.clock += timedelta(seconds=seconds)
        self.judge.passed += seconds

    def set_back(self, number, _force):
        seconds = WAITS[number % 7]
        self.world.clock -= timedelta(seconds=seconds)
        self.seconds_back += seconds

    # --- the end ----------------------------------------------------------------------------------

    def end(self):
        """Let servers answer, records arrive and time pass, until nothing is left to do."""
        waiting = []
        for server in self.world.servers:
            server.answers = True
        for seconds in (*UP_TO_EACH_MOVE, self.seconds_back, *[REVOKE_FOR + 1] * 6):
            self.settle()
            for domain in without_key(self.world.facts()):
                self.command("rotate", NAMES.index(domain), must=True)
            waiting = self.command("advance", 0, must=True)
            if not waiting and not without_key(self.world.facts()):
                break
            self.let_pass(seconds)
        found = self.world.facts()
        signing = sorted(key.slot for key in found.keys.values() if key.state == "active")
        assert signing == sorted(SLOTS)
        assert {key.state for key in found.keys.values()} <= {"active", "standby"}, waiting
        standby = sorted(key.slot for key in found.keys.values() if key.state == "standby")
        assert standby == (sorted(SLOTS) if self.standby else [])
        self.switches_at_once()

    def switches_at_once(self):
        """Assert that with a standby key a rotation switches in the same run."""
        if self.standby:
            before = self.world.facts()
            for number in range(len(NAMES)):
                self.command("rotate", number, must=True)
            after = self.world.facts()
            for slot in map(tuple, SLOTS):
                assert after.active(slot).id != before.active(slot).id
                assert before.keys[after.active(slot).id].state == "standby"

    def switch_setting(self, _number, _force):
        """Change the setting for standby keys."""
        self.standby = not self.standby
        old = self.world.settings
        rotation = replace(old.rotation, standby=self.standby)
        self.world.settings = replace(old, rotation=rotation)

    def settle(self):
        if self.manual:
            self.world.publish_by_hand((0, 1))
        else:
            self.world.transfer()


def check_histories(number, **options):
    """Play so many histories to their end and judge them."""

    @settings(
        max_examples=number, deadline=None, suppress_health_check=list(HealthCheck), **options
    )
    @given(st.booleans(), st.booleans(), st.lists(ACTIONS, max_size=30))
    def histories(automatic, standby, actions):
        history = History(automatic, standby)
        history.play(actions)
        history.end()

    histories()
