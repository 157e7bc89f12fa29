"""
Rules for every state of the formula.

:func:`test_every_state_has_a_case` fails for a new state without a case here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from dkim_formula.postfix import control, main_cf, saved_values
from dkim_formula.postgres import connection as db
from dkim_formula.signer import config_check
from dkim_formula.unattended import saved
from functional.doubles import Dns, OpenDKIM, Postfix, Services
from functional.salt_loaders import functions_of, stand_in
from functional.server import HOWTO_TABLES, execute, insert_as_howto, traditional_pem

pytestmark = pytest.mark.one_release

MILTER = "unix:opendkim/opendkim.sock"
READER = "vmail-dkim-reader"
PASSWORD = "Correct-Horse-Battery"


class World:
    """A minion with its database, Postfix and OpenDKIM. Each case prepares or breaks a part."""

    def __init__(self, minion, server, folder):
        self.minion = minion
        self.server = server
        self.folder = folder
        self.daemon = OpenDKIM(folder / "opendkim.sock")
        self.services = Services(self.daemon)
        self.postfix = Postfix(folder)
        self.dns = Dns()
        self.signing_problems = []
        self.config = folder / "opendkim.conf"
        self.config.write_text("Mode sv\n")
        self.key_table = folder / "KeyTable"

    def schema(self):
        """Create the howto's tables with both domains, and the formula's schema."""
        with db.session(self.minion.database, setup=True) as connection:
            execute(connection, HOWTO_TABLES)
            names = "INSERT INTO public.domains (domain) VALUES ('example.com'), ('example.org')"
            execute(connection, names)
        self.minion.call("dkim_postgres.manage_schema")

    def tables_of_a_program(self):
        """Create a known program's table of domains, which the pillar does not name."""
        with db.session(self.minion.database, setup=True) as connection:
            execute(connection, "CREATE TABLE public.virtual_domains (id int, name varchar(50))")

    def key(self, selector="default"):
        self.schema()
        with db.session(self.minion.database) as connection:
            insert_as_howto(connection, "example.com", selector, traditional_pem())
        self.minion.call("dkim.generate_missing")

    def opendkim_that_refuses(self):
        """Let OpenDKIM refuse every configuration. Its account exists."""
        self.minion.set_pillar(lookup={"opendkim_user": "postgres"})
        self.refuse()

    def retired_key(self):
        self.key("s2024")
        self.minion.call("dkim.retire", "example.com", "s2024", force=True)

    def open_to_public(self):
        self.schema()
        with db.session(self.minion.database) as connection:
            execute(connection, "GRANT SELECT ON public.dkim TO PUBLIC")

    def old_key(self):
        self.key("s2024")
        self._without_dns()
        self._long_ago("activated_at")

    def long_retired_key(self):
        self.retired_key()
        self._without_dns()
        self._long_ago("retired_at")

    def _without_dns(self):
        self.minion.set_pillar(dns={"resolver": "127.0.0.1@1", "timeout": 1})

    def _long_ago(self, column):
        # Triggers protect the times, except in sessions with the role "replica".
        with db.session(self.minion.database) as connection:
            execute(connection, "SET session_replication_role = replica")
            past = f"UPDATE public.dkim SET {column} = now() - interval '400 days'"
            execute(connection, f"{past} WHERE selector = 's2024'")

    def reader(self):
        self.minion.call("dkim_postgres.manage_schema")
        self.minion.call("dkim_postgres.manage_role", READER)

    def former_reader(self):
        self.reader()
        self.minion.set_pillar(database={"reader": {"name": "mail-signer"}})
        self.minion.call("dkim_postgres.manage_role", "mail-signer")

    def reader_with_password(self):
        self.reader()
        with db.session(self.minion.database) as connection:
            execute(connection, f"ALTER ROLE \"{READER}\" PASSWORD '{PASSWORD}'")

    def access(self):
        self.reader()
        self.minion.call("dkim_postgres.manage_access")

    def broken_access_file(self):
        self.reader()
        with (self.server.data / "pg_hba.conf").open("a") as stream:
            stream.write("local all\n")

    def new_database(self):
        self.minion.set_pillar(database={"name": f"{self.minion.database.name}new"})

    def no_server(self):
        self.minion.set_pillar(database={"port": 1, "manage": False})

    def password_pillar(self):
        self.minion.set_pillar(
            database={
                "host": "db.example.com",
                "reader": {"auth": "password", "password": PASSWORD},
            }
        )

    def unsigned_mail(self):
        self.signing_problems.append("mail from someone@example.com (rsa) is not signed well: …")

    def keys_in_files(self):
        self.schema()
        pem = self.folder / "mail.private"
        pem.write_text(traditional_pem())
        pem.chmod(0o600)
        self.key_table.write_text(f"mail._domainkey.example.com example.com:mail:{pem}\n")

    def milter_in_main_cf(self):
        self.postfix.set(smtpd_milters=f"inet:localhost:11332, {MILTER}", myhostname="mail")

    def failing_restart(self):
        self.services.failing.add("restart opendkim")

    def failing_start(self):
        self.services.failing.add("start postgresql")

    def failing_stop(self):
        self.services.runs["postgresql"] = True
        self.services.failing.add("stop postgresql")

    def refused_update(self):
        self.dns.refuses = True

    def job(self):
        self.minion.call("dkim_sls.manage_job", "rotation")

    def no_folder_for_jobs(self):
        (self.folder / "jobs").write_text("a file\n")

    def job_in_the_way(self):
        (self.folder / "jobs" / "rotation.json").mkdir(parents=True)

    def runs(self):
        self.services.runs["postgresql"] = True


