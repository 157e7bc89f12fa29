"""
Every execution function, by the same rules: plain data out, Salt's errors, no secret anywhere.

A new function without an example here fails :func:`test_every_function_has_an_example`.
"""

import inspect
import os
import pty
import stat
import sys

import pytest
from dkim_formula import progress
from dkim_formula.health import check_database, model
from dkim_formula.postfix import control, joining, main_cf
from dkim_formula.postgres import connection as db
from dkim_formula.screens.commands import SCREENS
from dkim_formula.unattended import saved
from functional.doubles import OpenDKIM, Postfix, Services
from functional.postgres import execute, query, traditional_pem
from functional.salt_loaders import TREE, as_loaded, functions_of, stand_in
from salt.exceptions import CommandExecutionError, SaltInvocationError
from yaml import safe_load

pytestmark = pytest.mark.one_release

MILTER = "unix:opendkim/opendkim.sock"
READER = "vmail-dkim-reader"
PASSWORD = "Correct-Horse-Battery"
LOOKUP = safe_load((TREE / "dkim" / "defaults.yaml").read_text())

CHANGES = {"changes", "notes"}
ROTATION = {"changes", "dns", "waiting", "to_publish", "next_check", "notes", "problems"}

# For each function its arguments, where {folder} is the test's, and what the return has to be: the
# keys of a mapping, or a type.
EXAMPLES = {
    "dkim.activate": (["example.com", "s2026"], ROTATION),
    "dkim.advance": ([], ROTATION),
    "dkim.check": ([], {"problems", "advice", "looked"}),
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
    "dkim.notify": ([], {"changes", "told", "text", "waiting", "notes", "problems"}),
    "dkim.public_key": (["example.com", "default"], str),
    "dkim.publish": (["example.net"], {"changes", "unchanged", "problems", "manual", "notes"}),
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
    "dkim_sls.notify_minion": ([60], {"told"}),
    "dkim_sls.manage_job": (["metrics"], CHANGES),
    "dkim_sls.remove_job": (["metrics"], CHANGES),
    "dkim_sls.host_report": (
        [["mail"]],
        {"formula", "opendkim", "daemons", "sockets", "database", "selftest", "problems"},
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

# These take all that they need as arguments, so that a wrong pillar is none of their business.
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
    monkeypatch.setattr(joining, "MEMORY", str(tmp_path / "memory.json"))
    monkeypatch.setattr(control, "running", lambda: True)
    # dkim.selftest goes as far as the sockets, which are not there.
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
    """A minion that has passwords in its pillar and nothing in its database."""
    minion.secrets.add(PASSWORD)
    return minion


@pytest.fixture
def machine(surroundings, mailhost):
    """One with two keys for example.com, of the kind that costs no time."""
    mailhost.secrets.add(PASSWORD)
    mailhost.set_pillar(
        database={"reader": {"password": PASSWORD}},
        domains={
            "example.com": {"algorithm": "ed25519", "mta_sts": {"mx": ["mail.example.com"]}},
            "example.org": {"algorithm": "ed25519"},
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


def test_module_of_people_lists_what_people_call_and_nothing_else(loaded):
    """What sys.list_functions dkim and a shell's completion show; states have their own modules."""
    listed = loaded.functions["sys.list_functions"]("dkim")
    assert {name.removeprefix("dkim.") for name in listed} == SCREENS.keys()


def test_every_function_of_people_is_drawn_for_them():
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


# A restart is a change at each call; an announcement of records counts keys that a run makes first.
ANOTHER_TEST = {"dkim_opendkim.restart", "dkim.publish"}


@pytest.mark.parametrize(
    "function",
    [
        name
        for name, function in functions_of("module").items()
        if "test" in inspect.signature(function).parameters and name not in ANOTHER_TEST
    ],
)
def test_function_under_test_changes_nothing_and_returns_what_it_then_does(
    machine, tmp_path, function
):
    told = [call(machine, function, tmp_path, test=True)["changes"] for _ in range(2)]
    assert told[0] == told[1]
    done = call(machine, function, tmp_path)
    if "changes" in done:
        assert done["changes"] == told[0]
    else:
        assert told[0]


@pytest.mark.parametrize("function", [name for name in EXAMPLES if name not in WITHOUT_PILLAR])
def test_function_tells_of_a_wrong_pillar(minion, tmp_path, function):
    minion.set_pillar(database={"nmae": "vmail", "password": PASSWORD}, domains={"exa mple": {}})
    minion.secrets.add(PASSWORD)
    with pytest.raises(CommandExecutionError) as error:
        call(minion, function, tmp_path)
    assert "dkim:database:nmae" in str(error.value)
    assert "'exa mple'" in str(error.value)


# What asks no database, and what tells its troubles beside others, as of the last look
# (tests/functional/health). Set-up hangs on dkim.check, which is asked here.
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
def test_function_does_not_touch_the_database_of_a_newer_formula(machine, tmp_path, function):
    with db.session(machine.database) as connection:
        execute(connection, "INSERT INTO public.dkim_migration VALUES (99, 'of the future')")
    try:
        said = str(call(machine, function, tmp_path))
    except CommandExecutionError as error:
        said = str(error)
    assert "the database has migration 99, made by a newer formula" in said


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
def test_function_tells_of_a_database_that_is_not_there(bare, tmp_path, function):
    bare.set_pillar(
        database={"port": 1, "manage": False, "reader": {"password": PASSWORD}},
    )
    with pytest.raises(CommandExecutionError, match="no PostgreSQL answers at the local socket"):
        call(bare, function, tmp_path)


@pytest.mark.parametrize("format_", ["bind", "oneline", "nsupdate", "octodns", "json"])
def test_records_come_as_text_in_each_format(machine, format_):
    text = machine.call("dkim.records", "example.com", format=format_)
    assert isinstance(text, str)
    for selector in ("default", "s2026"):
        assert selector in text
        start = machine.call("dkim.public_key", "example.com", selector)[:60]
        assert start in text


def test_unknown_format_is_refused_by_name(machine):
    with pytest.raises(SaltInvocationError, match=r"format: 'bnid'"):
        machine.call("dkim.records", "example.com", format="bnid")


def test_records_as_data_say_what_each_is_for(machine):
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


def test_exported_key_is_in_a_file_for_root_alone(machine, tmp_path):
    machine.call("dkim.export_key", "example.com", "default", str(tmp_path / "out"))
    status = (tmp_path / "out").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o600, 0)
    assert (tmp_path / "out").read_text() in machine.private_keys()


def test_imported_key_keeps_its_selector(machine, tmp_path):
    key = machine.call("dkim.import_key", "example.org", "old", str(tmp_path / "mail.private"))
    assert (key["selector"], key["state"], key["existed"]) == ("old", "active", False)


def test_key_that_is_none_is_refused_without_its_content(machine, tmp_path):
    (tmp_path / "bad.private").write_text(f"-----BEGIN PRIVATE KEY-----\n{PASSWORD}\n")
    with pytest.raises(SaltInvocationError, match=r"bad\.private"):
        machine.call("dkim.import_key", "example.org", "old", str(tmp_path / "bad.private"))


def test_password_file_has_the_password_for_the_daemon_alone(machine, tmp_path):
    machine.call("dkim_opendkim.write_password_file", str(tmp_path / "pgpass"), "postgres")
    assert (tmp_path / "pgpass").read_text().endswith(f":{READER}:{PASSWORD}\n")
    assert stat.S_IMODE((tmp_path / "pgpass").stat().st_mode) == 0o400


def test_password_reaches_the_server_as_a_verifier(machine, server):
    before = server.log()
    machine.call("dkim_postgres.manage_role", READER, "pillar")
    with db.session(machine.database) as connection:
        ((stored,),) = query(
            connection, "SELECT rolpassword FROM pg_authid WHERE rolname = %s", (READER,)
        )
    assert stored.startswith("SCRAM-SHA-256$")
    assert PASSWORD not in server.log()[len(before) :]


def test_password_given_as_an_argument_is_refused_unshown(machine):
    with pytest.raises(SaltInvocationError, match="keep, absent, pillar"):
        machine.call("dkim_postgres.manage_role", READER, PASSWORD)


def test_settings_for_the_states_hold_no_secret(machine):
    assert PASSWORD not in str(machine.call("dkim_sls.settings", LOOKUP))


def test_check_finds_everything_at_once(machine):
    machine.set_pillar(
        database={"port": 1, "manage": False},
        domains={"exa mple": {}},
        postfix={"milter_default_action": "acept"},
    )
    problems = "\n".join(machine.call("dkim.check")["problems"])
    for part in ("'exa mple'", "'acept'", "no PostgreSQL answers"):
        assert part in problems


def test_milters_join_behind_those_of_others_and_leave_them(machine):
    assert machine.call("dkim_postfix.manage_milters", ["inet:localhost:11332"])["changes"]
    joined = machine.call("dkim_postfix.manage_milters", [MILTER])["changes"]
    ours = f"{{ {MILTER}, default_action=accept }}"
    assert joined["smtpd_milters"]["new"].endswith(f", {ours}")
    left = machine.call("dkim_postfix.remove_milters", [MILTER])["changes"]
    assert "inet:localhost:11332" in left["smtpd_milters"]["new"]
    assert MILTER not in left["smtpd_milters"]["new"]


def test_milter_that_does_not_answer_is_not_joined(machine, tmp_path):
    with pytest.raises(CommandExecutionError, match="no milter answers"):
        machine.call("dkim_postfix.manage_milters", [MILTER], sockets=[str(tmp_path / "none")])
    assert machine.call("dkim_postfix.manage_milters", [MILTER], test=True)["changes"]


@pytest.fixture
def terminal(monkeypatch):
    """A terminal where every step is drawn: what writes to it, and what was seen there."""
    ours, theirs = pty.openpty()
    stream = os.fdopen(theirs, "w")
    monkeypatch.setattr(progress, "DELAY", 0)
    monkeypatch.setattr(progress, "REDRAWN", 0)

    def seen():
        stream.write("END")
        stream.flush()
        text = ""
        while not text.endswith("END"):
            text += os.read(ours, 4096).decode()
        return text

    yield stream, seen
    stream.close()
    os.close(ours)


@pytest.mark.parametrize(
    ("function", "arguments", "what"),
    [
        ("dkim.check_dns", [], "1 of 2 records"),
        ("dkim.status", [], "1 of 2 records"),
        ("dkim.import_tables", ["{folder}/KeyTable"], "0 of 1 keys"),
    ],
)
@pytest.mark.parametrize(("cli", "is_seen"), [("salt-call", True), ("salt-minion", False)])
def test_progress_is_for_who_waits_at_a_terminal(
    machine, tmp_path, monkeypatch, terminal, function, arguments, what, cli, is_seen
):
    machine.set_pillar(
        domains={"example.com": {"algorithm": "ed25519"}},
        dns={"resolver": "127.0.0.1@1", "timeout": 1},
    )
    stream, seen = terminal
    monkeypatch.setattr("sys.stderr", stream)
    # The module's own: Salt 3008 may have given its loader a copy of the options since.
    loaded = as_loaded(machine.functions, "dkim.status")
    monkeypatch.setitem(inspect.unwrap(loaded).__globals__["__opts__"], "__cli", cli)
    machine.call(function, *(text.format(folder=tmp_path) for text in arguments))
    assert (what in seen()) == is_seen
