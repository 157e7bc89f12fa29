"""
Rules for every execution function: it returns plain data, raises Salt's errors, shows no secret.

:func:`test_every_function_has_an_example` fails for a new function without an example here.
"""

import inspect
import os
import pty
import stat
import sys

import pytest
from dkim_formula import progress
from dkim_formula.health import check_database, model
from dkim_formula.postfix import control, main_cf, saved_values
from dkim_formula.postgres import connection as db
from dkim_formula.screens.commands import SCREENS
from dkim_formula.unattended import saved
from functional.doubles import OpenDKIM, Postfix, Services
from functional.salt_loaders import TREE, as_loaded, functions_of, stand_in
from functional.server import execute, query, traditional_pem
from salt.exceptions import CommandExecutionError, SaltInvocationError
from yaml import safe_load

pytestmark = pytest.mark.one_release

MILTER = "unix:opendkim/opendkim.sock"
READER = "vmail-dkim-reader"
PASSWORD = "Correct-Horse-Battery"
LOOKUP = safe_load((TREE / "dkim" / "defaults.yaml").read_text())

CHANGES = {"changes", "notes"}
ROTATION = {"changes", "dns", "waiting", "to_publish", "next_check", "notes", "problems"}

# For each function: its arguments, and the required keys or the type of its return.
# {folder} stands for the test's temporary folder.
EXAMPLES = {
    "dkim.activate": (["example.com", "s2026"], ROTATION),
    "dkim.advance": ([], ROTATION),
    "dkim.check": ([], {"problems", "advice", "database_checked"}),
    "dkim.check_dns": (["example.net"], {"ok", "counts", "records"}),
    "dkim_opendkim.configuration_problems": ([], {"problems", "asked"}),
    "dkim.delegations": ([], {"ok", "counts", "delegations"}),
    "dkim.delete": (["example.com", "s2026"], {"domain", "state"}),
    "dkim.doctor": ([], list),
    "dkim.export_key": (["example.com", "default", "{folder}/out"], {"path", "public_key"}),
    "dkim.forget_replica": (["192.0.2.11"], CHANGES),
    "dkim.generate": (["example.org", "s2027"], {"domain", "record", "existed"}),
    "dkim.generate_missing": ([], CHANGES),
    "dkim.import_key": (["example.org", "old", "{folder}/mail.private"], {"record", "existed"}),
    "dkim.import_tables": (
        ["{folder}/KeyTable"],
        {
            "imported",
            "present",
            "refused",
            "patterns",
            "pillar",
            "changes",
            "notes",
            "files",
            "also_signs",
        },
    ),
    "dkim_opendkim.is_up_to_date": (["{folder}/opendkim.sock"], bool),
    "dkim.list_keys": ([], list),
    "dkim.metrics": ([], str),
    "dkim.mta_sts_policy": (["example.com"], {"url", "text"}),
    "dkim.notify": ([], {"changes", "notified", "text", "waiting", "notes", "problems"}),
    "dkim.public_key": (["example.com", "default"], str),
    "dkim.publish": (["example.org"], {"changes", "unchanged", "problems", "manual", "notes"}),
    "dkim.records": ([], list),
    "dkim_sls.records_summary": ([], str),
    "dkim_opendkim.restart": (
        ["opendkim", "{folder}/opendkim.sock"],
        {"restarted", "paused", "main_cf"},
    ),
    "dkim.retire": (["example.com", "default", True], ROTATION),
    "dkim.revoke": (["example.com", "s2026"], ROTATION),
    "dkim.selftest": (["example.com"], list),
    "dkim.rotate": (["example.com"], ROTATION),
    "dkim.rotate_due": ([], ROTATION),
    "dkim_sls.settings": ([LOOKUP], {"database", "daemons", "postfix"}),
    "dkim_sls.notify_minion": ([60], {"notified"}),
    "dkim_sls.manage_job": (["metrics"], CHANGES),
    "dkim_sls.remove_job": (["metrics"], CHANGES),
    "dkim_sls.host_report": (
        [["mail"]],
        {"formula", "opendkim", "daemons", "sockets", "database", "selftest", "problems"}
        | {"unknown", "checked", "needs_person"},
    ),
    "dkim_sls.signing_problems": ([], list),
    "dkim_opendkim.login_problems": ([], {"problems", "untried"}),
    "dkim.health": ([], {"problems", "unknown", "checked"}),
    "dkim.write_metrics": (["{folder}/dkim.prom"], {"path"}),
    "dkim.report": (["{folder}/index.html"], {"path", "group", "changes"}),
    "dkim.status": ([], list),
    "dkim_opendkim.write_password_file": (["{folder}/pgpass", "postgres"], CHANGES),
    "dkim_opendkim.keep_copy": (["{folder}/KeyTable", "{folder}/copy"], CHANGES),
    "dkim_postfix.manage_milters": ([[MILTER]], CHANGES),
    "dkim_postfix.remove_milters": ([[MILTER]], CHANGES),
    "dkim_postgres.revoke_public": ([], CHANGES),
    "dkim_postgres.manage_database": ([], CHANGES),
    "dkim_postgres.manage_access": ([], CHANGES),
    "dkim_postgres.manage_writer": ([], CHANGES),
    "dkim_postgres.manage_role": ([READER, "pillar"], CHANGES),
    "dkim_postgres.manage_schema": ([], CHANGES),
    "dkim_postgres.remove_former_roles": ([], CHANGES),
    "dkim_postgres.remove_password": ([READER], CHANGES),
}

