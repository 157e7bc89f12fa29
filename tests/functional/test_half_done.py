"""A state that fails midway returns what it had done, and the next run completes it."""

import contextlib
from dataclasses import replace
from functools import partial

import psycopg2
import pytest
from dkim_formula import errors
from dkim_formula.converge import converge, failed
from dkim_formula.keys import changes as key_changes
from dkim_formula.keys import commands as keys_commands
from dkim_formula.keys import generate as keys_generate
from dkim_formula.postgres import access_files
from dkim_formula.postgres import commands as postgres_commands
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import roles as role_table
from dkim_formula.postgres import server as databases
from dkim_formula.settings.model import Domain, KeyPlan, Settings
from functional.postgres import execute, query

pytestmark = pytest.mark.one_release

COMMENTS = {"in_order": "in order", "pending": "pending", "done": "done"}
READER = "vmail-dkim-reader"


class Broken(Exception):
    """The fault that a test puts in."""


class Faulty:
    """
    Ends the n-th statement, commit or COPY of the library's sessions by an error of the connection.
    Statements of the test's own looks don't count.
    """

    def __init__(self, monkeypatch):
        self.left = None
        self.counted = 0
        connect = psycopg2.connect
        monkeypatch.setattr(psycopg2, "connect", lambda **given: connect(**given, **self._made()))

    def _made(self):
        return {"connection_factory": self._connection_class()}

    def step(self):
        self.counted += 1
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                self.left = None
                raise psycopg2.OperationalError("the fault of the test")

    def _connection_class(self):
        faults = self

        class Cursor(psycopg2.extensions.cursor):
            def execute(self, *given):
                faults.step()
                return super().execute(*given)

            def copy_expert(self, *given):
                faults.step()
                return super().copy_expert(*given)

        class Connection(psycopg2.extensions.connection):
            def cursor(self, *given, **named):
                return super().cursor(*given, cursor_factory=Cursor, **named)

            def commit(self):
                faults.step()
                return super().commit()

        return Connection

    @contextlib.contextmanager
    def at(self, number):
        self.left = number
        try:
            yield
        finally:
            self.left = None


def run(look, change):
    """A state's return, with the library's errors as a state shows them."""
    try:
        return converge("it", False, look, change, **COMMENTS)
    except errors.FormulaError as error:
        return failed("it", error)


def wanted(ready, count=5):
    names = [f"d{number}.example" for number in range(count)]
    plan = (KeyPlan("ed25519", "s1"),)
    domains = {name: Domain(name, keys=plan, subdomains=True) for name in names}
    return Settings(database=ready, domains=domains)


def key_states(ready):
    """What keys_managed may change, as the state's changes name it."""
    with db.session(ready, setup=True) as connection:
        found = {}
        for selector, name, state in query(
            connection, "SELECT selector, domain, state FROM public.dkim"
        ):
            found[f"key {selector}._domainkey.{name}"] = state
        for (pattern,) in query(connection, "SELECT pattern FROM public.dkim_pattern"):
            found[f"pattern {pattern}"] = "there"
        return found


def role_states(settings):
    with db.session(settings, setup=True) as connection:
        snapshot = role_table.look(connection, role_table.DesiredRole(READER))
        return {"exists": snapshot.exists, "granted": snapshot.granted}


def statements(faults, action):
    """How many statements an action takes."""
    before = faults.counted
    action()
    return faults.counted - before


@pytest.mark.parametrize("part", range(4))
def test_keys_that_are_kept_are_told_wherever_the_run_fails(
    server, ready_template, ready, monkeypatch, part
):
    """Every statement in turn, a quarter of them in each part."""
    monkeypatch.setattr(keys_generate, "_BATCH_PER_WORKER", 1)
    monkeypatch.setattr(keys_generate.os, "sched_getaffinity", lambda _pid: {0, 1})
    faults = Faulty(monkeypatch)
    settings = wanted(ready)
    total = statements(faults, lambda: keys_commands.generate_missing(settings))
    everything = set(key_states(ready))
    with db.session(ready, setup=True) as connection:
        execute(connection, "DELETE FROM public.dkim; DELETE FROM public.dkim_pattern")
        execute(connection, "DELETE FROM public.dkim_history")
    start = key_states(ready)
    assert total > 30
    for number in range(1 + part, total + 1, 4):
        made = run(
            lambda: keys_commands.generate_missing(settings, test=True),
            partial(_failing, faults, number, settings),
        )
        now = key_states(ready)
        different = {what for what in {*start, *now} if start.get(what) != now.get(what)}
        assert set(made["changes"]) == different, number
        keys_commands.generate_missing(settings)
        assert set(key_states(ready)) == everything
        with db.session(ready, setup=True) as connection:
            execute(connection, "DELETE FROM public.dkim; DELETE FROM public.dkim_pattern")
            execute(connection, "DELETE FROM public.dkim_history")


