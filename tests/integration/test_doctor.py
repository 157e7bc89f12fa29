"""Faults of a mail server: ``dkim.doctor`` names each one, and a highstate repairs it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest
from support import faults, mail, salt
from support.machine import Machine

# One release is enough; `bin/test soak` runs this file on both.
pytestmark = pytest.mark.one_release("trixie")

# The packages are installed: this file does not test their installation.
EQUIPPED = True

PILLAR = {
    "dkim": {
        "domains": {
            "example.com": {"algorithm": ["rsa", "ed25519"]},
            "example.org": {"subdomains": True, "addresses": {"news@example.org": {}}},
            "example.net": {"alias_of": "example.com"},
        },
        # No resolver listens there: this machine has no network.
        "dns": {"resolver": ["127.0.0.1@1"], "timeout": 1},
    }
}
FOLDER = "/var/spool/postfix/opendkim"
DROP_IN = "/etc/systemd/system/opendkim.service.d/dkim-formula.conf"
BOTH_SOCKETS = {"socket as Postfix opendkim", "socket as Postfix opendkim-ed25519"}
BOTH_LOGINS = {"login opendkim", "login opendkim-ed25519"}


def sql(statement: str) -> str:
    """Return the shell command that runs a statement as the superuser."""
    return f"runuser -u postgres -- psql -qAt -v ON_ERROR_STOP=1 -d vmail -c '{statement}'"


@dataclass(frozen=True)
class Fault:
    """
    A fault of a mail server.

    how
        The shell command that causes the fault.
    names
        The checks that fail then: the cause itself, and everything that can't work without it.
    """

    how: str
    names: frozenset[str]


def fault(how: str, *names: str) -> Fault:
    return Fault(how, frozenset(names))


FAULTS = {
    "the daemon is stopped": fault(
        "systemctl stop opendkim", "socket opendkim", "service opendkim"
    ),
    "the daemon is killed and not started again": fault(
        "systemctl kill --signal=KILL opendkim; systemctl stop opendkim",
        "socket opendkim",
        "service opendkim",
    ),
    "the unit is disabled": fault("systemctl disable opendkim", "unit opendkim"),
    "the unit is masked": fault(
        "systemctl stop opendkim; systemctl mask opendkim",
        "socket opendkim",
        "service opendkim",
        "unit opendkim",
    ),
    "no watchdog": fault("systemctl disable --now opendkim-watchdog", "unit opendkim-watchdog"),
    "the drop-in is gone": fault(
        f"rm {DROP_IN}; systemctl daemon-reload", "configuration opendkim", "unit opendkim"
    ),
    "the drop-in is changed": fault(
        f"sed -i s/^Restart=.*/Restart=no/ {DROP_IN}", "configuration opendkim", "unit opendkim"
    ),
    "the socket is deleted": fault(f"rm {FOLDER}/opendkim.sock", "socket opendkim"),
    "the socket is root's": fault(f"chown root:root {FOLDER}/opendkim.sock", "socket opendkim"),
    "the socket's directory is closed": fault(
        f"chmod 0700 {FOLDER}", "socket directory", *BOTH_SOCKETS
    ),
    "the chroot is closed": fault(
        "chmod 0700 /var/spool/postfix", "socket directory", *BOTH_SOCKETS
    ),
    "Postfix is no member of the group": fault(
        "gpasswd --delete postfix opendkim; systemctl restart postfix",
        "group membership",
        *BOTH_SOCKETS,
    ),
    "the packaged configuration is back": fault(
        "rm /etc/opendkim.conf; apt-get install --yes --reinstall "
        "-o Dpkg::Options::=--force-confmiss opendkim",
        "configuration opendkim",
        "socket opendkim",
    ),
    "the daemon was told not to sign": fault(
        "echo 'Mode v' >> /etc/opendkim.conf; systemctl restart opendkim; "
        f"until test -S {FOLDER}/opendkim.sock; do sleep 0.1; done",
        "configuration opendkim",
        "signing",
    ),
    "main.cf has lost its milters": fault("postconf -X smtpd_milters", "main.cf"),
    "main.cf names the socket for chrooted services alone": fault(
        "postconf -e smtpd_milters=unix:/opendkim/opendkim.sock", "main.cf"
    ),
    "a service goes round the milters": fault("postconf -P smtp/inet/smtpd_milters=", "master.cf"),
    "Postfix is stopped": fault("systemctl stop postfix", "service postfix"),
    "pg_hba.conf has lost its line": fault(
        "sed -i /vmail-dkim-reader/d /etc/postgresql/*/main/pg_hba.conf; "
        "systemctl reload postgresql",
        "access files",
        *BOTH_LOGINS,
    ),
    "pg_ident.conf has lost its line": fault(
        "sed -i /vmail-dkim-reader/d /etc/postgresql/*/main/pg_ident.conf; "
        "systemctl reload postgresql",
        "access files",
        *BOTH_LOGINS,
    ),
    "a view is dropped": fault(
        sql("DROP VIEW dkim_key_table"), "tables and views", "reader's rights", "login opendkim"
    ),
    "a grant is revoked": fault(
        sql('REVOKE SELECT ON dkim_signing_table FROM "vmail-dkim-reader"'),
        "reader's rights",
        "login opendkim",
    ),
    "the reader may read the keys": fault(
        sql('GRANT SELECT ON dkim TO "vmail-dkim-reader"'), "reader's rights", *BOTH_LOGINS
    ),
    "a pattern is gone": fault(sql("DELETE FROM dkim_pattern"), "patterns", "unsigned"),
    "PostgreSQL is stopped": fault(faults.STOP, "database"),
}
# One fault of each part of the server. None of them hides another.
AT_ONCE = (
    "the socket is root's",
    "the unit is disabled",
    "the chroot is closed",
    "main.cf names the socket for chrooted services alone",
    "a grant is revoked",
    "a pattern is gone",
)


@pytest.fixture(scope="module")
def server(machine: Machine) -> Machine:
    """A mail server without faults."""
    salt.install_formula(machine, PILLAR)
    run = salt.apply(machine)
    assert run.succeeded, run
    machine.run("apt-get update --quiet")
    return machine


@pytest.fixture
def repaired(server: Machine) -> Iterator[Machine]:
    """The same server, which a highstate repairs after the test, whatever its result."""
    yield server
    run = salt.apply(server)
    assert run.succeeded, run


def doctor(machine: Machine) -> tuple[int, list[dict[str, object]]]:
    """Return the exit status and the findings."""
    return salt.ask(machine, "dkim.doctor")


def problems(machine: Machine) -> Mapping[str, dict[str, object]]:
    """Return the doctor's problems by name. Assert that the exit status agrees."""
    status, found = doctor(machine)
    bad = {f"{one['check']} {one['subject']}".strip(): one for one in found if one["ok"] is False}
    assert status == (1 if bad else 0)
    return bad