@pytest.fixture
def world(minion, server, tmp_path, monkeypatch):
    access_files = {path: path.read_text() for path in server.data.glob("pg_*.conf")}
    world = World(minion, server, tmp_path)
    doubles = world.services.functions()
    doubles["dkim_sls.signing_problems"] = lambda: list(world.signing_problems)
    stand_in(monkeypatch, minion.functions, {**doubles, "dkim.publish": world.dns.publish})
    monkeypatch.setattr(main_cf, "POSTCONF", str(world.postfix.postconf))
    monkeypatch.setattr(saved_values, "PATH", str(world.folder / "memory.json"))
    monkeypatch.setattr(control, "running", lambda: world.services.runs["postfix"])
    monkeypatch.setattr(saved, "FOLDER", str(world.folder / "jobs"))
    minion.secrets.add(PASSWORD)
    monkeypatch.setattr(config_check, "PROGRAM", "/bin/true")
    world.refuse = lambda: monkeypatch.setattr(config_check, "PROGRAM", "/bin/false")
    yield world
    world.daemon.stop()
    for path, text in access_files.items():
        path.write_text(text)
    with db.session(server.settings, autocommit=True) as connection:
        execute(connection, "SELECT pg_reload_conf()")
        execute(connection, f"DROP DATABASE IF EXISTS {minion.database.name}new")


@dataclass(frozen=True)
class Case:
    """
    A state in two worlds.

    arguments
        The state's arguments, or a function that returns them for a world.
    prepare
        Makes a world in which a run changes something. If ``changes`` is False, the run changes
        nothing.
    spoil
        Makes a world in which the state fails. ``complaint`` is a part of its comment.
    wrong
        Other arguments for the failure.
    """

    name: str
    prepare: Callable[[World], None]
    spoil: Callable[[World], None]
    complaint: str
    arguments: dict[str, Any] | Callable[[World], dict[str, Any]] = field(default_factory=dict)
    wrong: dict[str, Any] = field(default_factory=dict)
    changes: bool = True

    def given(self, world: World) -> dict[str, Any]:
        return self.arguments(world) if callable(self.arguments) else dict(self.arguments)


def _nothing(world):
    """Leave the world unchanged."""


def _opendkim(world):
    return {"socket": world.daemon.path, "reads": [str(world.config)]}


def _password_file(world):
    return {"name": str(world.folder / "pgpass"), "user": "postgres"}


