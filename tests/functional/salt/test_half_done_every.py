"""
Every state, failing at each of its steps.

The failing state returns the changes that it made, and the next run completes the work. If a new
state has no row here, :func:`test_every_state_has_a_row` fails.
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
from dkim_formula.keys import bulk_generation
from dkim_formula.postfix import control, main_cf, saved_values
from dkim_formula.postgres import access_files
from dkim_formula.postgres import connection as db
from dkim_formula.signer import config_check
from dkim_formula.unattended import saved
from functional.doubles import Services
from functional.salt import test_state_every as every
from functional.salt_loaders import functions_of, stand_in
from functional.server import execute, query, traditional_pem
from functional.steps import FOR_GOOD, LOST, ONCE, SILENT, TAKEN, Steps, spread
from support.dns_daemons import Bind
from support.nameserver import Nameserver

pytestmark = pytest.mark.one_release

OLD_ADDRESS = "inet:localhost:8891"
# Tables that a run keeps for its own use: what it observed, and what it is about to send. An extra
# row in these tables has no effect outside the formula.
NOTES = {
    "dkim_awaited",
    "dkim_observation",
    "dkim_published",
    "dkim_disclosure",
    "dkim_replica",
    "dkim_alias_domain",
}
ADDRESS = "127.0.53.151"
MILTERS_BEFORE = {
    "smtpd_milters": "inet:localhost:11332",
    "internal_mail_filter_classes": "notify",
    "notify_classes": "resource, software",
}


class SteppedServices(Services):
    """Services whose every start and stop may fail. A restart is a stop and a start."""

    def __init__(self, daemon, steps):
        super().__init__(daemon)
        self._steps = steps
        self.lives = 0

    def functions(self):
        actions = {f"service.{action}": functools.partial(self._act, action) for action in _ACTIONS}
        return {**super().functions(), **actions}

    def _act(self, action, name):
        parts = ("stop", "start") if action == "restart" else (action,)
        return all(
            self._steps.step(part, functools.partial(self._do, part, name), lambda: False)
            for part in parts
        )

    def _do(self, action, name):
        if name == "opendkim":
            # The double removes its socket, which is no step of the formula.
            self._steps.uncounted(self.daemon.stop if action == "stop" else self.daemon.start)
        if action != "reload":
            self.runs[name] = action == "start"
        # Starting a running Postfix changes nothing.
        self.lives += name != "postfix"
        return True


_ACTIONS = ("start", "stop", "restart", "reload")


class OpenBind(Bind):
    """A BIND that accepts unsigned updates from every address, because the relay forwards them."""

    def _zone(self, origin, _update):
        return super()._zone(origin, "any;")


class Relay:
    """A relay to a name server, on its own port. Each message over TCP is a step."""

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
                        # Stay silent until the client closes the connection.
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
    """A world whose database already has the schema and both domains, unless it is bare."""

    def __init__(self, minion, server, folder, steps):
        super().__init__(minion, server, folder)
        self.steps = steps
        self.services = SteppedServices(self.daemon, steps)
        self.zones = None
        self.refusing = None  # a resolver that refuses every query at once

    def schema(self):
        """Do nothing: the database already has the schema."""

    def key(self, selector="default"):
        with db.session(self.minion.database) as connection:
            every.insert_as_howto(connection, "example.com", selector, traditional_pem())
        self.minion.set_pillar(domains={"example.com": {}})
        self.minion.call("dkim.generate_missing")

    def rows_of_another_tool(self):
        """Insert a row with a readable key and a row with an unreadable key."""
        with db.session(self.minion.database) as connection:
            every.insert_as_howto(connection, "example.com", "other", traditional_pem(2))
            every.insert_as_howto(connection, "example.org", "odd", "no key at all")

    def many_keys(self):
        """Prepare keys of several batches, patterns, and rows of another tool."""
        self.rows_of_another_tool()
        plan = {"algorithm": "ed25519", "subdomains": True}
        self.minion.set_pillar(domains={f"d{number}.example": dict(plan) for number in range(3)})

    def keys_in_files(self):
        """Write key files of two domains, one of them not hosted yet. Add rows of another tool."""
        self.rows_of_another_tool()
        lines = []
        for domain, number in (("example.com", 0), ("example.net", 1)):
            pem = self.folder / f"{domain}.private"
            pem.write_text(traditional_pem(number))
            pem.chmod(0o600)
            lines.append(f"mail._domainkey.{domain} {domain}:mail:{pem}\n")
        self.key_table.write_text("".join(lines))

    def imported_keys_and_missing_keys(self):
        """Import keys as a highstate does before the pillar's keys for the other domains."""
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
        """Run OpenDKIM at its old address, and Postfix with milter_default_action = accept."""
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
        """Join the milters of the formula alone. What only milters need is removed with them."""
        self.daemon.start()
        self.postfix.set(notify_classes="resource")
        self.minion.call("dkim_postfix.manage_milters", [every.MILTER], "tempfail")

    def two_zones(self):
        """Prepare names to publish in each of two zones, and a published name to remove."""
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

    def snapshot(self) -> dict[str, object]:
        """Return everything that a state may change, except the tables in ``NOTES``."""
        return {
            "files": self.files(),
            "services": (dict(self.services.runs), self.services.lives),
            "dns": self.zones.texts() if self.zones else None,
            **databases(self.minion.database),
        }

    def contents(self):
        """Return the contents of every file of the world, and of PostgreSQL's access files."""
        paths = [path for path in self.folder.rglob("*") if path.is_file()]
        paths += self.server.data.glob("pg_*.conf")
        return {str(path): path.read_bytes() for path in paths}

    def files(self):
        """Return the contents of the same files with their modes and owners."""
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
    """Return a digest for each catalog and for each table of the site and the formula."""
    with db.session(settings, setup=True) as connection:
        found = {sql: digest(query(connection, sql)) for sql in _CATALOGS}
        tables = query(
            connection,
            "SELECT relname FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace",
        )
        for (table,) in tables:
            if table not in NOTES:
                found[table] = digest(query(connection, f"SELECT t::text FROM public.{table} AS t"))
        return found


