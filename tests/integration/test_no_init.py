"""The formula without systemd: a container whose first process only sleeps runs init scripts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest
from support import mail, salt
from support.machine import Machine

# One release is enough; `bin/test soak` runs this file on both.
pytestmark = [pytest.mark.one_release("bookworm"), pytest.mark.soak]

PILLAR = {"dkim": {"domains": {"example.com": {}, "example.org": {"selector": "mail"}}}}
READER = ["psql", "-X", "-At", "-w", "-U", "vmail-dkim-reader", "-d", "vmail", "-c"]


@dataclass(frozen=True)
class Runs:
    """The results of four consecutive runs on a machine that was bare before the first."""

    announced: salt.Run
    applied: salt.Run
    again: salt.Run
    announced_again: salt.Run


@pytest.fixture(scope="module")
def machine(release: str) -> Iterator[Machine]:
    with Machine(release, boot=False) as fresh:
        yield fresh


@pytest.fixture(scope="module")
def runs(machine: Machine) -> Runs:
    salt.install_formula(machine, PILLAR)
    return Runs(
        announced=salt.apply(machine, test=True),
        applied=salt.apply(machine),
        again=salt.apply(machine),
        announced_again=salt.apply(machine, test=True),
    )


@pytest.fixture(scope="module")
def box(machine: Machine, runs: Runs) -> mail.Mailbox:
    assert runs.applied.succeeded, str(runs.applied)
    return mail.Mailbox(machine)


@pytest.fixture(scope="module")
def records(box: mail.Mailbox) -> Mapping[str, str]:
    return mail.zone_records(box.machine, salt.call(box.machine, "dkim.records", format="bind"))


def daemon(machine: Machine) -> str:
    """Return the account and the process number of the daemon."""
    return machine.run("ps -C opendkim -o user=,pid=").stdout.strip()


def assert_signed(box: mail.Mailbox, records: Mapping[str, str], canonicalization: str) -> None:
    for send in (mail.sent_by_smtp, mail.sent_by_sendmail):
        for domain in ("example.com", "example.org"):
            message = send(box, f"someone@{domain}")
            (signature,) = mail.signatures(box.machine, message, records)
            assert signature.valid, f"{signature}\n{mail.headers(message)}"
            assert (signature.domain, signature.tags["c"]) == (domain, canonicalization)


def test_machine_has_no_systemd(machine: Machine) -> None:
    assert not machine.exists("/run/systemd/system")
    assert machine.exists("/usr/bin/systemctl")


def test_first_run_succeeds_on_a_bare_machine(runs: Runs) -> None:
    assert runs.announced.succeeded, str(runs.announced)
    assert runs.applied.succeeded, str(runs.applied)


@pytest.mark.parametrize("run", ["again", "announced_again"])
def test_later_runs_change_nothing(runs: Runs, run: str) -> None:
    later = getattr(runs, run)
    assert later.succeeded, str(later)
    assert later.changed == []
    assert later.would_change == []


def test_mail_leaves_signed(box: mail.Mailbox, records: Mapping[str, str]) -> None:
    assert_signed(box, records, "relaxed/relaxed")


def test_daemon_drops_root_and_root_can_log_in_as_the_reader(box: mail.Mailbox) -> None:
    # The init script starts the daemon as root, so its first session is root's (FACTS 5).
    assert daemon(box.machine).split()[0] == "opendkim"
    for user in ("root", "opendkim"):
        result = box.machine.run([*READER, "SELECT current_user"], user=user)
        assert result.stdout == "vmail-dkim-reader\n"
    refused = box.machine.run([*READER, "SELECT 1"], user="nobody", check=False)
    assert "Peer authentication failed" in refused.stderr


def test_advice_names_what_is_missing_without_systemd(runs: Runs) -> None:
    comment = runs.applied["The DKIM settings are valid"].comment
    assert "Advice: this machine has no systemd: nothing starts OpenDKIM again" in comment


def test_no_unit_is_written(box: mail.Mailbox) -> None:
    assert box.machine.run("find /etc/systemd -name '*dkim-formula*'").stdout == ""


def test_daemon_is_restarted_when_its_configuration_changes(
    box: mail.Mailbox, records: Mapping[str, str]
) -> None:
    before = daemon(box.machine)
    options = {"Canonicalization": "simple/simple"}
    pillar = {"dkim": {**PILLAR["dkim"], "opendkim": {"settings": options}}}
    run = salt.apply(box.machine, pillar=pillar)
    assert run.succeeded, str(run)
    changed = daemon(box.machine)
    assert changed != before
    assert_signed(box, records, "simple/simple")
    assert salt.apply(box.machine).changed == []
    assert daemon(box.machine) == changed


def test_daemon_logs_in_by_password_after_the_advised_edit(
    box: mail.Mailbox, records: Mapping[str, str]
) -> None:
    machine = box.machine
    reader = {"auth": "password", "password": "reads-by-password"}
    packaged = machine.read("/etc/default/opendkim")
    line = "export PGPASSFILE=/etc/opendkim-pgpass"
    machine.write("/etc/default/opendkim", f"{packaged}{line}\n")
    run = salt.apply(machine, pillar={"dkim": {**PILLAR["dkim"], "database": {"reader": reader}}})
    assert run.succeeded, str(run)
    advice = run["The DKIM settings are valid"].comment
    assert f"add to /etc/default/opendkim: {line}\n" in f"{advice}\n"
    assert_signed(box, records, "relaxed/relaxed")
    machine.write("/etc/default/opendkim", packaged)


def test_clean_stops_the_daemon_and_mail_is_still_delivered(
    box: mail.Mailbox, records: Mapping[str, str]
) -> None:
    run = salt.apply(box.machine, "dkim.clean", pillar=PILLAR)
    assert run.succeeded, str(run)
    assert box.machine.run("pgrep -x opendkim", check=False).stdout == ""
    assert "DKIM-Signature:" not in mail.headers(mail.sent_by_smtp(box, "someone@example.com"))
    assert salt.apply(box.machine, "dkim.clean").changed == []
    back = salt.apply(box.machine)
    assert back.succeeded, str(back)
    assert_signed(box, records, "relaxed/relaxed")
