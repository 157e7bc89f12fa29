"""
Every state, failing at each of its steps: it returns what it had done, and the next run completes.

A new state without a row here fails :func:`test_every_state_has_a_row`.
"""

import contextlib
import functools
import hashlib
import itertools
import os
import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import dns.message
import dns.query
import dns.rcode
import dns.update
import dns.zone
import pytest
from dkim_formula.keys import generate as keys_generate
from dkim_formula.postfix import control, joining, main_cf
from dkim_formula.postgres import access_files
from dkim_formula.postgres import connection as db
from dkim_formula.signer import trial
from dkim_formula.unattended import saved
from functional import test_state_every as every
from functional.doubles import Services
from functional.postgres import execute, query, traditional_pem
from functional.salt_loaders import functions_of, stand_in
from functional.steps import FOR_GOOD, LOST, ONCE, SILENT, TAKEN, Steps, spread
from support.dns_daemons import Bind
from support.nameserver import Nameserver

pytestmark = pytest.mark.one_release

OLD_ADDRESS = "inet:localhost:8891"
# What a run keeps for its own use: what it has seen, and what it is about to send. A row more of
# these changes nothing for anybody.
NOTES = {"dkim_awaited", "dkim_observation", "dkim_published", "dkim_disclosure", "dkim_replica"}
ADDRESS = "127.0.53.151"
MILTERS_BEFORE = {
    "smtpd_milters": "inet:localhost:11332",
    "internal_mail_filter_classes": "notify",
    "notify_classes": "resource, software",
}


class SteppedServices(Services):
    """Services whose every start and stop may fail; an init script restarts by one of each."""

    def __init__(self, daemon, steps):
        super().__init__(daemon)
        self._steps = steps
        self.lives = 0

    def functions(self):
        told = {f"service.{what}": functools.partial(self._told_to, what) for what in _ORDERS}
        return {**super().functions(), **told}

    def _told_to(self, what, name):
        parts = ("stop", "start") if what == "restart" else (what,)
        return all(
            self._steps.step(part, functools.partial(self._do, part, name), lambda: False)
            for part in parts
        )

    def _do(self, what, name):
        if name == "opendkim":
            (self.daemon.stop if what == "stop" else self.daemon.start)()
        if what != "reload":
            self.runs[name] = what == "start"
        # Postfix goes on as it was where it runs already.
        self.lives += name != "postfix"
        return True


_ORDERS = ("start", "stop", "restart", "reload")


class OpenBind(Bind):
    """A BIND that takes updates from every address, unsigned: what passes on an answer may edit."""

    def _zone(self, origin, _update):
        return super()._zone(origin, "any;")


