"""States that fail midway: they return the changes that stay, and the next run completes them."""

import contextlib
from dataclasses import replace
from functools import partial

import psycopg2
import pytest
from dkim_formula import errors
from dkim_formula.converge import converge, failed
from dkim_formula.keys import bulk_generation
from dkim_formula.keys import changes as key_changes
from dkim_formula.keys import commands as keys_commands
from dkim_formula.postgres import access_files
from dkim_formula.postgres import commands as postgres_commands
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import roles as role_table
from dkim_formula.postgres import server as databases
from dkim_formula.settings.model import Domain, KeyPlan, Settings
from functional.server import execute, query
from support.share import short_form

pytestmark = pytest.mark.one_release

COMMENTS = {"ok": "in order", "pending": "pending", "done": "done"}
READER = "vmail-dkim-reader"


class FaultySessions:
    """
    Sessions of the library in which the n-th statement, commit or COPY fails by a connection error.

    Statements outside :meth:`at` never fail.
    """

    def __init__(self, monkeypatch):
        self.left = None
        self.counted = 0
        connect = psycopg2.connect
        monkeypatch.setattr(psycopg2, "connect", lambda **given: connect(**given, **self._kwargs()))

    def _kwargs(self):
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


def run(read, change):
    """Return a state's return, with the library's errors as a state shows them."""
    try:
        return converge("it", False, read, change, **COMMENTS)
    except errors.FormulaError as error:
        return failed("it", error)


def settings_with_keys(ready, count=5):
    names = [f"d{number}.example" for number in range(count)]
    plan = (KeyPlan("ed25519", "s1"),)
    domains = {name: Domain(name, keys=plan, subdomains=True) for name in names}
    return Settings(database=ready, domains=domains)


def key_states(ready):
    """Return what keys_managed may change, named as in the state's changes."""
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
        snapshot = role_table.read(connection, role_table.DesiredRole(READER))
        return {"exists": snapshot.exists, "granted": snapshot.granted}


def statements(faults, action):
    """Return how many statements an action executes."""
    before = faults.counted
    action()
    return faults.counted - before


@pytest.mark.parametrize("part", short_form(range(4)))
def test_failed_run_reports_the_keys_that_it_stored(
    server, ready_template, ready, monkeypatch, part
):
    """Each statement fails in turn, a quarter of the statements in each part."""
    monkeypatch.setattr(bulk_generation, "_BATCH_PER_WORKER", 1)
    monkeypatch.setattr(bulk_generation.os, "sched_getaffinity", lambda _pid: {0, 1})
    faults = FaultySessions(monkeypatch)
    settings = settings_with_keys(ready)
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
        different = {name for name in {*start, *now} if start.get(name) != now.get(name)}
        assert set(made["changes"]) == different, number
        keys_commands.generate_missing(settings)
        assert set(key_states(ready)) == everything
        with db.session(ready, setup=True) as connection:
            execute(connection, "DELETE FROM public.dkim; DELETE FROM public.dkim_pattern")
            execute(connection, "DELETE FROM public.dkim_history")


def _failing(faults, number, settings):
    with faults.at(number):
        return keys_commands.generate_missing(settings)


def test_failed_run_reports_its_stored_keys_without_a_second_read(ready, monkeypatch):
    """A second read fails, so the run itself must record the stored keys."""
    monkeypatch.setattr(bulk_generation, "_BATCH_PER_WORKER", 1)
    monkeypatch.setattr(bulk_generation.os, "sched_getaffinity", lambda _pid: {0, 1})
    settings = settings_with_keys(ready)
    store = key_changes.store
    stored = []

    def once(*given, **more):
        if stored:
            raise errors.DatabaseError("the fault of the test")
        stored.extend(store(*given, **more))
        return stored

    monkeypatch.setattr(bulk_generation, "store", once)
    reads = iter([keys_commands.generate_missing(settings, test=True)])

    def read():
        try:
            return next(reads)
        except StopIteration:
            raise errors.DatabaseError("the database is away") from None

    made = run(read, lambda: keys_commands.generate_missing(settings))
    assert made["result"] is False
    assert made["comment"] == "the fault of the test"
    kept = {f"key {key.selector}._domainkey.{key.domain}" for key in stored}
    assert kept
    assert {name for name in made["changes"] if name.startswith("key ")} == kept


def test_rights_of_a_role_are_granted_all_together_or_not_at_all(ready, monkeypatch):
    faults = FaultySessions(monkeypatch)
    role = postgres_commands.desired_role(ready, READER, "absent")

    def read():
        return postgres_commands.manage_role(ready, role, test=True)

    def reset():
        with db.session(ready, setup=True) as connection:
            execute(connection, f'DROP OWNED BY "{READER}"; DROP ROLE "{READER}"')

    total = statements(faults, lambda: postgres_commands.manage_role(ready, role))
    full = role_states(ready)
    for number in range(1, total + 1):
        reset()
        announced = read()["changes"]

        def fail(number=number):
            with faults.at(number):
                return postgres_commands.manage_role(ready, role)

        made = run(read, fail)
        # If one of the last statements fails, the changes are already committed.
        expected = announced if role_states(ready) == full else {}
        assert made["changes"] == expected, number
        postgres_commands.manage_role(ready, role)
        assert role_states(ready) == full


def test_failed_creation_of_a_database_reports_the_new_owner(server, database, monkeypatch):
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


def test_written_access_files_are_reported_if_loading_fails(server, ready, monkeypatch):
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


def test_change_of_an_unreadable_key_is_announced(ready):
    """Another tool's row has an unreadable key, which would defer every mail of the domain."""
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
    assert {name for name in now if now.get(name) != before.get(name)} == set(announced)
    assert keys_commands.generate_missing(settings, test=True)["changes"] == {}