def digest(rows):
    """Return one hash for many rows. The rows themselves may hold private keys."""
    return hashlib.sha256(repr(sorted(map(repr, rows))).encode()).hexdigest()


@dataclass(frozen=True)
class Row:
    """
    A state that a test makes fail.

    prepare
        The function that prepares the world in which the state has the most to do.
    arguments
        The arguments of the state, or a function that returns them for a world.
    bare
        Whether the database is empty.
    modes
        The modes in which each step fails.
    changes
        Whether the state changes anything at all.
    dns
        Whether the state publishes in zones.
    undo
        The function that runs after completion. Afterwards the world is the same, whichever step
        had failed.
    """

    name: str
    prepare: Callable[[World], None] = every._nothing
    arguments: dict[str, Any] | Callable[[World], dict[str, Any]] = field(default_factory=dict)
    bare: bool = False
    modes: tuple[str, ...] = (ONCE, LOST, FOR_GOOD)
    changes: bool = True
    dns: bool = False
    undo: Callable[[World], None] = every._nothing

    def given(self, world):
        found = self.arguments(world) if callable(self.arguments) else self.arguments
        return {"name": self.name, **found}


def row_of(state, **other):
    """Return a row from a state's case in test_state_every.py, with other values replaced."""
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
    "dkim.checked": row_of("dkim.checked"),
    "dkim.signing_verified": row_of("dkim.signing_verified"),
    "dkim_opendkim.configuration_accepted": row_of("dkim_opendkim.configuration_accepted"),
    "dkim.key_absent": row_of("dkim.key_absent"),
    "dkim.key_present": row_of("dkim.key_present", arguments={"algorithm": "ed25519"}),
    "dkim.keys_imported": row_of("dkim.keys_imported", prepare=World.keys_in_files),
    "dkim.keys_managed": row_of("dkim.keys_managed", prepare=World.many_keys),
    "dkim.keys_managed after an import": row_of(
        "dkim.keys_managed", prepare=World.imported_keys_and_missing_keys
    ),
    "dkim_opendkim.mod_watch": Row("opendkim", World.moving_daemon, _watching),
    "dkim_opendkim.running": Row("opendkim", World.moving_daemon, _moved),
    "dkim_opendkim.password_file_present": row_of("dkim_opendkim.password_file_present"),
    "dkim.records_published": row_of(
        "dkim.records_published",
        prepare=World.two_zones,
        modes=(ONCE, LOST, FOR_GOOD, SILENT, TAKEN),
        dns=True,
    ),
    "dkim.records_shown": row_of("dkim.records_shown"),
    "dkim.rotated": row_of("dkim.rotated"),
    "dkim.rotations_advanced": row_of("dkim.rotations_advanced"),
    "dkim_opendkim.configuration_kept": row_of("dkim_opendkim.configuration_kept"),
    "dkim_opendkim.login_accepted": row_of("dkim_opendkim.login_accepted"),
    "dkim_postfix.milters_absent": row_of(
        "dkim_postfix.milters_absent", prepare=World.milters_to_leave
    ),
    "dkim_postfix.milters_present": row_of(
        "dkim_postfix.milters_present", prepare=World.milters_to_join, undo=World.milters_left
    ),
    "dkim_postgres.access_absent": row_of("dkim_postgres.access_absent"),
    "dkim_postgres.access_present": row_of("dkim_postgres.access_present"),
    "dkim_postgres.closed_to_public": row_of(
        "dkim_postgres.closed_to_public", prepare=World.open_to_public
    ),
    "dkim_postgres.database_present": row_of(
        "dkim_postgres.database_present", prepare=World.new_owner_and_database
    ),
    "dkim_postgres.former_roles_absent": row_of("dkim_postgres.former_roles_absent"),
    "dkim_postgres.password_absent": row_of("dkim_postgres.password_absent"),
    "dkim_postgres.role_present": row_of("dkim_postgres.role_present"),
    "dkim_postgres.schema_present": row_of("dkim_postgres.schema_present", bare=True),
    "dkim_postgres.writer_present": row_of("dkim_postgres.writer_present"),
    "dkim_job.absent": row_of("dkim_job.absent"),
    "dkim_job.configured": row_of("dkim_job.configured"),
    "dkim_service.dead": row_of("dkim_service.dead"),
    "dkim_service.mod_watch": Row(
        # Only the init script's result shows whether a restart worked, so LOST is left out.
        "postgresql",
        World.runs,
        {"sfun": "running"},
        modes=(ONCE, FOR_GOOD),
    ),
    "dkim_service.running": row_of("dkim_service.running"),
}


