"""
Every execution function, by the same rules: plain data out, Salt's errors, no secret anywhere.

A new function without an example here fails :func:`test_every_function_has_an_example`.
"""

import stat
import sys

import pytest
from dkim_formula.database import connection as db
from dkim_formula.doctor import database, site
from dkim_formula.postfix import control, joining, main_cf
from functional.doubles import OpenDKIM, Postfix, Schedule, Services
from functional.postgres import execute, query, traditional_pem
from functional.salt_loaders import TREE, functions_of, stand_in
from salt.exceptions import CommandExecutionError, SaltInvocationError
from yaml import safe_load

MILTER = "unix:opendkim/opendkim.sock"
READER = "vmail-dkim-reader"
PASSWORD = "Correct-Horse-Battery"
LOOKUP = safe_load((TREE / "dkim" / "defaults.yaml").read_text())

CHANGES = {"changes", "notes"}
ROTATION = {"changes", "dns", "waiting", "publish", "come_back", "notes", "problems"}

# For each function its arguments, where {folder} is the test's, and what the return has to be: the
# keys of a mapping, or a type.
EXAMPLES = {
    "dkim.activate": (["example.com", "s2026"], ROTATION),
    "dkim.advance": ([], ROTATION),
    "dkim.check": ([], {"problems", "advice", "looked"}),
    "dkim.check_dns": (["example.net"], {"right", "counts", "records"}),
    "dkim.configuration_problems": ([], {"problems", "asked"}),
    "dkim.delete": (["example.com", "s2026"], {"domain", "state"}),
    "dkim.doctor": ([], list),
    "dkim.export_key": (["example.com", "default", "{folder}/out"], {"path", "public_key"}),
    "dkim.generate": (["example.org", "s2027"], {"domain", "record", "existed"}),
    "dkim.generate_missing": ([], CHANGES),
    "dkim.import_key": (["example.org", "old", "{folder}/mail.private"], {"record", "existed"}),
    "dkim.import_tables": (
        ["{folder}/KeyTable"],
        {"imported", "present", "refused", "patterns", "pillar", "changes", "notes"},
    ),
    "dkim.is_current": (["{folder}/opendkim.sock"], bool),
    "dkim.lacking_key": (["example.org"], {"changes"}),
    "dkim.leaving_key": (["example.com", "s2026"], {"changes"}),
    "dkim.list_keys": ([], list),
    "dkim.missing_keys": ([], CHANGES),
    "dkim.metrics": ([], str),
    "dkim.mta_sts_policy": (["example.com"], {"url", "text"}),
    "dkim.password_file_changes": (["{folder}/pgpass", "postgres"], CHANGES),
    "dkim.public_key": (["example.com", "default"], str),
    "dkim.publish": (["example.net"], {"changes", "unchanged", "problems", "by_hand", "notes"}),
    "dkim.records": ([], list),
    "dkim.records_to_show": ([], str),
    "dkim.restart": (["opendkim", "{folder}/opendkim.sock"], {"restarted", "paused", "main_cf"}),
    "dkim.retire": (["example.com", "default", True], ROTATION),
    "dkim.revoke": (["example.com", "s2026"], ROTATION),
    "dkim.selftest": (["example.com"], list),
    "dkim.rotate": (["example.com"], ROTATION),
    "dkim.rotate_due": ([], ROTATION),
    "dkim.settings": ([LOOKUP], {"database", "daemons", "postfix"}),
    "dkim.tell_minion": ([60], {"told"}),
    "dkim.watch": ([], {"troubles", "unknown", "looked"}),
    "dkim.write_metrics": (["{folder}/dkim.prom"], {"path"}),
    "dkim.status": ([], list),
    "dkim.write_password_file": (["{folder}/pgpass", "postgres"], CHANGES),
    "dkim_opendkim.copy_changes": (["{folder}/KeyTable", "{folder}/copy"], CHANGES),
    "dkim_opendkim.keep_copy": (["{folder}/KeyTable", "{folder}/copy"], CHANGES),
    "dkim_postfix.join_milters": ([[MILTER]], CHANGES),
    "dkim_postfix.leave_milters": ([[MILTER]], CHANGES),
    "dkim_postfix.leftover_changes": ([[MILTER]], CHANGES),
    "dkim_postfix.milter_changes": ([[MILTER]], CHANGES),
    "dkim_postgres.access_changes": ([], CHANGES),
    "dkim_postgres.close_to_public": ([], CHANGES),
    "dkim_postgres.database_changes": ([], CHANGES),
    "dkim_postgres.former_role_changes": ([], CHANGES),
    "dkim_postgres.make_database": ([], CHANGES),
    "dkim_postgres.manage_access": ([], CHANGES),
    "dkim_postgres.manage_worker": ([], CHANGES),
    "dkim_postgres.manage_role": ([READER, "pillar"], CHANGES),
    "dkim_postgres.migrate": ([], CHANGES),
    "dkim_postgres.password_changes": ([READER], CHANGES),
    "dkim_postgres.public_changes": ([], CHANGES),
    "dkim_postgres.remove_former_roles": ([], CHANGES),
    "dkim_postgres.remove_password": ([READER], CHANGES),
    "dkim_postgres.role_changes": ([READER, "pillar"], CHANGES),
    "dkim_postgres.schema_changes": ([], CHANGES),
    "dkim_postgres.worker_changes": ([], CHANGES),
}

