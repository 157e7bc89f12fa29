"""
Every execution function and every state on a database with every odd row, in each encoding.

The examples come from test_module_every.py and test_state_every.py. Those files fail if a function
or a state has no example.
"""

import sys
import zlib

import pytest
from dkim_formula.dns import changes as dns_publish
from dkim_formula.dns import check as dns_check
from dkim_formula.dns.query import DnsClient
from dkim_formula.health import check_database as doctor_database
from dkim_formula.health import model as health_model
from dkim_formula.postfix import control, main_cf, queue, saved_values
from dkim_formula.postgres import connection as db
from dkim_formula.signer import config_check
from dkim_formula.unattended import saved
from functional import dirty
from functional.salt.test_module_every import EXAMPLES
from functional.salt.test_state_every import CASES, PASSWORD, World
from functional.salt_loaders import stand_in, watched
from functional.server import execute, insert_as_howto, move, query, traditional_pem
from salt.exceptions import CommandExecutionError, SaltInvocationError
from support.share import short_form

pytestmark = pytest.mark.one_release

GOOD = "example.com"
# These run after all others, because they end keys that other functions need.
LAST = ("dkim.revoke", "dkim.delete", "dkim.retire")


class DirtyWorld(World):
    """A world with an existing database that has odd rows."""

    def reset(self):
        """Reset the pillar and the services. The database stays as it is."""
        self.minion.set_pillar(
            database={"manage": False, "reader": {"password": PASSWORD}},
            domains={
                "*": {},
                GOOD: {"mta_sts": {"mx": ["mail.example.com"]}},
                "example.org": {},
                "example.net": {},
            },
            dns={"resolver": "127.0.0.1@1", "timeout": 1},
            rotation={"first_key_waits": False},
        )
        self.services.failing.clear()

    def schema(self):
        self.minion.call("dkim_postgres.manage_schema")

    def key(self, selector="default"):
        with db.session(self.minion.database) as connection:
            if not query(connection, "SELECT FROM public.dkim WHERE selector = %s", (selector,)):
                insert_as_howto(connection, GOOD, selector, traditional_pem(8))
        self.minion.call("dkim.generate_missing")

    def retired_key(self):
        self.key("s2024")
        with db.session(self.minion.database) as connection:
            move(connection, self.minion.database, "s2024", "retired")


@pytest.fixture
def clean_server(server):
    """The server, whose access files are restored afterwards."""
    access_files = {path: path.read_text() for path in server.data.glob("pg_*.conf")}
    yield server
    for path, text in access_files.items():
        path.write_text(text)
    with db.session(server.settings) as connection:
        execute(connection, "SELECT pg_reload_conf()")


# A database in SQL_ASCII can hold every odd row.
MOST_ROWS = pytest.mark.parametrize(
    "world", short_form(["SQL_ASCII", "UTF8", "LATIN1"]), indirect=True
)


@pytest.fixture(params=dirty.ENCODINGS)
def world(loaded, clean_server, database, caplog, tmp_path, monkeypatch, request):
    """A minion with a database of the howto, which has every odd row and is not yet adopted."""
    odd = dirty.recreate(clean_server, database, request.param)
    with watched(loaded, database, caplog) as minion:
        world = DirtyWorld(minion, clean_server, tmp_path)
        world.odd = odd
        world.encoding = request.param
        minion.secrets.add(PASSWORD)
        stand_in(monkeypatch, minion.functions, world.services.functions())
        monkeypatch.setattr(saved, "FOLDER", str(tmp_path / "jobs"))
        monkeypatch.setattr(main_cf, "POSTCONF", str(world.postfix.postconf))
        monkeypatch.setattr(saved_values, "PATH", str(tmp_path / "memory.json"))
        monkeypatch.setattr(control, "running", lambda: world.services.runs["postfix"])
        # No server answers at the resolver's address, so a longer timeout would only cost time.
        for module in (dns_check, dns_publish):
            monkeypatch.setattr(module, "DnsClient", lambda _timeout, most: DnsClient(0.02, most))
        monkeypatch.setattr(config_check, "PROGRAM", "/bin/true")
        monkeypatch.setattr(health_model, "OPENDKIM", sys.executable)
        monkeypatch.setattr(doctor_database, "logins", lambda site: [])
        for name in ("mail.private", "KeyTable"):
            text = traditional_pem(9) if name == "mail.private" else ""
            (tmp_path / name).write_text(text or f"a example.net:mail:{tmp_path}/mail.private\n")
            (tmp_path / name).chmod(0o600)
        world.reset()
        yield world
        world.daemon.stop()


def arguments_of(function, folder):
    return [
        one.format(folder=folder) if isinstance(one, str) else one for one in EXAMPLES[function][0]
    ]


def call(world, function, *arguments, refusals=()):
    """
    Call a function. Return its return and an empty text, or None and the failure as a text.

    An exception in ``refusals`` is not a failure.
    """
    try:
        return world.minion.call(function, *arguments), ""
    except refusals:
        return None, ""
    except Exception as error:
        return None, f"{function}{arguments}: {type(error).__name__}: {error}"