def cause(machine: Machine, name: str) -> None:
    machine.run(["bash", "-c", FAULTS[name].how], env={"DEBIAN_FRONTEND": "noninteractive"})


def test_server_without_faults_has_no_problem(server: Machine) -> None:
    _, found = doctor(server)
    assert [one for one in found if one["ok"] is False] == []
    # No name server and no time server is reachable here.
    unknown = {one["check"] for one in found if one["ok"] is None}
    assert unknown <= {"dns", "clock"}


def test_several_faults_at_once_are_each_named_and_repaired(server: Machine) -> None:
    for name in AT_ONCE:
        cause(server, name)
    bad = problems(server)
    expected = frozenset().union(*(FAULTS[name].names for name in AT_ONCE))
    # The doctor skips the check «socket as Postfix» when the check «socket» fails.
    assert bad.keys() == expected - BOTH_SOCKETS
    assert all(one["remedy"] for one in bad.values())
    run = salt.apply(server)
    assert run.succeeded, run
    assert problems(server) == {}


@pytest.mark.soak
@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_named_exactly_and_repaired(repaired: Machine, name: str) -> None:
    cause(repaired, name)
    bad = problems(repaired)
    assert bad.keys() == FAULTS[name].names, bad
    assert all(one["remedy"] for one in bad.values())
    run = salt.apply(repaired)
    assert run.succeeded, run
    assert problems(repaired) == {}