# These functions work without a valid pillar: their arguments hold all that they need.
WITHOUT_PILLAR = {
    "dkim.doctor",
    "dkim_opendkim.is_up_to_date",
    "dkim_opendkim.restart",
    "dkim_sls.settings",
    "dkim.check",
    "dkim.metrics",
    "dkim_sls.notify_minion",
    "dkim_sls.remove_job",
    "dkim_sls.host_report",
    "dkim.health",
    "dkim.write_metrics",
    "dkim.report",
    "dkim_opendkim.keep_copy",
} | {name for name in EXAMPLES if name.startswith("dkim_postfix.")}


@pytest.fixture
def surroundings(loaded, server, tmp_path, monkeypatch):
    """A daemon, a Postfix, and a key in a file."""
    access_files = {path: path.read_text() for path in server.data.glob("pg_*.conf")}
    daemon = OpenDKIM(tmp_path / "opendkim.sock")
    doubles = Services(daemon).functions() | {"event.fire": lambda _data, _tag: True}
    stand_in(monkeypatch, loaded.functions, doubles)
    monkeypatch.setattr(saved, "FOLDER", str(tmp_path / "jobs"))
    monkeypatch.setattr(main_cf, "POSTCONF", str(Postfix(tmp_path).postconf))
    monkeypatch.setattr(saved_values, "PATH", str(tmp_path / "memory.json"))
    monkeypatch.setattr(control, "running", lambda: True)
    # dkim.selftest stops at the sockets, which do not exist here.
    monkeypatch.setattr(model, "OPENDKIM", sys.executable)
    monkeypatch.setattr(check_database, "logins", lambda host: [])
    (tmp_path / "mail.private").write_text(traditional_pem())
    (tmp_path / "mail.private").chmod(0o600)
    (tmp_path / "KeyTable").write_text(f"a example.org:mail:{tmp_path}/mail.private\n")
    yield
    daemon.stop()
    for path, text in access_files.items():
        path.write_text(text)
    with db.session(server.settings) as connection:
        execute(connection, "SELECT pg_reload_conf()")


@pytest.fixture
def bare(surroundings, minion):
    """A minion with a password among its secrets and an empty database."""
    minion.secrets.add(PASSWORD)
    return minion