# These take all that they need as arguments, so that a wrong pillar is none of their business.
WITHOUT_PILLAR = {
    "dkim.doctor",
    "dkim.is_current",
    "dkim.restart",
    "dkim.settings",
    "dkim.check",
    "dkim.metrics",
    "dkim.tell_minion",
    "dkim.watch",
    "dkim.write_metrics",
} | {name for name in EXAMPLES if name.startswith(("dkim_opendkim.", "dkim_postfix."))}


@pytest.fixture
def surroundings(loaded, server, tmp_path, monkeypatch):
    """A daemon, a Postfix, and a key in a file."""
    access_files = {path: path.read_text() for path in server.data.glob("pg_*.conf")}
    daemon = OpenDKIM(tmp_path / "opendkim.sock")
    stand_in(monkeypatch, loaded.functions, Services(daemon).functions() | Schedule().functions())
    monkeypatch.setattr(main_cf, "POSTCONF", str(Postfix(tmp_path).postconf))
    monkeypatch.setattr(joining, "MEMORY", str(tmp_path / "memory.json"))
    monkeypatch.setattr(control, "running", lambda: True)
    # dkim.selftest goes as far as the sockets, which are not there.
    monkeypatch.setattr(site, "OPENDKIM", sys.executable)
    monkeypatch.setattr(database, "logins", lambda site: [])
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
    return mailhost


def call(minion, function, folder):
    arguments = [
        text.format(folder=folder) if isinstance(text, str) else text
        for text in EXAMPLES[function][0]
    ]
    return minion.call(function, *arguments)


def test_every_function_has_an_example():
    assert functions_of("module").keys() == EXAMPLES.keys()


@pytest.mark.parametrize("function", EXAMPLES)
def test_function_returns_plain_data_and_keeps_secrets(machine, tmp_path, function):
    returned = call(machine, function, tmp_path)
    expected = EXAMPLES[function][1]
    if isinstance(expected, set):
        assert expected <= returned.keys()
    else:
        assert isinstance(returned, expected)
    assert not machine.leaks()


@pytest.mark.parametrize("function", [name for name in EXAMPLES if name not in WITHOUT_PILLAR])
def test_function_tells_of_a_wrong_pillar(minion, tmp_path, function):
    minion.set_pillar(database={"nmae": "vmail", "password": PASSWORD}, domains={"exa mple": {}})
    minion.secrets.add(PASSWORD)
    with pytest.raises(CommandExecutionError) as error:
        call(minion, function, tmp_path)
    assert "dkim:database:nmae" in str(error.value)
    assert "'exa mple'" in str(error.value)


@pytest.mark.parametrize(
    "function",
    [
        name
        for name in EXAMPLES
        if name not in WITHOUT_PILLAR
        and name not in {"dkim.configuration_problems", "dkim.mta_sts_policy"}
        and "password_file" not in name
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
    machine.call("dkim.write_password_file", str(tmp_path / "pgpass"), "postgres")
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
        machine.call("dkim_postgres.role_changes", READER, PASSWORD)


def test_settings_for_the_states_hold_no_secret(machine):
    assert PASSWORD not in str(machine.call("dkim.settings", LOOKUP))


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
    assert machine.call("dkim_postfix.join_milters", ["inet:localhost:11332"])["changes"]
    joined = machine.call("dkim_postfix.join_milters", [MILTER])["changes"]
    ours = f"{{ {MILTER}, default_action=accept }}"
    assert joined["smtpd_milters"]["new"].endswith(f", {ours}")
    left = machine.call("dkim_postfix.leave_milters", [MILTER])["changes"]
    assert "inet:localhost:11332" in left["smtpd_milters"]["new"]
    assert MILTER not in left["smtpd_milters"]["new"]


def test_milter_that_does_not_answer_is_not_joined(machine, tmp_path):
    with pytest.raises(CommandExecutionError, match="no milter answers"):
        machine.call("dkim_postfix.join_milters", [MILTER], sockets=[str(tmp_path / "none")])
    assert machine.call("dkim_postfix.milter_changes", [MILTER])["changes"]
