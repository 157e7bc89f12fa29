"""The daily work without a superuser, and a highstate that mends rights and access lines."""

from collections.abc import Mapping

import pytest
from support import mail, salt, server
from support.machine import Machine

# One release tells; `bin/test soak` runs it on both.
pytestmark = pytest.mark.one_release("trixie")
# The machine has the packages: this file is not about installing.
EQUIPPED = True

READER, WRITER = "vmail-dkim-reader", "vmail-dkim-writer"
PILLAR = {"dkim": {"domains": {"example.com": {"algorithm": "ed25519"}}}}

# What somebody took away, and what somebody gave away.
SPOILED = f"""
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM "{READER}", "{WRITER}";
REVOKE ALL ON SCHEMA public FROM "{READER}", "{WRITER}";
GRANT SELECT ON dkim, dkim_pattern TO "{READER}";
GRANT SELECT ON dkim, dkim_key_table TO PUBLIC;
GRANT UPDATE, DELETE ON dkim_history TO "{WRITER}";
GRANT EXECUTE ON FUNCTION dkim_recorded TO PUBLIC;
ALTER ROLE "{WRITER}" CREATEROLE;
"""
RIGHTS = """
SELECT c.relname, c.relacl FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = 'public' AND c.relkind IN ('r', 'v') ORDER BY 1
"""
FUNCTIONS = "SELECT proname, proacl FROM pg_proc WHERE proname LIKE 'dkim%' ORDER BY 1"
ROLES = "SELECT rolname, rolcreaterole FROM pg_roles WHERE rolname LIKE '%dkim%' ORDER BY 1"


@pytest.fixture(scope="module")
def box(machine: Machine) -> mail.Mailbox:
    salt.install_formula(machine, PILLAR)
    run = salt.apply(machine)
    assert run.succeeded, str(run)
    machine.write(
        f"{_folder(machine)}/conf.d/connections.conf", "log_connections = on\n", mode=0o644
    )
    machine.run("systemctl reload postgresql")
    return mail.Mailbox(machine)


@pytest.fixture(scope="module")
def records(box: mail.Mailbox) -> Mapping[str, str]:
    return mail.zone_records(box.machine, salt.call(box.machine, "dkim.records", format="bind"))


def _folder(machine: Machine) -> str:
    return machine.run("ls -d /etc/postgresql/*/main").stdout.strip()


def _users_since(machine: Machine, lines: int) -> set[str]:
    """Whom PostgreSQL let into the database since its log had so many lines."""
    script = f"tail -q -n +{lines + 1} /var/log/postgresql/*.log | grep 'connection authorized'"
    said = machine.run(script, check=False).stdout
    return {line.partition("user=")[2].split()[0] for line in said.splitlines()} - {READER}


def _lines(machine: Machine) -> int:
    return int(machine.run("cat /var/log/postgresql/*.log | wc -l").stdout)


def _rights(machine: Machine) -> list[str]:
    """Every right, in no order: GRANT puts a new one at the end of its list."""
    return [
        "".join(sorted(line))
        for query in (RIGHTS, FUNCTIONS, ROLES)
        for line in server.sql(machine, query).splitlines()
    ]


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("dkim.generate", ["example.com", "s2030"]),
        ("dkim.generate_missing", []),
        ("dkim.list_keys", []),
        ("dkim.records", ["example.com"]),
        ("dkim.status", ["example.com"]),
        ("dkim.delete", ["example.com", "s2030"]),
    ],
)
def test_daily_work_logs_in_as_the_writer_alone(
    box: mail.Mailbox, function: str, arguments: list[str]
) -> None:
    before = _lines(box.machine)
    salt.call(box.machine, function, *arguments)
    assert _users_since(box.machine, before) == {WRITER}


def test_highstate_mends_lines_and_rights(box: mail.Mailbox, records: Mapping[str, str]) -> None:
    machine = box.machine
    rights = _rights(machine)
    files = [f"{_folder(machine)}/pg_{name}.conf" for name in ("hba", "ident")]
    texts = [machine.read(path) for path in files]
    server.sql(machine, SPOILED)
    machine.run(f"sed -i '/dkim/d' {' '.join(files)} && systemctl restart postgresql")
    assert _rights(machine) != rights
    run = salt.apply(machine)
    assert run.succeeded, str(run)
    assert [machine.read(path) for path in files] == texts
    assert _rights(machine) == rights
    assert salt.apply(machine).changed == []
    message = mail.sent_by_smtp(box, "someone@example.com")
    assert [one.valid for one in mail.signatures(machine, message, records)] == [True]


def test_work_is_done_where_the_writer_can_not_log_in(box: mail.Mailbox) -> None:
    """Root on the machine is never locked out; the next highstate ends it."""
    files = f"{_folder(box.machine)}/pg_hba.conf {_folder(box.machine)}/pg_ident.conf"
    box.machine.run(f"sed -i '/writer/d' {files} && systemctl reload postgresql")
    before = _lines(box.machine)
    assert salt.call(box.machine, "dkim.list_keys")
    assert _users_since(box.machine, before) == {"postgres"}
    run = salt.apply(box.machine, "dkim.database")
    assert {state.id for state in run.changed} == {"The roles have their ways in"}
    before = _lines(box.machine)
    assert salt.call(box.machine, "dkim.list_keys")
    assert _users_since(box.machine, before) == {WRITER}