CASES = {
    "dkim.checked": Case(
        "The settings are valid",
        prepare=World.schema,
        spoil=World.tables_of_a_program,
        complaint="set preset: ispmail",
        changes=False,
    ),
    "dkim.keys_managed": Case(
        "Every domain has its keys",
        prepare=World.schema,
        spoil=_nothing,
        complaint="the database lacks a part of the formula's schema",
    ),
    "dkim.key_present": Case(
        "example.com",
        arguments={"selector": "s2026"},
        prepare=World.schema,
        spoil=World.schema,
        wrong={"algorithm": "dsa"},
        complaint="algorithm: 'dsa'",
    ),
    "dkim_opendkim.configuration_accepted": Case(
        "OpenDKIM accepts its settings",
        prepare=_nothing,
        spoil=World.opendkim_that_refuses,
        complaint="opendkim would not start with these options",
        changes=False,
    ),
    "dkim_opendkim.login_accepted": Case(
        "OpenDKIM's role can log in",
        prepare=_nothing,
        spoil=World.password_pillar,
        complaint="no login as vmail-dkim-reader",
        changes=False,
    ),
    "dkim.signing_verified": Case(
        "Mail is signed and verified",
        prepare=_nothing,
        spoil=World.unsigned_mail,
        complaint="mail from someone@example.com (rsa) is not signed well",
        changes=False,
    ),
    "dkim.key_absent": Case(
        "example.com",
        arguments={"selector": "s2024"},
        prepare=World.retired_key,
        spoil=lambda world: world.key("s2024"),
        complaint="the key is active",
    ),
    "dkim.keys_imported": Case(
        "The old keys are in the database",
        arguments=lambda world: {"key_table": str(world.key_table)},
        prepare=World.keys_in_files,
        spoil=World.schema,
        complaint="KeyTable",
    ),
    "dkim_opendkim.running": Case(
        "opendkim",
        arguments=_opendkim,
        prepare=_nothing,
        spoil=World.failing_restart,
        complaint="service opendkim did not restart",
    ),
    "dkim_opendkim.password_file_present": Case(
        "The password is for the daemon alone",
        arguments=_password_file,
        prepare=World.password_pillar,
        spoil=World.password_pillar,
        wrong={"user": "nobody-here"},
        complaint="user: 'nobody-here' is no account",
    ),
    "dkim.records_published": Case(
        "The records are published",
        prepare=_nothing,
        spoil=World.refused_update,
        complaint="REFUSED",
    ),
    "dkim.records_shown": Case(
        "The records to publish",
        prepare=World.key,
        spoil=World.schema,
        wrong={"domain": "exa mple"},
        complaint="domain: 'exa mple'",
        changes=False,
    ),
    "dkim.rotated": Case(
        "Keys are rotated when they are due",
        prepare=World.old_key,
        spoil=World.no_server,
        complaint="no PostgreSQL answers",
    ),
    "dkim.rotations_advanced": Case(
        "Rotations in progress are advanced",
        prepare=World.long_retired_key,
        spoil=World.no_server,
        complaint="no PostgreSQL answers",
    ),
    "dkim_postgres.database_present": Case(
        "The database exists",
        prepare=World.new_database,
        spoil=World.no_server,
        complaint="no PostgreSQL answers",
    ),
    "dkim_postgres.schema_present": Case(
        "The database holds keys",
        prepare=_nothing,
        spoil=World.no_server,
        complaint="no PostgreSQL answers",
    ),
    "dkim_postgres.role_present": Case(
        READER,
        prepare=lambda world: world.minion.call("dkim_postgres.manage_schema"),
        spoil=World.reader,
        wrong={"password": PASSWORD},
        complaint="give one of keep, absent, pillar",
    ),
    "dkim_postgres.closed_to_public": Case(
        "PUBLIC has no rights on the DKIM tables",
        prepare=World.open_to_public,
        spoil=World.no_server,
        complaint="no PostgreSQL answers",
    ),
    "dkim_postgres.writer_present": Case(
        "The writer has its rights",
        prepare=lambda world: world.minion.call("dkim_postgres.manage_schema"),
        spoil=World.no_server,
        complaint="no PostgreSQL answers",
    ),
    "dkim_postgres.former_roles_absent": Case(
        "Roles of former settings are gone",
        prepare=World.former_reader,
        spoil=World.no_server,
        complaint="no PostgreSQL answers",
    ),
    "dkim_postgres.password_absent": Case(
        READER,
        prepare=World.reader_with_password,
        spoil=World.no_server,
        complaint="no PostgreSQL answers",
    ),
    "dkim_postgres.access_present": Case(
        "The reader has its way in",
        prepare=World.reader,
        spoil=World.broken_access_file,
        complaint="pg_hba.conf, line",
    ),
    "dkim_postgres.access_absent": Case(
        "The reader can't log in",
        prepare=World.access,
        spoil=World.broken_access_file,
        complaint="pg_hba.conf, line",
    ),
    "dkim_opendkim.configuration_kept": Case(
        "The file is kept",
        arguments=lambda world: {"name": str(world.config), "copy": f"{world.config}.kept"},
        prepare=_nothing,
        spoil=_nothing,
        wrong={"copy": "/nowhere/opendkim.conf"},
        complaint="can't be copied to /nowhere/opendkim.conf: No such file or directory",
    ),
    "dkim_postfix.milters_present": Case(
        "Postfix has OpenDKIM sign",
        arguments=lambda world: {"present": [MILTER], "sockets": [world.daemon.path]},
        prepare=lambda world: world.daemon.start(),
        spoil=_nothing,
        complaint="no milter answers",
    ),
    "dkim_postfix.milters_absent": Case(
        "Postfix does not use OpenDKIM",
        arguments={"absent": [MILTER]},
        prepare=World.milter_in_main_cf,
        spoil=lambda world: world.postfix.break_down(),
        complaint="fatal: open main.cf",
    ),
    "dkim_job.configured": Case(
        "rotation",
        prepare=World.schema,
        spoil=World.no_folder_for_jobs,
        complaint="jobs: File exists",
    ),
    "dkim_job.absent": Case(
        "rotation",
        prepare=World.job,
        spoil=World.job_in_the_way,
        complaint="rotation.json: Is a directory",
    ),
    "dkim_service.running": Case(
        "postgresql",
        prepare=_nothing,
        spoil=World.failing_start,
        complaint="service postgresql start failed",
    ),
    "dkim_service.dead": Case(
        "postgresql",
        prepare=World.runs,
        spoil=World.failing_stop,
        complaint="service postgresql stop failed",
    ),
}