class Zones:
    """Two zones at a real BIND behind a relay, emptied before each use."""

    def __init__(self, bind, relay):
        self.bind = bind
        self.relay = relay

    def empty(self):
        """Remove every TXT record."""
        for origin, name, _ttl, _text in self.texts():
            update = dns.update.UpdateMessage(origin)
            update.delete(name, "TXT")
            dns.query.tcp(update, self.bind.address, timeout=5)

    def texts(self):
        """Return every TXT record of both zones: its zone, name, TTL and text."""
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
    """A function that creates a new world with its own database and files. No service runs."""
    minion.secrets.add(every.PASSWORD)
    monkeypatch.setattr(bulk_generation, "_BATCH_PER_WORKER", 1)
    monkeypatch.setattr(bulk_generation.os, "sched_getaffinity", lambda _pid: {0})
    monkeypatch.setattr(access_files, "RELOADED_WITHIN", 5.0)
    waiting = functools.partial(control.wait_until_stopped, within=0)
    monkeypatch.setattr(control, "wait_until_stopped", waiting)
    monkeypatch.setattr(config_check, "PROGRAM", "/bin/true")
    # This program always returns its input, because the files of two runs are compared.
    creds = tmp_path / "systemd-creds"
    creds.write_text("#!/bin/sh\nexec cat\n")
    creds.chmod(0o755)
    monkeypatch.setattr(saved, "PROGRAM", str(creds))
    learn, numbers = minion._learn_keys, itertools.count(1)
    minion._learn_keys = lambda: steps.uncounted(learn)

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
                patch.setattr(saved_values, "PATH", str(folder / "memory.json"))
                patch.setattr(saved, "FOLDER", str(folder / "jobs"))
                patch.setattr(control, "running", lambda: world.services.runs["postfix"])
                row.prepare(world)
                yield world

    return made


