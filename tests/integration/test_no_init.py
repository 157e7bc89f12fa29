"""The same without systemd, in a container whose first process only sleeps: by init scripts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest
from support import mail, salt
from support.machine import Machine

# One release tells; `bin/test soak` runs it on both.
pytestmark = pytest.mark.one_release("bookworm")

PILLAR = {"dkim": {"domains": {"example.com": {}, "example.org": {"selector": "mail"}}}}
READER = ["psql", "-X", "-At", "-w", "-U", "vmail-dkim-reader", "-d", "vmail", "-c"]


@dataclass(frozen=True)
class Course:
    """What the runs said, from a bare machine on."""

    announced: salt.Run
    made: salt.Run
    again: salt.Run
    announced_again: salt.Run


@pytest.fixture(scope="module")
def machine(release: str) -> Iterator[Machine]:
    with Machine(release, boot=False) as fresh:
        yield fresh


@pytest.fixture(scope="module")
def course(machine: Machine) -> Course:
    salt.install_formula(machine, PILLAR)
    return Course(
        announced=salt.apply(machine, test=True),
        made=salt.apply(machine),
        again=salt.apply(machine),
        announced_again=salt.apply(machine, test=True),
    )


@pytest.fixture(scope="module")
def box(machine: Machine, course: Course) -> mail.Mailbox:
    assert course.made.succeeded, str(course.made)
    return mail.Mailbox(machine)


@pytest.fixture(scope="module")
def records(box: mail.Mailbox) -> Mapping[str, str]:
    return mail.zone_records(box.machine, salt.call(box.machine, "dkim.records", format="bind"))


def daemon(machine: Machine) -> str:
    """The daemon's account and process."""
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


def test_run_from_bare_succeeds(course: Course) -> None:
    assert course.announced.succeeded, str(course.announced)
    assert course.made.succeeded, str(course.made)


@pytest.mark.parametrize("run", ["again", "announced_again"])
def test_later_runs_change_nothing(course: Course, run: str) -> None:
    later = getattr(course, run)
    assert later.succeeded, str(later)
    assert later.changed == []
    assert later.would_change == []


def test_mail_leaves_signed(box: mail.Mailbox, records: Mapping[str, str]) -> None:
    assert_signed(box, records, "relaxed/relaxed")


def test_daemon_gives_its_root_up_and_root_may_read_what_it_reads(box: mail.Mailbox) -> None:
    # The init script starts it as root, and so is its first session (FACTS 5).
    assert daemon(box.machine).split()[0] == "opendkim"
    for user in ("root", "opendkim"):
        asked = box.machine.run([*READER, "SELECT current_user"], user=user)
        assert asked.stdout == "vmail-dkim-reader\n"
    refused = box.machine.run([*READER, "SELECT 1"], user="nobody", check=False)
    assert "Peer authentication failed" in refused.stderr


def test_what_is_missing_without_systemd_is_said(course: Course) -> None:
    comment = course.made["The DKIM settings are sound"].comment
    assert "Advice: this machine has no systemd: nothing starts OpenDKIM again" in comment


def test_no_unit_is_written(box: mail.Mailbox) -> None:
    assert box.machine.run("find /etc/systemd -name '*dkim-formula*'").stdout == ""


def test_daemon_is_restarted_where_its_configuration_changes(
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


def test_password_reaches_the_daemon_by_what_the_advice_says(
    box: mail.Mailbox, records: Mapping[str, str]
) -> None:
    machine = box.machine
    reader = {"auth": "password", "password": "reads-by-password"}
    packaged = machine.read("/etc/default/opendkim")
    line = "export PGPASSFILE=/etc/opendkim-pgpass"
    machine.write("/etc/default/opendkim", f"{packaged}{line}\n")
    run = salt.apply(machine, pillar={"dkim": {**PILLAR["dkim"], "database": {"reader": reader}}})
    assert run.succeeded, str(run)
    advice = run["The DKIM settings are sound"].comment
    assert f"/etc/default/opendkim has to: {line}\n" in f"{advice}\n"
    assert_signed(box, records, "relaxed/relaxed")
    machine.write("/etc/default/opendkim", packaged)


def test_clean_stops_the_daemon_and_mail_goes_on(
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