def apply(world, state, test=False, **arguments):
    case = CASES[state]
    given = {"name": case.name, **case.given(world), **arguments}
    return world.minion.state(state, test=test, **given)


def test_every_state_has_a_case():
    # Salt calls mod_watch of a state with a watch requisite.
    states = {name for name in functions_of("states") if not name.endswith(".mod_watch")}
    assert states == CASES.keys()


@pytest.mark.parametrize("state", [name for name in CASES if CASES[name].changes])
def test_test_run_shows_the_changes_of_the_run_and_a_second_run_changes_nothing(world, state):
    CASES[state].prepare(world)
    planned = apply(world, state, test=True)
    assert planned["result"] is None
    assert planned["changes"]
    assert planned["comment"]
    assert apply(world, state, test=True)["changes"] == planned["changes"]
    done = apply(world, state)
    assert done["result"] is True, done["comment"]
    assert done["changes"] == planned["changes"]
    assert done["comment"] != planned["comment"]
    for test in (False, True):
        again = apply(world, state, test=test)
        assert (again["result"], again["changes"]) == (True, {})


@pytest.mark.parametrize("state", [name for name in CASES if not CASES[name].changes])
def test_state_without_changes_has_the_same_comment_under_test(world, state):
    CASES[state].prepare(world)
    results = [apply(world, state, test=test) for test in (True, False)]
    assert [(one["result"], one["changes"]) for one in results] == [(True, {})] * 2
    assert results[0]["comment"] == results[1]["comment"]


@pytest.mark.parametrize("state", CASES)
def test_failed_state_explains_the_failure(world, state):
    CASES[state].spoil(world)
    failed = apply(world, state, **CASES[state].wrong)
    assert failed["result"] is False
    assert failed["changes"] == {}
    assert CASES[state].complaint in failed["comment"]
    assert "Traceback" not in failed["comment"]


@pytest.mark.parametrize("state", CASES)
def test_wrong_pillar_causes_no_traceback(world, state):
    world.daemon.start()
    world.minion.set_pillar(database={"nmae": "vmail"}, domains={"exa mple": {}})
    result = apply(world, state)
    assert "Traceback" not in result["comment"]
    if result["result"] is False:
        assert "dkim:" in result["comment"]


def test_test_run_succeeds_on_a_host_that_does_not_sign_yet(world):
    world.unsigned_mail()
    result = apply(world, "dkim.signing_verified", test=True)
    assert result["result"] is True
    assert "Mail is not signed yet" in result["comment"]
    assert "someone@example.com" in result["comment"]


def test_all_errors_of_a_pillar_are_reported_at_once(world):
    world.minion.set_pillar(
        database={"nmae": "vmail"},
        domains={"exa mple": {}, "example.com": {"bits": 512}},
        postfix={"milter_default_action": "acept"},
    )
    failed = apply(world, "dkim.checked")
    assert failed["result"] is False
    for part in ("nmae", "'exa mple'", "dkim:domains:example.com:bits: 512", "'acept'"):
        assert part in failed["comment"]