@pytest.fixture
def machine(surroundings, mailhost):
    """A mail host with two keys for example.com. Ed25519 keys take no time to generate."""
    mailhost.secrets.add(PASSWORD)
    mailhost.set_pillar(
        database={"reader": {"password": PASSWORD}},
        domains={
            "example.com": {"algorithm": "ed25519", "mta_sts": {"mx": ["mail.example.com"]}},
            "example.org": {"algorithm": "ed25519"},
            # Without a record, so that no name server is asked.
            "example.net": False,
        },
    )
    mailhost.call("dkim.generate", "example.com")
    mailhost.call("dkim.generate", "example.com", "s2026")
    with db.session(mailhost.database) as connection:
        standby = "INSERT INTO public.dkim_replica (name, address, mark_lsn) VALUES"
        execute(connection, f"{standby} ('second', '192.0.2.11', '0/0')")
    return mailhost


def call(minion, function, folder, **more):
    arguments = [
        text.format(folder=folder) if isinstance(text, str) else text
        for text in EXAMPLES[function][0]
    ]
    return minion.call(function, *arguments, **more)


def test_every_function_has_an_example():
    assert functions_of("module").keys() == EXAMPLES.keys()


def test_dkim_module_lists_exactly_the_functions_with_a_screen(loaded):
    """sys.list_functions and shell completion show this list; states use other modules."""
    listed = loaded.functions["sys.list_functions"]("dkim")
    assert {name.removeprefix("dkim.") for name in listed} == SCREENS.keys()


def test_every_function_of_the_dkim_module_uses_the_screen_outputter():
    outputters = {
        inspect.unwrap(function).__globals__["__outputter__"].get(name.removeprefix("dkim."))
        for name, function in functions_of("module").items()
        if name.startswith("dkim.")
    }
    assert outputters == {"dkim_screen"}


@pytest.mark.parametrize("function", EXAMPLES)
def test_function_returns_plain_data_and_keeps_secrets(machine, tmp_path, function):
    returned = call(machine, function, tmp_path)
    expected = EXAMPLES[function][1]
    if isinstance(expected, set):
        assert expected <= returned.keys()
    else:
        assert isinstance(returned, expected)
    assert not machine.leaks()


# A restart changes something at each call. A preview of dkim.publish counts keys that a run makes.
ANOTHER_TEST = {"dkim_opendkim.restart", "dkim.publish"}


@pytest.mark.parametrize(
    "function",
    [
        name
        for name, function in functions_of("module").items()
        if "test" in inspect.signature(function).parameters and name not in ANOTHER_TEST
    ],
)
def test_function_under_test_changes_nothing_and_returns_the_later_changes(
    machine, tmp_path, function
):
    planned = [call(machine, function, tmp_path, test=True)["changes"] for _ in range(2)]
    assert planned[0] == planned[1]
    done = call(machine, function, tmp_path)
    if "changes" in done:
        assert done["changes"] == planned[0]
    else:
        assert planned[0]


@pytest.mark.parametrize("function", [name for name in EXAMPLES if name not in WITHOUT_PILLAR])
def test_function_reports_a_wrong_pillar(minion, tmp_path, function):
    minion.set_pillar(database={"nmae": "vmail", "password": PASSWORD}, domains={"exa mple": {}})
    minion.secrets.add(PASSWORD)
    with pytest.raises(CommandExecutionError) as error:
        call(minion, function, tmp_path)
    assert "dkim:database:nmae" in str(error.value)
    assert "'exa mple'" in str(error.value)


# Functions that need no database, and functions that report its problems among others, as of the
# last check (tests/functional/health). All states depend on dkim.check, which is tested here.
NO_WORK_WITH_KEYS = {
    "dkim.health",
    "dkim.metrics",
    "dkim.mta_sts_policy",
    "dkim.notify",
    "dkim.report",
    "dkim.write_metrics",
}


