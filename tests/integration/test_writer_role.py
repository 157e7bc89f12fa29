"""The writer role instead of a superuser, and repair of rights and access lines by a highstate."""

from collections.abc import Mapping

import pytest
from support import mail, salt, server
from support.machine import Machine

# One release is enough; `bin/test soak` runs this file on both.
pytestmark = pytest.mark.one_release("trixie")
# The packages are installed: this file does not test their installation.
EQUIPPED = True

READER, WRITER = "vmail-dkim-reader", "vmail-dkim-writer"
PILLAR = {"dkim": {"domains": {"example.com": {"algorithm": "ed25519"}}}}

# Revokes rights that the roles need, and grants rights that they must not have.
WRONG_RIGHTS = f"""
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
    """Return the roles that logged in since PostgreSQL's log had this number of lines."""
    script = f"tail -q -n +{lines + 1} /var/log/postgresql/*.log | grep 'connection authorized'"
    log = machine.run(script, check=False).stdout
    return {line.partition("user=")[2].split()[0] for line in log.splitlines()} - {READER}


def _lines(machine: Machine) -> int:
    return int(machine.run("cat /var/log/postgresql/*.log | wc -l").stdout)


def _rights(machine: Machine) -> list[str]:
    """Return every right. Each line is sorted, because GRANT appends to the list of rights."""
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
def test_functions_log_in_only_as_the_writer(
    box: mail.Mailbox, function: str, arguments: list[str]
) -> None:
    before = _lines(box.machine)
    salt.call(box.machine, function, *arguments)
    assert _users_since(box.machine, before) == {WRITER}


def test_highstate_restores_access_lines_and_rights(
    box: mail.Mailbox, records: Mapping[str, str]
) -> None:
    machine = box.machine
    rights = _rights(machine)
    files = [f"{_folder(machine)}/pg_{name}.conf" for name in ("hba", "ident")]
    texts = [machine.read(path) for path in files]
    server.sql(machine, WRONG_RIGHTS)
    machine.run(f"sed -i '/dkim/d' {' '.join(files)} && systemctl restart postgresql")
    assert _rights(machine) != rights
    run = salt.apply(machine)
    assert run.succeeded, str(run)
    assert [machine.read(path) for path in files] == texts
    assert _rights(machine) == rights
    assert salt.apply(machine).changed == []
    message = mail.sent_by_smtp(box, "someone@example.com")
    assert [one.valid for one in mail.signatures(machine, message, records)] == [True]


def test_function_logs_in_as_postgres_when_the_writer_can_not_log_in(box: mail.Mailbox) -> None:
    """Root on the machine is never locked out. The next highstate restores the writer's login."""
    files = f"{_folder(box.machine)}/pg_hba.conf {_folder(box.machine)}/pg_ident.conf"
    box.machine.run(f"sed -i '/writer/d' {files} && systemctl reload postgresql")
    before = _lines(box.machine)
    assert salt.call(box.machine, "dkim.list_keys")
    assert _users_since(box.machine, before) == {"postgres"}
    run = salt.apply(box.machine, "dkim.database")
    assert {state.id for state in run.changed} == {"The roles can log in"}
    before = _lines(box.machine)
    assert salt.call(box.machine, "dkim.list_keys")
    assert _users_since(box.machine, before) == {WRITER}