@pytest.mark.parametrize(
    "state",
    [
        "dkim.checked",
        "dkim.keys_managed",
        "dkim_opendkim.running",
        "dkim.records_shown",
        "dkim.rotated",
        "dkim.rotations_advanced",
        "dkim_postgres.database_present",
        "dkim_postgres.schema_present",
        "dkim_postgres.role_present",
        "dkim_postgres.password_absent",
        "dkim_postgres.access_present",
        "dkim_postgres.access_absent",
        "dkim_postfix.milters_present",
    ],
)
def test_test_run_succeeds_on_a_machine_without_services(world, monkeypatch, state):
    monkeypatch.setattr(main_cf, "POSTCONF", str(world.folder / "none"))
    world.minion.set_pillar(database={"port": 1})
    assert apply(world, state, test=True)["result"] is not False


def test_active_key_is_deleted_only_with_force(world):
    world.key("s2024")
    for test in (True, False):
        assert apply(world, "dkim.key_absent", test=test)["result"] is False
    assert apply(world, "dkim.key_absent", force=True)["result"] is True


def test_key_absent_checks_the_type_of_the_selector(world):
    world.schema()
    # A row may have any text as its selector, so any text can be deleted. A list is in no row.
    failed = apply(world, "dkim.key_absent", selector=["s2024"])
    assert failed["result"] is False
    assert failed["comment"].startswith("selector: a list is not a selector")


def test_key_that_differs_from_the_pillar_is_reported_and_kept(world):
    world.key()
    before = world.minion.private_keys()
    world.minion.set_pillar(domains={"example.com": {"bits": 4096}, "example.org": {}})
    result = apply(world, "dkim.keys_managed")
    assert (result["result"], result["changes"]) == (True, {})
    assert "default" in result["comment"]
    assert world.minion.private_keys() == before


def test_opendkim_is_restarted_if_a_file_is_newer_than_its_socket(world):
    world.daemon.start()
    world.config.write_text("Mode s\n")
    assert apply(world, "dkim_opendkim.running")["changes"]
    assert "restart opendkim" in world.services.events


def test_opendkim_with_an_invalid_socket_fails_with_the_reason(world):
    failed = apply(world, "dkim_opendkim.running", socket="run/opendkim.sock")
    assert (failed["result"], failed["changes"]) == (False, {})
    assert failed["comment"].startswith("socket: 'run/opendkim.sock' ")


def test_watch_restarts_opendkim_while_postfix_is_stopped(world):
    world.daemon.start()
    world.postfix.set(smtpd_milters=MILTER, milter_default_action="accept")
    chunk = {"name": "opendkim", "sfun": "running", "socket": world.daemon.path}
    planned = world.minion.state("dkim_opendkim.mod_watch", test=True, **chunk)
    assert (planned["result"], world.services.events) == (None, [])
    done = world.minion.state("dkim_opendkim.mod_watch", **chunk)
    assert (done["result"], done["changes"]) == (True, planned["changes"])
    assert "postfix was stopped" in done["comment"]
    events = [event for event in world.services.events if event != "units read"]
    assert events == ["stop postfix", "restart opendkim", "start postfix"]


def test_watch_of_another_state_fails(world):
    result = world.minion.state(
        "dkim_opendkim.mod_watch", name="x", sfun="key_present", socket="/none"
    )
    assert (result["result"], result["changes"]) == (False, {})


@pytest.mark.parametrize(("reload", "action"), [(False, "restart"), (True, "reload")])
def test_watch_restarts_or_reloads_a_service_once(world, monkeypatch, reload, action):
    stand_in(monkeypatch, world.minion.functions, {"service.reload": lambda name: True})
    chunk = {"name": "postfix", "sfun": "running", "reload": reload}
    planned = world.minion.state("dkim_service.mod_watch", test=True, **chunk)
    assert (planned["result"], world.services.events) == (None, [])
    done = world.minion.state("dkim_service.mod_watch", **chunk)
    assert (done["result"], done["changes"]) == (True, planned["changes"])
    assert f"{action}ed" in done["comment"]


def test_excessive_rights_of_the_reader_are_revoked_and_no_others(world):
    world.reader()
    database = world.minion.database
    with db.session(database) as connection:
        execute(connection, "CREATE ROLE site LOGIN; GRANT SELECT ON public.dkim TO site")
    assert apply(world, "dkim_postgres.role_present")["changes"] == {}
    with db.session(database) as connection:
        execute(connection, f'GRANT SELECT ON public.dkim TO "{READER}"')
    assert apply(world, "dkim_postgres.role_present")["changes"]
    with db.session(database) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT has_table_privilege('site', 'public.dkim', 'SELECT')")
        assert cursor.fetchone() == (True,)