class Relay:
    """In front of a name server at its own port: each message over TCP is a step."""

    def __init__(self, steps, address):
        self.steps = steps
        self.address = address
        relay = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                while (length := self._read(2)) is not None:
                    wire = self._read(int.from_bytes(length, "big"))
                    answer = relay.answer(wire)
                    if answer is None:
                        # Silence until the other side has waited enough.
                        self.request.recv(1)
                    if not answer:
                        return
                    self.request.sendall(len(answer).to_bytes(2, "big") + answer)

            def _read(self, count):
                data = b""
                while len(data) < count:
                    part = self.request.recv(count - len(data))
                    if not part:
                        return None
                    data += part
                return data

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __str__(self):
        return f"127.0.0.1@{self._server.server_address[1]}"

    def answer(self, wire):
        def forward():
            query = dns.message.from_wire(wire)
            return dns.query.tcp(query, self.address, timeout=5).to_wire()

        def refused():
            reply = dns.message.make_response(dns.message.from_wire(wire))
            reply.set_rcode(dns.rcode.REFUSED)
            return reply.to_wire()

        return self.steps.message(forward, refused)

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class World(every.World):
    """A world whose database has the schema and both domains already, unless it is bare."""

    def __init__(self, minion, server, folder, steps):
        super().__init__(minion, server, folder)
        self.steps = steps
        self.services = SteppedServices(self.daemon, steps)
        self.zones = None
        self.refusing = None  # a resolver that answers nothing, and at once

    def schema(self):
        """There already."""

    def key(self, selector="default"):
        with db.session(self.minion.database) as connection:
            every.insert_as_howto(connection, "example.com", selector, traditional_pem())
        self.minion.set_pillar(domains={"example.com": {}})
        self.minion.call("dkim.generate_missing")

    def rows_of_another_tool(self):
        """One that is to be read, and one that can't be."""
        with db.session(self.minion.database) as connection:
            every.insert_as_howto(connection, "example.com", "other", traditional_pem(2))
            every.insert_as_howto(connection, "example.org", "odd", "no key at all")

    def many_keys(self):
        """Keys of several batches, patterns, and rows that another tool has put in."""
        self.rows_of_another_tool()
        plan = {"algorithm": "ed25519", "subdomains": True}
        self.minion.set_pillar(domains={f"d{number}.example": dict(plan) for number in range(3)})

    def keys_in_files(self):
        """Keys of two domains, one of which is not hosted yet, beside rows of another tool."""
        self.rows_of_another_tool()
        lines = []
        for domain, number in (("example.com", 0), ("example.net", 1)):
            pem = self.folder / f"{domain}.private"
            pem.write_text(traditional_pem(number))
            pem.chmod(0o600)
            lines.append(f"mail._domainkey.{domain} {domain}:mail:{pem}\n")
        self.key_table.write_text("".join(lines))

    def keys_in_files_then_made(self):
        """As the highstate has it: imported keys first, and the pillar's for the other domains."""
        self.keys_in_files()
        self.minion.call("dkim.import_tables", str(self.key_table))
        plan = {"algorithm": "ed25519"}
        self.minion.set_pillar(
            domains={"example.com": {"selector": "mail"}, "example.org": plan, "d.example": plan}
        )

    def old_key(self):
        super().old_key()
        with db.session(self.minion.database) as connection:
            execute(connection, "DELETE FROM public.dkim WHERE domain = 'example.org'")
            every.insert_as_howto(connection, "example.org", "odd", "no key at all")

    def _without_dns(self):
        self.minion.set_pillar(dns={"resolver": str(self.refusing), "timeout": 1})

    def moving_daemon(self):
        """OpenDKIM runs at another address than it is to, and Postfix lets mail go meanwhile."""
        self.daemon.start()
        self.services.runs["opendkim"] = True
        self.config.write_text("Mode s\n")
        self.postfix.set(smtpd_milters=OLD_ADDRESS, milter_default_action="accept")

    def milters_to_join(self):
        self.daemon.start()
        self.postfix.set(**MILTERS_BEFORE)

    def milters_left(self):
        self.minion.call("dkim_postfix.remove_milters", [every.MILTER])
        assert self.postfix.values() == MILTERS_BEFORE

    def milters_to_leave(self):
        """As the formula joined them, beside nothing else: what only milters need goes too."""
        self.daemon.start()
        self.postfix.set(notify_classes="resource")
        self.minion.call("dkim_postfix.manage_milters", [every.MILTER], "tempfail")

    def two_zones(self):
        """Several names to publish in each of two zones, and one to take away again."""
        self.zones.empty()
        domain = {"algorithm": "ed25519", "spf": "v=spf1 -all", "dmarc": True}
        self._publishing({"example.com": dict(domain), "example.org": dict(domain)})
        self.minion.call("dkim.generate_missing")
        self.minion.call("dkim.publish", "example.com")
        del domain["spf"]
        self._publishing({"example.com": dict(domain, ttl=77), "example.org": dict(domain)})

    def _publishing(self, domains):
        dns_settings = {"publish": "rfc2136", "server": str(self.zones.relay), "timeout": 1}
        self.minion.set_pillar(domains=domains, dns=dns_settings)

    def former(self):
        self.former_reader()

    def new_owner_and_database(self):
        self.minion.set_pillar(
            database={"name": f"{self.minion.database.name}new", "owner": "halfowner"}
        )

    def seen(self) -> dict[str, object]:
        """Everything that a state may change, and nothing that only says how it came about."""
        return {
            "files": self.files(),
            "services": (dict(self.services.runs), self.services.lives),
            "dns": self.zones.texts() if self.zones else None,
            **databases(self.minion.database),
        }

    def contents(self):
        """Every file of the world, and PostgreSQL's access files."""
        paths = [path for path in self.folder.rglob("*") if path.is_file()]
        paths += self.server.data.glob("pg_*.conf")
        return {str(path): path.read_bytes() for path in paths}

    def files(self):
        """The same with owners and modes."""
        found = {}
        for path, content in self.contents().items():
            status = os.stat(path)
            found[path] = (content, status.st_mode, status.st_uid)
        return found


