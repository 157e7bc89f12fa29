"""
Rotation as a state machine against a real PostgreSQL.

Commands come in any order, DNS lags, lies and disappears, the clock is set back, and a run dies at
any statement. A separate model judges the result (``rotation_model.judge``).

A few histories always run, the same each time. ``bin/test soak`` runs three hundred new ones on
each release. A failure prints ``@reproduce_failure(…)``, and ``--hypothesis-seed=N`` repeats a run:
``bin/test soak -- tests/functional/rotation/test_rotation_model.py --hypothesis-seed=N``. The plan
passes many thousands of histories in memory (``unit/rotation/test_histories.py``).
"""

import contextlib
import itertools
import threading
from dataclasses import replace
from functools import partial

import psycopg2
import pytest
from dkim_formula.dns import publish
from dkim_formula.dns.desired import desired_records
from dkim_formula.errors import FormulaError
from dkim_formula.keys import commands as keys_commands
from dkim_formula.postgres import connection as db
from dkim_formula.rotation import commands as rotation_commands
from dkim_formula.settings.model import Dns, Settings, Zone
from functional.rotation_model import facts
from functional.rotation_model.death import Death
from functional.rotation_model.domain_names import RECORD_TTL, TwoServers, Updates
from functional.rotation_model.histories import check_histories
from functional.rotation_model.judge import REVOKE_FOR, Judge, Operation, name_of
from functional.rotation_model.sites import (
    DELEGATED,
    DOMAINS,
    SLOTS,
    UP_TO_EACH_MOVE,
    WAITS,
    rotation_settings,
    without_key,
)
from functional.server import execute, rsa_key
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

pytestmark = pytest.mark.one_release

# The administrator's tool may insert an RSA key for any domain.
SLOTS_OF_TOOLS = [("address.example", "", "rsa"), ("elsewhere.example", "", "rsa")]
# CNAMEs in the delegating domain's own zone, also for keys of the administrator's tool.
ALIASES = "".join(
    f"{name}._domainkey CNAME {name}._domainkey.elsewhere.example.keys.example.\n"
    for name in ("one", "two", "three", *(f"tool{number}" for number in range(6)))
)
ZONES = {**dict.fromkeys(DOMAINS, ""), "elsewhere.example": ALIASES, "keys.example": ""}
# A command passes some tens of boundaries. A number after the last boundary kills nothing.
BOUNDARIES = st.one_of(st.none(), st.integers(0, 120))

_numbers = itertools.count(1)


class Stage:
    """What all histories share: PostgreSQL, the name servers and the killer of runs."""

    def __init__(self, server, template: str, world: TwoServers, death: Death):
        self.server, self.template, self.world, self.death = server, template, world, death
        self.passed = 0
        self.report = lambda text: None

    def count_passed(self):
        """Count one more history, and report every fiftieth."""
        self.passed += 1
        if self.passed % 50 == 0:
            self.report(f"{self.passed} histories passed")

    @contextlib.contextmanager
    def database(self):
        name = f"rotation{next(_numbers)}"
        with db.session(self.server.settings, autocommit=True) as connection:
            execute(connection, f"CREATE DATABASE {name} TEMPLATE {self.template}")
        try:
            yield replace(self.server.settings, name=name)
        finally:
            with db.session(self.server.settings, autocommit=True) as connection:
                execute(connection, f"DROP DATABASE {name} WITH (FORCE)")