@pytest.mark.parametrize(
    "function",
    [name for name in EXAMPLES if name.startswith("dkim.") and name not in NO_WORK_WITH_KEYS],
)
def test_function_refuses_the_database_of_a_newer_formula(machine, tmp_path, function):
    with db.session(machine.database) as connection:
        execute(connection, "INSERT INTO public.dkim_migration VALUES (99, 'of the future')")
    try:
        text = str(call(machine, function, tmp_path))
    except CommandExecutionError as error:
        text = str(error)
    assert "the database has migration 99, made by a newer formula" in text


@pytest.mark.parametrize(
    "function",
    [
        name
        for name in EXAMPLES
        if name not in WITHOUT_PILLAR
        and not name.startswith("dkim_opendkim.")
        and name not in ("dkim.mta_sts_policy", "dkim.notify", "dkim_sls.manage_job")
    ],
)
def test_function_reports_that_no_server_answers(bare, tmp_path, function):
    bare.set_pillar(
        database={"port": 1, "manage": False, "reader": {"password": PASSWORD}},
    )
    with pytest.raises(CommandExecutionError, match="no PostgreSQL answers at the local socket"):
        call(bare, function, tmp_path)


@pytest.mark.parametrize("format_", ["bind", "oneline", "nsupdate", "octodns", "json"])
def test_records_are_text_in_each_format(machine, format_):
    text = machine.call("dkim.records", "example.com", format=format_)
    assert isinstance(text, str)
    for selector in ("default", "s2026"):
        assert selector in text
        start = machine.call("dkim.public_key", "example.com", selector)[:60]
        assert start in text


@pytest.mark.parametrize("function", ["dkim.records", "dkim.check_dns"])
def test_domain_that_no_one_names_is_refused_as_mistyped(machine, function):
    with pytest.raises(CommandExecutionError, match=r"exmaple\.com is neither in dkim:domains nor"):
        machine.call(function, "exmaple.com")


def test_unknown_format_is_refused_with_its_value(machine):
    with pytest.raises(SaltInvocationError, match=r"format: 'bnid'"):
        machine.call("dkim.records", "example.com", format="bnid")


def test_records_as_data_have_a_purpose_and_a_domain(machine):
    for record in machine.call("dkim.records"):
        assert record.keys() >= {
            "name",
            "type",
            "ttl",
            "value",
            "purpose",
            "domain",
            "selector",
        }


def test_only_root_can_read_the_file_of_an_exported_key(machine, tmp_path):
    machine.call("dkim.export_key", "example.com", "default", str(tmp_path / "out"))
    status = (tmp_path / "out").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o600, 0)
    assert (tmp_path / "out").read_text() in machine.private_keys()


def test_imported_key_keeps_its_selector(machine, tmp_path):
    key = machine.call("dkim.import_key", "example.org", "old", str(tmp_path / "mail.private"))
    assert (key["selector"], key["state"], key["existed"]) == ("old", "active", False)


def test_file_without_a_key_is_refused_and_its_content_is_not_shown(machine, tmp_path):
    (tmp_path / "bad.private").write_text(f"-----BEGIN PRIVATE KEY-----\n{PASSWORD}\n")
    with pytest.raises(SaltInvocationError, match=r"bad\.private"):
        machine.call("dkim.import_key", "example.org", "old", str(tmp_path / "bad.private"))


def test_only_the_daemons_user_can_read_the_password_file(machine, tmp_path):
    machine.call("dkim_opendkim.write_password_file", str(tmp_path / "pgpass"), "postgres")
    assert (tmp_path / "pgpass").read_text().endswith(f":{READER}:{PASSWORD}\n")
    assert stat.S_IMODE((tmp_path / "pgpass").stat().st_mode) == 0o400