_CATALOGS = (
    "SELECT rolname, rolsuper, rolcanlogin, rolcreaterole, rolinherit, rolpassword,"
    " shobj_description(oid, 'pg_authid') FROM pg_authid",
    "SELECT roleid::regrole, member::regrole FROM pg_auth_members",
    "SELECT datname, datdba::regrole, datacl FROM pg_database",
    "SELECT relnamespace::regnamespace, relname, relkind, relacl FROM pg_class"
    " WHERE relnamespace = 'public'::regnamespace",
    "SELECT attrelid::regclass, attname, attacl FROM pg_attribute JOIN pg_class AS c"
    " ON c.oid = attrelid WHERE relnamespace = 'public'::regnamespace AND attnum > 0",
    "SELECT proname, proacl, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "SELECT nspname, nspacl FROM pg_namespace WHERE nspname = 'public'",
    "SELECT lanname, lanacl FROM pg_language",
)


def databases(settings) -> dict[str, object]:
    """A mark for each catalog, and for each table of the site's and the formula's."""
    with db.session(settings, setup=True) as connection:
        found = {sql: mark(query(connection, sql)) for sql in _CATALOGS}
        tables = query(
            connection,
            "SELECT relname FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace",
        )
        for (table,) in tables:
            if table not in NOTES:
                found[table] = mark(query(connection, f"SELECT t::text FROM public.{table} AS t"))
        return found


def mark(rows):
    """One text for many rows; the rows themselves may hold private keys."""
    return hashlib.sha256(repr(sorted(map(repr, rows))).encode()).hexdigest()


@dataclass(frozen=True)
class Row:
    """
    A state that is to fail.

    prepare
        The world in which it has the most to do.
    arguments
        Of the state; a function gives them for a world.
    bare
        Its database is empty.
    hows
        The ways in which each step fails.
    changes
        Whether it changes anything at all.
    dns
        It publishes in zones.
    undo
        What is done when it is complete; the world is then the same wherever it had failed.
    """

    name: str
    prepare: Callable[[World], None] = every._nothing
    arguments: dict[str, Any] | Callable[[World], dict[str, Any]] = field(default_factory=dict)
    bare: bool = False
    hows: tuple[str, ...] = (ONCE, LOST, FOR_GOOD)
    changes: bool = True
    dns: bool = False
    undo: Callable[[World], None] = every._nothing

    def given(self, world):
        found = self.arguments(world) if callable(self.arguments) else self.arguments
        return {"name": self.name, **found}


def of(state, **other):
    """The row of a state as tests/functional/test_state_every.py has it, with what differs."""
    case = every.CASES[state]
    return Row(
        **{
            "name": case.name,
            "prepare": getattr(World, case.prepare.__name__, case.prepare),
            "arguments": case.arguments,
            "changes": case.changes,
            **other,
        }
    )