@pytest.mark.soak
def test_processes_that_started_before_the_group_membership_are_named(server: Machine) -> None:
    server.run("gpasswd --delete postfix opendkim && systemctl restart postfix")
    # The client keeps the smtpd process alive that greeted it.
    held = "exec 3<>/dev/tcp/127.0.0.1/25; read -r -u 3; touch /run/greeted; exec sleep 600"
    with server.popen(["bash", "-c", held]) as client:
        try:
            server.wait_for("test -e /run/greeted")
            server.run("gpasswd --add postfix opendkim")
            bad = problems(server)
        finally:
            server.run(["pkill", "--full", "--exact", "sleep 600"], check=False)
            client.wait(30)
    assert bad.keys() == {"group membership"}
    assert "smtpd" in str(bad["group membership"]["message"])
    server.run(str(bad["group membership"]["remedy"]))
    assert problems(server) == {}


def test_damaged_key_is_reported_without_its_text(server: Machine) -> None:
    key = server.run(sql("SELECT key FROM dkim WHERE selector = $$news$$")).stdout
    damage = "overlay(key placing reverse(substr(key, 200, 20)) from 200)"
    server.run(sql("CREATE TABLE kept AS SELECT id, key FROM dkim"))
    server.run(sql(f"UPDATE dkim SET key = {damage} WHERE selector = $$news$$"))
    try:
        bad = problems(server)
        assert bad.keys() == {"keys", "signing"}, bad
        assert "example.org, selector 'news'" in str(bad["keys"]["message"])
        assert not [line for line in key.splitlines()[3:-2] if line in str(bad)]
    finally:
        server.run(sql("UPDATE dkim SET key = kept.key FROM kept WHERE kept.id = dkim.id"))
        server.run(sql("DROP TABLE kept"))
    assert problems(server) == {}


@pytest.mark.soak
def test_database_that_hangs_does_not_hang_the_doctor(server: Machine) -> None:
    server.run("kill -STOP $(pgrep --oldest --exact postgres)")
    try:
        assert problems(server).keys() == {"database"}
    finally:
        server.run("kill -CONT $(pgrep --oldest --exact postgres)")


def test_daemon_that_hangs_does_not_hang_the_doctor(server: Machine) -> None:
    process = server.run("systemctl show --value --property=MainPID opendkim").stdout.strip()
    server.run(f"kill -STOP {process}")
    try:
        assert problems(server).keys() == {"signing"}
    finally:
        server.run(f"kill -CONT {process}")


# --- The self-test --------------------------------------------------------------------------------


def test_selftest_signs_with_both_daemons_and_for_every_pattern(server: Machine) -> None:
    results = salt.call(server, "dkim.selftest")
    assert [one for one in results if not (one["signed"] and one["verified_by_database"])] == []
    tried = {(one["kind"], one["sender"].partition("@")[2], one["algorithm"]) for one in results}
    assert tried == {
        ("domain", "example.com", "rsa"),
        ("domain", "example.com", "ed25519"),
        ("domain", "example.org", "rsa"),
        ("subdomain", "dkim-selftest.example.org", "rsa"),
        ("address", "example.org", "rsa"),
        ("alias", "example.net", "rsa"),
        ("alias", "example.net", "ed25519"),
    }


def test_doctor_and_selftest_queue_and_deliver_no_message(server: Machine) -> None:
    box = mail.Mailbox(server)
    doctor(server)
    salt.call(server, "dkim.selftest")
    assert "empty" in server.run("postqueue -p").stdout
    assert box.messages() == []