class Histories(RuleBasedStateMachine):
    """One history of one database."""

    def __init__(self, stage: Stage):
        super().__init__()
        self.stage, self.world = stage, stage.world
        self.world.clear()
        self._open = contextlib.ExitStack()
        self.database = self._open.enter_context(stage.database())
        self.watcher = facts.Watcher(self._open.enter_context(db.session(self.database)))
        self.judge = Judge(self.world, DELEGATED)
        self.set_back = 0  # seconds by which the clock was set back in total

    @initialize(automatic=st.booleans(), standby=st.booleans())
    def first_keys(self, automatic, standby):
        servers = tuple(str(server) for server in self.world.servers)
        dns = Dns(
            publish="rfc2136" if automatic else "none",
            server=servers[0],
            ttl=RECORD_TTL,
            timeout=1,
            zones={zone: Zone(nameservers=servers) for zone in ZONES},
        )
        self.settings = Settings(
            database=self.database,
            domains=DOMAINS,
            dns=dns,
            rotation=rotation_settings(standby),
        )
        self.run(
            "generate_missing", lambda: keys_commands.generate_missing(self.settings), must=True
        )

    # --- commands --------------------------------------------------------------------------------

    @rule(domain=st.sampled_from(sorted(DOMAINS)), force=st.booleans(), death=BOUNDARIES)
    def rotate(self, domain, force, death):
        self.run(
            "rotate",
            lambda: rotation_commands.rotate(self.settings, domain, force=force),
            domain,
            forced=force,
            death=death,
        )

    @rule(death=BOUNDARIES)
    def advance(self, death):
        self.run("advance", lambda: rotation_commands.advance(self.settings), death=death)

    @rule(death=BOUNDARIES)
    def rotate_due(self, death):
        self.run("rotate_due", lambda: rotation_commands.rotate_due(self.settings), death=death)

    @rule(key=st.integers(0, 40), force=st.booleans(), death=BOUNDARIES)
    def activate(self, key, force, death):
        self.on_key("activate", rotation_commands.activate, key, death, force=force)

    @rule(key=st.integers(0, 40), force=st.booleans(), death=BOUNDARIES)
    def retire(self, key, force, death):
        self.on_key("retire", rotation_commands.retire, key, death, force=force)

    @rule(key=st.integers(0, 40), force=st.booleans(), death=BOUNDARIES)
    def revoke(self, key, force, death):
        self.on_key("revoke", rotation_commands.revoke, key, death, force=force)

    @rule(key=st.integers(0, 40), death=BOUNDARIES)
    def revoke_compromised(self, key, death):
        self.on_key("revoke", rotation_commands.revoke, key, death, compromised=True)

    @rule(key=st.integers(0, 40), force=st.booleans(), death=BOUNDARIES)
    def delete(self, key, force, death):
        self.on_key("delete", keys_commands.delete, key, death, force=force)

    @rule(slot=st.sampled_from(SLOTS), number=st.integers(0, 9), death=BOUNDARIES)
    def generate(self, slot, number, death):
        domain, _, algorithm = slot
        if domain == "elsewhere.example":
            return
        self.run(
            "generate",
            lambda: keys_commands.generate(self.settings, domain, f"made{number}", algorithm, 1024),
            domain,
            death=death,
        )

    @rule(death=BOUNDARIES)
    def generate_missing(self, death):
        self.run(
            "generate_missing", lambda: keys_commands.generate_missing(self.settings), death=death
        )

    @rule(domain=st.sampled_from(sorted(DOMAINS)), number=st.integers(0, 5))
    def another_tool_inserts_a_key(self, domain, number):
        def insert():
            with db.session(self.database) as connection:
                execute(
                    connection,
                    "INSERT INTO public.dkim (domain_id, selector, key)"
                    " SELECT id, %s, %s FROM public.domains WHERE domain = %s"
                    " AND NOT EXISTS (SELECT FROM public.dkim_history WHERE selector = %s)",
                    (f"tool{number}", rsa_key(number).pem(), domain, f"tool{number}"),
                )
            keys_commands.list_keys(self.settings)

        self.run("insert", insert, domain)

    @rule(
        domain=st.sampled_from(sorted(DOMAINS)),
        pair=st.sampled_from(["rotate rotate", "rotate advance", "advance advance", "due rotate"]),
        force=st.booleans(),
    )
    def two_at_once(self, domain, pair, force):
        calls = {
            "rotate": lambda: rotation_commands.rotate(self.settings, domain, force=force),
            "advance": lambda: rotation_commands.advance(self.settings),
            "due": lambda: rotation_commands.rotate_due(self.settings),
        }
        failures = []

        def call(name):
            try:
                calls[name]()
            except BaseException as error:
                failures.append(error)

        def both():
            threads = [threading.Thread(target=call, args=[name]) for name in pair.split()]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert failures == []

        self.run("rotate", both, domain, forced=force and "rotate" in pair, alone=False)

    @rule(
        command=st.sampled_from(["rotate", "advance", "due", "activate", "revoke"]),
        domain=st.sampled_from(sorted(DOMAINS)),
        key=st.integers(0, 40),
        force=st.booleans(),
    )
    def preview_equals_run(self, command, domain, key, force):
        chosen = self.chosen(key)
        calls = {
            "rotate": lambda **test: rotation_commands.rotate(
                self.settings, domain, force=force, **test
            ),
            "advance": lambda **test: rotation_commands.advance(self.settings, **test),
            "due": lambda **test: rotation_commands.rotate_due(self.settings, **test),
        }
        if command in ("activate", "revoke"):
            if chosen is None:
                return
            step = getattr(rotation_commands, command)
            domain = chosen.domain
            calls[command] = lambda **test: step(
                self.settings, chosen.domain, chosen.selector, force=force, **test
            )
        planned, done = [], []

        def plan():
            planned.append(self.changes(lambda: calls[command](test=True)))

        before, dns_before = self.watcher.read(), self.dns()
        self.run("test", plan, alone=False)
        assert self.watcher.read() == before, "a test run changed something"
        assert self.dns() == dns_before, "a test run changed DNS"
        self.run(
            command,
            lambda: done.append(self.changes(calls[command])),
            domain,
            chosen.selector if chosen is not None else None,
            forced=force,
        )
        assert planned == done

    # --- the world -------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from(WAITS))
    def time_passes(self, seconds):
        self.watcher.let_pass(seconds)
        self.judge.passed += seconds

    @rule(seconds=st.sampled_from(WAITS[:7]))
    def clock_is_set_back(self, seconds):
        self.watcher.let_pass(-seconds)
        self.set_back += seconds

    @rule(which=st.sampled_from([(0,), (1,), (0, 1)]))
    def person_publishes_by_hand(self, which):
        if self.settings.dns.publish == "none":
            self.publish_by_hand(which)

    @rule()
    def secondary_catches_up(self):
        self.world.transfer()

    @rule(which=st.integers(0, 1), answers=st.booleans())
    def server_fails_or_recovers(self, which, answers):
        self.world.servers[which].rcode = None if answers else 2  # SERVFAIL

    @precondition(lambda self: self.settings.dns.publish == "none")
    @rule(
        which=st.integers(0, 1),
        key=st.integers(0, 40),
        lie=st.sampled_from(["absent", "other", "two"]),
    )
    def server_lies(self, which, key, lie):
        chosen = self.chosen(key)
        if chosen is not None:
            other = "v=DKIM1; k=rsa; t=s; p=MIIBother"
            found = self.world.texts(self.world.servers[which], name_of(chosen))
            values = {"absent": (), "other": (other,), "two": (*found[:1], other)}[lie]
            self.world.set(self.world.servers[which], name_of(chosen), values)

    @precondition(lambda self: self.settings.dns.publish == "none")
    @rule(
        domain=st.sampled_from(sorted(DOMAINS)),
        lie=st.sampled_from(["absent", "other", "two"]),
        waits=st.lists(st.sampled_from(WAITS[:4]), min_size=3, max_size=3),
    )
    def new_record_disappears_and_returns(self, domain, lie, waits):
        self.rotate(domain, force=False, death=None)
        self.publish_by_hand((0, 1))
        for seconds in waits:
            self.advance(death=None)
            self.time_passes(seconds)
            found = list(self.watcher.read().keys.values())
            new = [n for n, key in enumerate(found) if key.state == "pending"]
            if seconds == waits[0] and new:
                self.server_lies(which=1, key=new[-1], lie=lie)
                self.advance(death=None)
                self.publish_by_hand((0, 1))
        self.advance(death=None)

    # --- the end ---------------------------------------------------------------------------------

    def teardown(self):
        try:
            self.finish_all_rotations()
            self.stage.count_passed()
        finally:
            self._open.close()

    def finish_all_rotations(self):
        """Let servers answer, records arrive and time pass, until nothing is left to do."""
        for server in self.world.servers:
            server.rcode = None
        self.run(
            "generate_missing", lambda: keys_commands.generate_missing(self.settings), must=True
        )
        reports = []
        # A clock that was set back makes some stored times lie in the future.
        for seconds in (*UP_TO_EACH_MOVE, self.set_back, *[REVOKE_FOR + 1] * 6):
            self.settle()
            # If no selector of a delegation is free, rotate asks for a later run.
            for domain in without_key(self.watcher.read()):
                rotate = partial(rotation_commands.rotate, self.settings, domain)
                self.run("rotate", rotate, domain, must=True)
            self.run(
                "advance",
                lambda: reports.append(rotation_commands.advance(self.settings)),
                must=True,
            )
            found = self.watcher.read()
            all_sign = all(key.state in ("active", "standby") for key in found.keys.values())
            if all_sign and self.has_standby_keys(found) and not without_key(found):
                break
            self.time_passes(seconds)
        found = self.watcher.read()
        signing = sorted(key.slot for key in found.keys.values() if key.state == "active")
        assert [slot for slot in signing if slot not in SLOTS_OF_TOOLS] == sorted(SLOTS)
        unfinished = [key for key in found.keys.values() if key.state not in ("active", "standby")]
        assert unfinished == [], reports[-1]
        assert self.has_standby_keys(found), reports[-1]

    def has_standby_keys(self, found):
        """Return whether the slots have standby keys exactly if the settings ask for them."""
        standby = sorted(key.slot for key in found.keys.values() if key.state == "standby")
        return standby == (sorted(SLOTS) if self.settings.rotation.standby else [])

    @rule()
    def standby_setting_is_changed(self):
        rotation = self.settings.rotation
        changed = replace(rotation, standby=not rotation.standby)
        self.settings = replace(self.settings, rotation=changed)

    def settle(self):
        if self.settings.dns.publish == "none":
            self.publish_by_hand((0, 1))
        else:
            self.world.transfer()

    # --- tools -----------------------------------------------------------------------------------

    def run(
        self, name, call, domain=None, selector=None, *, forced=False, compromised=frozenset(),
        death=None, alone=True, must=False,
    ):  # fmt: skip
        """Run one command, kill it at the boundary ``death``, and judge the result."""
        before = self.watcher.read()
        shown = self.judge.shown(before)
        texts = self.dns()[0]
        for server in self.world.servers:
            server.asked.clear()
        operation = Operation(((name, domain, selector),), self.judge.now, forced, compromised)
        with self.stage.death.at(death):
            try:
                call()
            except FormulaError:
                if must:
                    raise
                operation.refused = alone
        operation.completed = alone and not self.stage.death.happened
        operation.refused = operation.refused and operation.completed
        asked = [{text for _, text, _ in server.asked} for server in self.world.servers]
        operation.asked = frozenset(asked[0] & asked[1])
        self.judge.judge(operation, before, self.watcher.read(), shown, texts)

    def on_key(self, name, function, number, death, **options):
        key = self.chosen(number)
        if key is None:
            return
        compromised = options.get("compromised", False)
        self.run(
            name,
            lambda: function(self.settings, key.domain, key.selector, **options),
            key.domain,
            key.selector,
            forced=options.get("force", False),
            compromised=frozenset({(key.domain, key.selector)} if compromised else ()),
            death=death,
        )

    def chosen(self, number):
        found = list(self.watcher.read().keys.values())
        return found[number % len(found)] if found else None

    def changes(self, call):
        try:
            return call()["changes"]
        except FormulaError as error:
            return str(error)

    def dns(self):
        return [
            {name: self.world.texts(server, name) for name in self.world.names(server)}
            for server in self.world.servers
        ]

    def publish_by_hand(self, which):
        desired = {
            record.name: record.value
            for record in desired_records(self.settings)
            if record.purpose == "dkim"
        }
        for server in (self.world.servers[number] for number in which):
            for name in set(self.world.names(server)) - desired.keys():
                self.world.set(server, name, ())
            for name, value in desired.items():
                self.world.set(server, name, (value,))