def _moved(world):
    return {
        "socket": world.daemon.path,
        "reads": [str(world.config)],
        "milter": every.MILTER,
        "moved_from": [OLD_ADDRESS],
    }


def _watching(world):
    return {**_moved(world), "sfun": "running"}


ROWS = {
    "dkim.checked": of("dkim.checked"),
    "dkim.signing_verified": of("dkim.signing_verified"),
    "dkim_opendkim.configuration_accepted": of("dkim_opendkim.configuration_accepted"),
    "dkim.key_absent": of("dkim.key_absent"),
    "dkim.key_present": of("dkim.key_present", arguments={"algorithm": "ed25519"}),
    "dkim.keys_imported": of("dkim.keys_imported", prepare=World.keys_in_files),
    "dkim.keys_managed": of("dkim.keys_managed", prepare=World.many_keys),
    "dkim.keys_managed after an import": of(
        "dkim.keys_managed", prepare=World.keys_in_files_then_made
    ),
    "dkim_opendkim.mod_watch": Row("opendkim", World.moving_daemon, _watching),
    "dkim_opendkim.running": Row("opendkim", World.moving_daemon, _moved),
    "dkim_opendkim.password_file_present": of("dkim_opendkim.password_file_present"),
    "dkim.records_published": of(
        "dkim.records_published",
        prepare=World.two_zones,
        hows=(ONCE, LOST, FOR_GOOD, SILENT, TAKEN),
        dns=True,
    ),
    "dkim.records_shown": of("dkim.records_shown"),
    "dkim.rotated": of("dkim.rotated"),
    "dkim.rotations_advanced": of("dkim.rotations_advanced"),
    "dkim_opendkim.configuration_kept": of("dkim_opendkim.configuration_kept"),
    "dkim_opendkim.login_accepted": of("dkim_opendkim.login_accepted"),
    "dkim_postfix.milters_absent": of(
        "dkim_postfix.milters_absent", prepare=World.milters_to_leave
    ),
    "dkim_postfix.milters_present": of(
        "dkim_postfix.milters_present", prepare=World.milters_to_join, undo=World.milters_left
    ),
    "dkim_postgres.access_absent": of("dkim_postgres.access_absent"),
    "dkim_postgres.access_present": of("dkim_postgres.access_present"),
    "dkim_postgres.closed_to_public": of(
        "dkim_postgres.closed_to_public", prepare=World.open_to_public
    ),
    "dkim_postgres.database_present": of(
        "dkim_postgres.database_present", prepare=World.new_owner_and_database
    ),
    "dkim_postgres.former_roles_absent": of("dkim_postgres.former_roles_absent"),
    "dkim_postgres.password_absent": of("dkim_postgres.password_absent"),
    "dkim_postgres.role_present": of("dkim_postgres.role_present"),
    "dkim_postgres.schema_present": of("dkim_postgres.schema_present", bare=True),
    "dkim_postgres.writer_present": of("dkim_postgres.writer_present"),
    "dkim_job.absent": of("dkim_job.absent"),
    "dkim_job.configured": of("dkim_job.configured"),
    "dkim_service.dead": of("dkim_service.dead"),
    "dkim_service.mod_watch": Row(
        # What an init script says of a restart is all that anybody knows of it.
        "postgresql",
        World.runs,
        {"sfun": "running"},
        hows=(ONCE, FOR_GOOD),
    ),
    "dkim_service.running": of("dkim_service.running"),
}


class Zones:
    """Two zones at a real BIND behind a relay, each time as they were at first."""

    def __init__(self, bind, relay):
        self.bind = bind
        self.relay = relay

    def empty(self):
        """Takes every TXT record away."""
        for origin, name, _ttl, _text in self.texts():
            update = dns.update.UpdateMessage(origin)
            update.delete(name, "TXT")
            dns.query.tcp(update, self.bind.address, timeout=5)

    def texts(self):
        """Every TXT record of both zones: its name, TTL and texts."""
        found = set()
        for origin in self.bind.zones:
            zone = dns.zone.from_xfr(dns.query.xfr(self.bind.address, origin))
            found |= {
                (origin, name.to_text(), ttl, rdata.to_text())
                for name, ttl, rdata in zone.iterate_rdatas("TXT")
            }
        return found