def good_keys(world):
    """Return state and problem of the good key of example.org, by domain."""
    listed = world.minion.call("dkim.list_keys")
    return {
        key["domain"]: (key["state"], key["problem"])
        for key in listed
        if key["domain"] == "example.org" and key["selector"] == "default"
    }


def test_every_function_runs_on_a_dirty_database_before_and_after_adoption(world, tmp_path):
    failures = [call(world, "dkim.check")[1], call(world, "dkim.doctor")[1]]
    world.schema()
    world.minion.call("dkim.generate_missing")
    world.minion.call("dkim.generate", GOOD, "s2026", "rsa")
    with db.session(world.minion.database, setup=True) as connection:
        standby = "INSERT INTO public.dkim_replica (name, address, mark_lsn) VALUES"
        execute(connection, f"{standby} ('db2', '192.0.2.11', pg_current_wal_lsn())")
    for function in [*(one for one in EXAMPLES if one not in LAST), *LAST]:
        world.reset()
        _, failure = call(world, function, *arguments_of(function, tmp_path))
        failures.append(failure)
    assert [failure for failure in failures if failure] == []
    assert good_keys(world) == {"example.org": ("active", "")}


OF_ENCODINGS = {row.domain for row in dirty.undecodable()}
# The arguments of each function for a row, from the row's domain and selector.
NAMED = {
    "dkim.list_keys": lambda name, selector: (name,),
    "dkim.status": lambda name, selector: (name,),
    "dkim.records": lambda name, selector: (name,),
    "dkim.public_key": lambda name, selector: (name, selector),
    "dkim.rotate": lambda name, selector: (name,),
    "dkim.advance": lambda name, selector: (name,),
    "dkim.retire": lambda name, selector: (name, selector),
    "dkim.delete": lambda name, selector: (name, selector),
}


def functions_for(encoding, name, selector):
    """
    Return the functions that get a row in an encoding.

    Each function gets the row in one of the three encodings. If some encoding cannot hold the row,
    all functions get the row in each other encoding.
    """
    if name in OF_ENCODINGS or not f"{name}{selector}".isascii() or "\\x" in f"{name}{selector}":
        return list(NAMED)
    first = zlib.crc32(f"{name} {selector}".encode()) + dirty.ENCODINGS.index(encoding)
    return [one for number, one in enumerate(NAMED) if (first + number) % len(dirty.ENCODINGS) == 0]


def test_every_function_is_given_every_row_in_some_encoding():
    for row in dirty.rows():
        given = [
            function
            for encoding in dirty.ENCODINGS
            for function in functions_for(encoding, row.domain, row.selector)
        ]
        assert sorted(given) == sorted(NAMED)


@MOST_ROWS
def test_every_function_accepts_or_refuses_the_name_of_an_odd_row(world, monkeypatch):
    # An answer of this test's postconf double takes as long as all other parts of a call.
    monkeypatch.setattr(queue, "longest", lambda: (432000, "maximal_queue_lifetime"))
    world.schema()
    world.minion.call("dkim.generate_missing")
    failures, done = [], set()
    refusals = (CommandExecutionError, SaltInvocationError)
    for key in world.minion.call("dkim.list_keys"):
        name, selector = key["domain"], key["selector"]
        for function in functions_for(world.encoding, name, selector):
            arguments = NAMED[function](name, selector)
            failures.append(call(world, function, *arguments, refusals=refusals)[1])
            done.add(function)
    assert [failure for failure in failures if failure] == []
    assert done == set(NAMED)


@MOST_ROWS
def test_each_odd_row_is_reported_and_dkim_delete_removes_it(world):
    world.schema()
    world.minion.call("dkim.generate_missing")
    for function in ("dkim.list_keys", "dkim.status"):
        listed = {(key["domain"], key["selector"]): key for key in world.minion.call(function)}
        for row in world.odd:
            if row.problem and (row.domain, row.selector) in listed:
                assert row.problem in listed[row.domain, row.selector]["problem"], row.domain
    for row in [row for row in world.odd if not row.signs]:
        stored = [
            key for key in world.minion.call("dkim.list_keys", row.domain) if not key["public_key"]
        ]
        for key in stored:
            world.minion.call("dkim.delete", key["domain"], key["selector"], True)


@MOST_ROWS
def test_every_state_runs_on_a_dirty_database(world, monkeypatch):
    world.schema()
    world.minion.call("dkim.generate_missing")
    # No OpenDKIM runs here, so signing is not checked.
    doubles = {"dkim.publish": world.dns.publish, "dkim_sls.signing_problems": list}
    stand_in(monkeypatch, world.minion.functions, doubles)
    failures = []
    for state, case in CASES.items():
        world.reset()
        prepare = getattr(DirtyWorld, case.prepare.__name__, case.prepare)
        prepare(world)
        given = {"name": case.name, **case.given(world)}
        for test in (True, False):
            done = world.minion.state(state, test=test, **given)
            if done["result"] is False or "Traceback" in done["comment"]:
                failures.append((state, test, done["comment"][-300:]))
    assert failures == []
    world.reset()
    assert good_keys(world) == {"example.org": ("active", "")}
