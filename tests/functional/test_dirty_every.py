"""
Every execution function and every state over a database with every odd row, in each encoding.

A function or state without an example in test_module_every.py or test_state_every.py fails there.
"""

import sys
import zlib

import pytest
from dkim_formula.dns import changes as dns_publish
from dkim_formula.dns import check as dns_check
from dkim_formula.dns.query import DnsClient
from dkim_formula.health import check_database as doctor_database
from dkim_formula.health import model as health_model
from dkim_formula.postfix import control, joining, main_cf, queue
from dkim_formula.postgres import connection as db
from dkim_formula.signer import trial
from dkim_formula.unattended import saved
from functional import dirty
from functional.postgres import execute, insert_as_howto, move, query, traditional_pem
from functional.salt_loaders import stand_in, watched
from functional.test_module_every import EXAMPLES
from functional.test_state_every import CASES, PASSWORD, World
from salt.exceptions import CommandExecutionError, SaltInvocationError

pytestmark = pytest.mark.one_release

GOOD = "example.com"
# After all others, since they end what others begin.
LAST = ("dkim.revoke", "dkim.delete", "dkim.retire")


class DirtyWorld(World):
    """A world whose database is there already, odd as it is."""

    def start_anew(self):
        """The pillar and the services as they were; what is in the database stays."""
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
    """The server, whose access files are put back."""
    access_files = {path: path.read_text() for path in server.data.glob("pg_*.conf")}
    yield server
    for path, text in access_files.items():
        path.write_text(text)
    with db.session(server.settings) as connection:
        execute(connection, "SELECT pg_reload_conf()")


@pytest.fixture(params=dirty.ENCODINGS)
def world(loaded, clean_server, database, caplog, tmp_path, monkeypatch, request):
    """A minion whose howto database has every odd row, not yet adopted."""
    odd = dirty.make_again(clean_server, database, request.param)
    with watched(loaded, database, caplog) as minion:
        world = DirtyWorld(minion, clean_server, tmp_path)
        world.odd = odd
        world.encoding = request.param
        minion.secrets.add(PASSWORD)
        stand_in(monkeypatch, minion.functions, world.services.functions())
        monkeypatch.setattr(saved, "FOLDER", str(tmp_path / "jobs"))
        monkeypatch.setattr(main_cf, "POSTCONF", str(world.postfix.postconf))
        monkeypatch.setattr(joining, "MEMORY", str(tmp_path / "memory.json"))
        monkeypatch.setattr(control, "running", lambda: world.services.runs["postfix"])
        # Nothing answers at the resolver's address, so no answer is worth a second's wait.
        for module in (dns_check, dns_publish):
            monkeypatch.setattr(module, "DnsClient", lambda _timeout, most: DnsClient(0.02, most))
        monkeypatch.setattr(trial, "PROGRAM", "/bin/true")
        monkeypatch.setattr(health_model, "OPENDKIM", sys.executable)
        monkeypatch.setattr(doctor_database, "logins", lambda site: [])
        for name in ("mail.private", "KeyTable"):
            text = traditional_pem(9) if name == "mail.private" else ""
            (tmp_path / name).write_text(text or f"a example.net:mail:{tmp_path}/mail.private\n")
            (tmp_path / name).chmod(0o600)
        world.start_anew()
        yield world
        world.daemon.stop()


def arguments_of(function, folder):
    return [
        one.format(folder=folder) if isinstance(one, str) else one for one in EXAMPLES[function][0]
    ]


def tried(world, function, *arguments, refusals=()):
    """What a function returns, or the failure as a line of text; refusals are None."""
    try:
        return world.minion.call(function, *arguments), ""
    except refusals:
        return None, ""
    except Exception as error:
        return None, f"{function}{arguments}: {type(error).__name__}: {error}"


def good_keys(world):
    """Selector and state of the keys that signed before, and what is said of them."""
    listed = world.minion.call("dkim.list_keys")
    return {
        key["domain"]: (key["state"], key["problem"])
        for key in listed
        if key["domain"] == "example.org" and key["selector"] == "default"
    }