@pytest.fixture
def stage(server, ready_template, monkeypatch):
    name = "rotation"
    with db.session(server.settings, autocommit=True) as connection:
        execute(connection, f"CREATE DATABASE {name} TEMPLATE {ready_template}")
    with db.session(replace(server.settings, name=name)) as connection:
        execute(connection, "DELETE FROM public.domains")
        for domain in DOMAINS:
            execute(connection, "INSERT INTO public.domains (domain) VALUES (%s)", (domain,))
    death = Death()
    monkeypatch.setattr(psycopg2, "connect", death.connect)
    with TwoServers(ZONES) as world:
        monkeypatch.setattr(publish, "Publisher", Updates(world, death))
        yield Stage(server, name, world, death)
    monkeypatch.undo()
    with db.session(server.settings, autocommit=True) as connection:
        execute(connection, f"DROP DATABASE {name} WITH (FORCE)")


def run_histories(stage, number, **options):
    run_state_machine_as_test(
        lambda: Histories(stage),
        settings=settings(
            max_examples=number,
            stateful_step_count=30,
            suppress_health_check=list(HealthCheck),
            **options,
        ),
    )


def test_some_histories_fulfil_the_contract(stage):
    run_histories(stage, 4)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_hundreds_of_histories_fulfil_the_contract(stage, capsys):
    def report(text):
        with capsys.disabled():
            print(f"\n    {text}", flush=True)

    stage.report = report
    run_histories(stage, 300, derandomize=False, print_blob=True)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_a_hundred_thousand_histories_in_memory_fulfil_the_contract():
    check_histories(100_000, derandomize=False, print_blob=True, database=None)