@pytest.fixture
def steps(monkeypatch, tmp_path, server):
    return Steps(monkeypatch, [tmp_path, server.data])


@pytest.fixture
def surroundings(minion, server, another_database, tmp_path, monkeypatch, steps, refusing):
    """A function that gives a new world each time: its own database and files, nothing running."""
    minion.secrets.add(every.PASSWORD)
    monkeypatch.setattr(keys_generate, "_BATCH_PER_WORKER", 1)
    monkeypatch.setattr(keys_generate.os, "sched_getaffinity", lambda _pid: {0})
    monkeypatch.setattr(access_files, "RELOADED_WITHIN", 5.0)
    waiting = functools.partial(control.wait_until_stopped, within=0)
    monkeypatch.setattr(control, "wait_until_stopped", waiting)
    monkeypatch.setattr(trial, "PROGRAM", "/bin/true")
    # Encrypts each time to the same: the files of two courses are compared.
    creds = tmp_path / "systemd-creds"
    creds.write_text("#!/bin/sh\nexec cat\n")
    creds.chmod(0o755)
    monkeypatch.setattr(saved, "PROGRAM", str(creds))
    learn, numbers = minion._learn_keys, itertools.count(1)
    minion._learn_keys = lambda: steps.idle(learn)

    @contextlib.contextmanager
    def made(row, template, zones):
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        with another_database("template0" if row.bare else template) as settings:
            minion.database = settings
            minion.set_pillar()
            world = World(minion, server, folder, steps)
            world.zones, world.refusing = zones, refusing
            with monkeypatch.context() as patch, restored(server, settings, world):
                stand_in(patch, minion.functions, doubles_of(world))
                patch.setattr(main_cf, "POSTCONF", str(world.postfix.postconf))
                patch.setattr(joining, "MEMORY", str(folder / "memory.json"))
                patch.setattr(saved, "FOLDER", str(folder / "jobs"))
                patch.setattr(control, "running", lambda: world.services.runs["postfix"])
                row.prepare(world)
                yield world

    return made


def doubles_of(world):
    return {
        **world.services.functions(),
        "dkim_sls.signing_problems": list,  # no daemon signs here
    }


@contextlib.contextmanager
def restored(server, settings, world):
    """Puts PostgreSQL's files back, and removes what a world has made beside its database."""
    files = {path: path.read_bytes() for path in server.data.glob("pg_*.conf")}
    try:
        yield
    finally:
        world.daemon.stop()
        with db.session(server.settings, autocommit=True) as connection:
            if any(path.read_bytes() != text for path, text in files.items()):
                for path, text in files.items():
                    path.write_bytes(text)
                execute(connection, "SELECT pg_reload_conf()")
            execute(connection, f"DROP DATABASE IF EXISTS {settings.name}new")


@pytest.fixture(scope="module")
def refusing():
    with Nameserver({}) as server:
        server.rcode = dns.rcode.REFUSED
        yield server


@pytest.fixture
def zones_of(tmp_path, steps) -> Iterator[Callable]:
    """A function that gives a row its zones, where it needs them."""
    with contextlib.ExitStack() as stack:

        def made(row):
            if not row.dns:
                return None
            bind = OpenBind(tmp_path / "bind", {"example.com": "", "example.org": ""}, ADDRESS)
            stack.enter_context(bind)
            relay = Relay(steps, bind.address)
            stack.callback(relay.close)
            return Zones(bind, relay)

        yield made


def test_every_state_has_a_row():
    assert {key.partition(" ")[0] for key in ROWS} == set(functions_of("states"))