def doubles_of(world):
    return {
        **world.services.functions(),
        "dkim_sls.signing_problems": list,  # no OpenDKIM runs here, so signing is not checked
    }


@contextlib.contextmanager
def restored(server, settings, world):
    """Restore PostgreSQL's files, and drop the new database that a world may have created."""
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
    """A function that returns the zones of a row, or None if the row needs none."""
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
    """A function that makes a row fail at some of its steps, and completes it after each."""

    def run(key, choose):
        row, zones = ROWS[key], zones_of(ROWS[key])

        @contextlib.contextmanager
        def new_runs():
            with surroundings(row, ready_template, zones) as world:
                runs = StateRuns(world, key, row)
                yield runs
                ends.append(runs.end())

        ends = []
        with new_runs() as complete:
            due = choose(complete.count(), row.modes)
        while due:
            with new_runs() as runs:
                due = runs.fail_at(due)
        for end in ends:
            assert end == ends[0]

    return run


@pytest.mark.parametrize("key", ROWS)
def test_failing_state_reports_the_changes_that_it_made(fails, key):
    """Some steps fail. The next run completes the work, and one more changes nothing."""
    fails(key, spread)


@pytest.mark.soak
@pytest.mark.parametrize("key", ROWS)
def test_state_that_fails_at_any_step_reports_the_changes_that_it_made(fails, key):
    fails(
        key, lambda kinds, modes: [(at, mode) for mode in modes for at in range(1, len(kinds) + 1)]
    )


class StateRuns:
    """Runs of a state in one world, until a failing run leaves changes behind."""

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
        """Run without a failure. Return the kinds of the steps of the run."""
        with self.world.steps.counting():
            self.check_complete(self.apply())
        self.check_nothing_due(self.key)
        return self.world.steps.kinds

    def check_complete(self, returned):
        assert (returned["result"], returned["changes"]) == (True, self.announced), returned

    def fail_at(self, due):
        """Fail at one step after another. Return the steps that are left for a new world."""
        before = self.world.snapshot()
        for at, (number, mode) in enumerate(due, 1):
            with self.world.steps.failing(number, mode):
                returned = self.apply()
            context = (self.key, number, mode, self.world.steps.kinds[-1:], returned)
            assert "Traceback" not in returned["comment"], returned["comment"]
            if not self.world.steps.has_failed:
                self.check_complete(returned)
                self.check_nothing_due(context)
                return due[at:]
            after = self.world.snapshot()
            differing = [name for name in before | after if before.get(name) != after.get(name)]
            assert bool(returned["changes"]) is bool(differing), (context, differing)
            if differing:
                self.compare(self.announced, returned["changes"], context)
                self.complete(context)
                return due[at:]
        self.complete("at the end")
        return []

    def compare(self, announced, changes, context):
        """Check that changes that are no longer due are reported, and reported ones are not due."""
        if self.state.endswith("mod_watch"):
            return  # mod_watch does the same in every run
        due = self.apply(test=True)["changes"]
        for name, change in announced.items():
            if name not in due or due[name].get("old") != change.get("old"):
                assert name in changes, (context, due)
            # A restart is an event, so another restart may still be due.
            if changes.get(name) == change and change["new"] != "restarted":
                assert name not in due, (context, due)

    def complete(self, context):
        done = self.apply()
        assert done["result"] is True, (context, done)
        self.check_nothing_due(context)

    def check_nothing_due(self, context):
        if not self.state.endswith("mod_watch"):
            for test in (False, True):
                returned = self.apply(test=test)
                assert (returned["result"], returned["changes"]) == (True, {}), (context, returned)

    def end(self):
        """Return the contents of all files, with the names of folder and database replaced."""
        self.row.undo(self.world)
        folder, database = str(self.world.folder), self.world.minion.database.name
        return {
            path.replace(folder, ""): content.replace(folder.encode(), b"").replace(
                database.encode(), b"vmail"
            )
            for path, content in self.world.contents().items()
        }