def _failing(faults, number, settings):
    with faults.at(number):
        return keys_commands.generate_missing(settings)


def test_keys_that_are_kept_are_told_where_the_database_is_away_afterwards(ready, monkeypatch):
    """No second look can tell, so that the run itself has to."""
    monkeypatch.setattr(keys_generate, "_BATCH_PER_WORKER", 1)
    monkeypatch.setattr(keys_generate.os, "sched_getaffinity", lambda _pid: {0, 1})
    settings = wanted(ready)
    store = key_changes.store
    stored = []

    def once(*given, **more):
        if stored:
            raise errors.DatabaseError("the fault of the test")
        stored.extend(store(*given, **more))
        return stored

    monkeypatch.setattr(keys_generate, "store", once)
    looks = iter([keys_commands.generate_missing(settings, test=True)])

    def look():
        try:
            return next(looks)
        except StopIteration:
            raise errors.DatabaseError("the database is away") from None

    made = run(look, lambda: keys_commands.generate_missing(settings))
    assert made["result"] is False
    assert made["comment"] == "the fault of the test"
    kept = {f"key {key.selector}._domainkey.{key.domain}" for key in stored}
    assert kept
    assert {what for what in made["changes"] if what.startswith("key ")} == kept


def test_rights_of_a_role_come_together_or_not_at_all(ready, monkeypatch):
    faults = Faulty(monkeypatch)
    role = postgres_commands.wanted_role(ready, READER, "absent")

    def look():
        return postgres_commands.manage_role(ready, role, test=True)

    def reset():
        with db.session(ready, setup=True) as connection:
            execute(connection, f'DROP OWNED BY "{READER}"; DROP ROLE "{READER}"')

    total = statements(faults, lambda: postgres_commands.manage_role(ready, role))
    full = role_states(ready)
    for number in range(1, total + 1):
        reset()
        announced = look()["changes"]

        def fail(number=number):
            with faults.at(number):
                return postgres_commands.manage_role(ready, role)

        made = run(look, fail)
        # The last statements come after the commit.
        expected = announced if role_states(ready) == full else {}
        assert made["changes"] == expected, number
        postgres_commands.manage_role(ready, role)
        assert role_states(ready) == full


def test_owner_that_was_made_before_the_database_failed_is_told(server, database, monkeypatch):
    settings = replace(database, name="halfmail", owner="halfowner")

    def fail(*_given):
        raise errors.DatabaseError("no space for a database")

    monkeypatch.setattr(databases, "_create", fail)
    made = run(
        lambda: postgres_commands.manage_database(settings, test=True),
        lambda: postgres_commands.manage_database(settings),
    )
    assert set(made["changes"]) == {"role halfowner"}
    monkeypatch.undo()
    assert set(postgres_commands.manage_database(settings)["changes"]) == {"database halfmail"}
    with db.session(server.settings, setup=True, autocommit=True) as connection:
        execute(connection, "DROP DATABASE halfmail")


def test_access_files_that_are_written_and_not_loaded_are_told(server, ready, monkeypatch):
    files = [server.data / name for name in ("pg_hba.conf", "pg_ident.conf")]
    before = [path.read_bytes() for path in files]

    def fail(*_given):
        raise errors.AccessFileError("PostgreSQL did not load its access files")

    monkeypatch.setattr(access_files, "_wait_until_loaded", fail)
    try:
        made = run(
            lambda: postgres_commands.manage_access(ready, test=True),
            lambda: postgres_commands.manage_access(ready),
        )
        assert [path.read_bytes() for path in files] != before
        assert set(made["changes"]) == {"pg_hba.conf", "pg_ident.conf"}
    finally:
        monkeypatch.undo()
        for path, content in zip(files, before, strict=True):
            path.write_bytes(content)
        with db.session(server.settings, setup=True) as connection:
            execute(connection, "SELECT pg_reload_conf()")


def test_key_that_a_run_takes_out_of_use_is_announced(ready):
    """A row of another tool's that can't be read: with it each mail of the domain is deferred."""
    settings = Settings(database=ready, domains={"example.org": Domain("example.org")})
    with db.session(ready, setup=True) as connection:
        execute(
            connection,
            "INSERT INTO public.dkim (domain_id, selector, key)"
            " SELECT id, 'odd', 'no key at all' FROM public.domains WHERE domain = 'example.com'",
        )
    before = key_states(ready)
    announced = keys_commands.generate_missing(settings, test=True)["changes"]
    assert key_states(ready) == before
    assert keys_commands.generate_missing(settings)["changes"] == announced
    now = key_states(ready)
    assert {what for what in now if now.get(what) != before.get(what)} == set(announced)
    assert keys_commands.generate_missing(settings, test=True)["changes"] == {}