@pytest.fixture
def fails(surroundings, ready_template, zones_of, steps):
    """A function that has a row fail at some of its steps, and complete it after each."""

    def run(key, choose):
        row, zones = ROWS[key], zones_of(ROWS[key])

        @contextlib.contextmanager
        def course():
            with surroundings(row, ready_template, zones) as world:
                opened = Course(world, key, row)
                yield opened
                ends.append(opened.end())

        ends = []
        with course() as whole:
            due = choose(whole.count(), row.hows)
        while due:
            with course() as one:
                due = one.fail_at(due)
        for end in ends:
            assert end == ends[0]

    return run


@pytest.mark.parametrize("key", ROWS)
def test_state_that_fails_tells_what_it_had_done(fails, key):
    """At steps of every kind: it tells, the run after it completes, and one more rests."""
    fails(key, spread)


@pytest.mark.soak
@pytest.mark.parametrize("key", ROWS)
def test_state_that_fails_at_any_step_tells_what_it_had_done(fails, key):
    fails(key, lambda kinds, hows: [(at, how) for how in hows for at in range(1, len(kinds) + 1)])


class Course:
    """Runs of a state in a world, until one that fails leaves something behind."""

    def __init__(self, world, key, row):
        self.world = world
        self.state = key.partition(" ")[0]
        self.row = row
        self.key = key
        self.announced = self.apply(test=True)["changes"]
        assert bool(self.announced) is self.row.changes, key

    def apply(self, test=False):
        return self.world.minion.state(self.state, test=test, **self.row.given(self.world))

    def count(self):
        """Run as announced; the kinds of the steps that this takes."""
        with self.world.steps.counting():
            self.whole(self.apply())
        self.rest(self.key)
        return self.world.steps.kinds

    def whole(self, returned):
        assert (returned["result"], returned["changes"]) == (True, self.announced), returned

    def fail_at(self, due):
        """Fail at one step after the other; those that are left for a new world."""
        before = self.world.seen()
        for at, (number, how) in enumerate(due, 1):
            with self.world.steps.failing(number, how):
                returned = self.apply()
            told = (self.key, number, how, self.world.steps.kinds[-1:], returned)
            assert "Traceback" not in returned["comment"], returned["comment"]
            if not self.world.steps.has_failed:
                self.whole(returned)
                self.rest(told)
                return due[at:]
            after = self.world.seen()
            differing = [what for what in before | after if before.get(what) != after.get(what)]
            assert bool(returned["changes"]) is bool(differing), (told, differing)
            if differing:
                self.compare(self.announced, returned["changes"], told)
                self.complete(told)
                return due[at:]
        self.complete("at the end")
        return []

    def compare(self, announced, changes, told):
        """What is due no more was done, and what was done as announced is due no more."""
        if self.state.endswith("mod_watch"):
            return  # it does the same each time, whatever there is
        due = self.apply(test=True)["changes"]
        for what, change in announced.items():
            if what not in due or due[what].get("old") != change.get("old"):
                assert what in changes, (told, due)
            # A restart is an event: another may be due all the same.
            if changes.get(what) == change and change["new"] != "restarted":
                assert what not in due, (told, due)

    def complete(self, told):
        done = self.apply()
        assert done["result"] is True, (told, done)
        self.rest(told)

    def rest(self, told):
        if not self.state.endswith("mod_watch"):
            for test in (False, True):
                rest = self.apply(test=test)
                assert (rest["result"], rest["changes"]) == (True, {}), (told, rest)

    def end(self):
        """The files that are left, whatever the world is called."""
        self.row.undo(self.world)
        folder, database = str(self.world.folder), self.world.minion.database.name
        return {
            path.replace(folder, ""): content.replace(folder.encode(), b"").replace(
                database.encode(), b"vmail"
            )
            for path, content in self.world.contents().items()
        }