def test_server_stores_a_verifier_instead_of_the_password(machine, server):
    logged = server.log_from_now()
    machine.call("dkim_postgres.manage_role", READER, "pillar")
    with db.session(machine.database) as connection:
        ((stored,),) = query(
            connection, "SELECT rolpassword FROM pg_authid WHERE rolname = %s", (READER,)
        )
    assert stored.startswith("SCRAM-SHA-256$")
    assert PASSWORD not in logged()


def test_password_as_an_argument_is_refused(machine):
    with pytest.raises(SaltInvocationError, match="keep, absent, pillar"):
        machine.call("dkim_postgres.manage_role", READER, PASSWORD)


def test_settings_for_the_states_hold_no_secret(machine):
    assert PASSWORD not in str(machine.call("dkim_sls.settings", LOOKUP))


def test_check_reports_all_problems_at_once(machine):
    machine.set_pillar(
        database={"port": 1, "manage": False},
        domains={"exa mple": {}},
        postfix={"milter_default_action": "acept"},
    )
    problems = "\n".join(machine.call("dkim.check")["problems"])
    for part in ("'exa mple'", "'acept'", "no PostgreSQL answers"):
        assert part in problems


def test_milters_are_added_and_removed_beside_the_milters_of_others(machine):
    assert machine.call("dkim_postfix.manage_milters", ["inet:localhost:11332"])["changes"]
    joined = machine.call("dkim_postfix.manage_milters", [MILTER])["changes"]
    added = f"{{ {MILTER}, default_action=accept }}"
    assert joined["smtpd_milters"]["new"].endswith(f", {added}")
    left = machine.call("dkim_postfix.remove_milters", [MILTER])["changes"]
    assert "inet:localhost:11332" in left["smtpd_milters"]["new"]
    assert MILTER not in left["smtpd_milters"]["new"]


def test_milter_that_does_not_answer_is_not_added(machine, tmp_path):
    with pytest.raises(CommandExecutionError, match="no milter answers"):
        machine.call("dkim_postfix.manage_milters", [MILTER], sockets=[str(tmp_path / "none")])
    assert machine.call("dkim_postfix.manage_milters", [MILTER], test=True)["changes"]


@pytest.fixture
def terminal(monkeypatch):
    """A terminal that shows every step: a stream to it, and a function that returns its text."""
    screen, stream_end = pty.openpty()
    stream = os.fdopen(stream_end, "w")
    monkeypatch.setattr(progress, "DELAY", 0)
    monkeypatch.setattr(progress, "REDRAWN", 0)

    def read_screen():
        stream.write("END")
        stream.flush()
        text = ""
        while not text.endswith("END"):
            text += os.read(screen, 4096).decode()
        return text

    yield stream, read_screen
    stream.close()
    os.close(screen)


@pytest.mark.parametrize(
    ("function", "arguments", "what"),
    [
        ("dkim.check_dns", [], "1 of 2 records"),
        ("dkim.status", [], "1 of 2 records"),
        ("dkim.import_tables", ["{folder}/KeyTable"], "0 of 1 keys"),
    ],
)
@pytest.mark.parametrize(("cli", "is_shown"), [("salt-call", True), ("salt-minion", False)])
def test_progress_is_shown_to_salt_call_on_a_terminal(
    machine, tmp_path, monkeypatch, terminal, function, arguments, what, cli, is_shown
):
    machine.set_pillar(
        domains={"example.com": {"algorithm": "ed25519"}},
        dns={"resolver": "127.0.0.1@1", "timeout": 1},
    )
    stream, read_screen = terminal
    monkeypatch.setattr("sys.stderr", stream)
    # The module's own options: the loader of Salt 3008 may have a copy of them by now.
    loaded = as_loaded(machine.functions, "dkim.status")
    monkeypatch.setitem(inspect.unwrap(loaded).__globals__["__opts__"], "__cli", cli)
    machine.call(function, *(text.format(folder=tmp_path) for text in arguments))
    assert (what in read_screen()) == is_shown