def test_every_function_runs_on_a_dirty_database_before_and_after_adoption(world, tmp_path):
    failures = [tried(world, "dkim.check")[1], tried(world, "dkim.doctor")[1]]
    world.schema()
    world.minion.call("dkim.generate_missing")
    world.minion.call("dkim.generate", GOOD, "s2026", "rsa")
    with db.session(world.minion.database, setup=True) as connection:
        standby = "INSERT INTO public.dkim_replica (name, address, mark_lsn) VALUES"
        execute(connection, f"{standby} ('db2', '192.0.2.11', pg_current_wal_lsn())")
    for function in [*(one for one in EXAMPLES if one not in LAST), *LAST]:
        world.start_anew()
        _, failure = tried(world, function, *arguments_of(function, tmp_path))
        failures.append(failure)
    assert [failure for failure in failures if failure] == []
    assert good_keys(world) == {"example.org": ("active", "")}


OF_ENCODINGS = {row.domain for row in dirty.undecodable()}
# By a row's domain and selector.
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


def turn_of(encoding, name, selector):
    """
    The functions that a row is given to in an encoding: each of them in one of the three, and all
    of them where not all encodings can hold the row.
    """
    if name in OF_ENCODINGS or not f"{name}{selector}".isascii() or "\\x" in f"{name}{selector}":
        return list(NAMED)
    first = zlib.crc32(f"{name} {selector}".encode()) + dirty.ENCODINGS.index(encoding)
    return [one for number, one in enumerate(NAMED) if (first + number) % len(dirty.ENCODINGS) == 0]


def test_every_function_is_given_every_row_in_some_encoding():
    for row in dirty.rows():
        given = [one for name in dirty.ENCODINGS for one in turn_of(name, row.domain, row.selector)]
        assert sorted(given) == sorted(NAMED)


def test_every_function_takes_the_name_of_an_odd_row_or_refuses_it_in_words(world, monkeypatch):
    # Each of Postfix's answers takes this test's stand-in as long as all else of a call.
    monkeypatch.setattr(queue, "longest", lambda: (432000, "maximal_queue_lifetime"))
    world.schema()
    world.minion.call("dkim.generate_missing")
    failures, done = [], set()
    refusals = (CommandExecutionError, SaltInvocationError)
    for key in world.minion.call("dkim.list_keys"):
        name, selector = key["domain"], key["selector"]
        for function in turn_of(world.encoding, name, selector):
            arguments = NAMED[function](name, selector)
            failures.append(tried(world, function, *arguments, refusals=refusals)[1])
            done.add(function)
    assert [failure for failure in failures if failure] == []
    assert done == set(NAMED)


def test_each_odd_row_is_named_and_goes_by_dkim_delete(world):
    world.schema()
    world.minion.call("dkim.generate_missing")
    for function in ("dkim.list_keys", "dkim.status"):
        said = {(key["domain"], key["selector"]): key for key in world.minion.call(function)}
        for row in world.odd:
            if row.says and (row.domain, row.selector) in said:
                assert row.says in said[row.domain, row.selector]["problem"], row.domain
    for row in [row for row in world.odd if not row.signs]:
        stored = [
            key for key in world.minion.call("dkim.list_keys", row.domain) if not key["public_key"]
        ]
        for key in stored:
            world.minion.call("dkim.delete", key["domain"], key["selector"], True)


def test_every_state_runs_on_a_dirty_database(world, monkeypatch):
    world.schema()
    world.minion.call("dkim.generate_missing")
    # No daemon signs here.
    doubles = {"dkim.publish": world.dns.publish, "dkim_sls.signing_problems": list}
    stand_in(monkeypatch, world.minion.functions, doubles)
    failures = []
    for state, case in CASES.items():
        world.start_anew()
        prepare = getattr(DirtyWorld, case.prepare.__name__, case.prepare)
        prepare(world)
        given = {"name": case.name, **case.given(world)}
        for test in (True, False):
            done = world.minion.state(state, test=test, **given)
            if done["result"] is False or "Traceback" in done["comment"]:
                failures.append((state, test, done["comment"][-300:]))
    assert failures == []
    world.start_anew()
    assert good_keys(world) == {"example.org": ("active", "")}
