"""Each role of the formula applied alone, all roles together, and their removal by dkim.clean."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from support import mail, salt, server
from support.machine import Machine
from support.traffic import Outcome, Traffic

# One release is enough; `bin/test soak` runs this file on both.
pytestmark = [pytest.mark.one_release("trixie"), pytest.mark.soak]

PILLAR = {"dkim": {"domains": {"example.com": {}, "example.org": {"selector": "mail"}}}}
SENDERS = ["someone@example.com", "someone@example.org"]
ROLES = (
    "dkim.database",
    "dkim.keys",
    "dkim.opendkim",
    "dkim.postfix",
    "dkim.rotation",
    "dkim.dns",
)
MILTER = "{ unix:opendkim/opendkim.sock, default_action=accept }"
# Nothing listens there. By its own default_action mail is accepted without it.
OTHER_MILTER = "{ inet:127.0.0.1:9999, { default_action = accept } }"
KEYS = "SELECT selector, md5(key) FROM dkim ORDER BY id"


@dataclass(frozen=True)
class Steps:
    """Runs of Postfix's role before all others, then of each role in order, then of all roles."""

    too_early: salt.Run
    main_cf_after: str
    roles: Mapping[str, salt.Run]
    together: salt.Run


@dataclass(frozen=True)
class Cleaned:
    """The database before dkim.clean, the runs, and the mail during the run."""

    before: str
    announced: salt.Run
    applied: salt.Run
    again: salt.Run
    traffic: Outcome


@pytest.fixture(scope="module")
def steps(machine: Machine) -> Steps:
    salt.install_formula(machine, PILLAR)
    too_early = salt.apply(machine, "dkim.postfix")
    main_cf = machine.run("postconf -n").stdout
    return Steps(
        too_early=too_early,
        main_cf_after=main_cf,
        roles={role: salt.apply(machine, role) for role in ROLES},
        together=salt.apply(machine),
    )


@pytest.fixture(scope="module")
def box(machine: Machine, steps: Steps) -> mail.Mailbox:
    assert steps.together.succeeded, str(steps.together)
    return mail.Mailbox(machine)


@pytest.fixture(scope="module")
def records(box: mail.Mailbox) -> Mapping[str, str]:
    return mail.zone_records(box.machine, salt.call(box.machine, "dkim.records", format="bind"))


@pytest.fixture(scope="module")
def cleaned(box: mail.Mailbox, records: Mapping[str, str]) -> Cleaned:
    machine = box.machine
    machine.run(["postconf", "-e", f"smtpd_milters={OTHER_MILTER}, {MILTER}"])
    machine.run(["postconf", "-e", f"non_smtpd_milters={MILTER}"])
    machine.run("postfix reload")
    before = server.dump(machine)
    announced = salt.apply(machine, "dkim.clean", test=True)
    with Traffic(box, SENDERS, pause=0.02) as traffic:
        applied = salt.apply(machine, "dkim.clean")
    again = salt.apply(machine, "dkim.clean")
    return Cleaned(before, announced, applied, again, traffic.outcome(records))


def assert_signed(box: mail.Mailbox, records: Mapping[str, str]) -> None:
    for sender in SENDERS:
        for send in (mail.sent_by_smtp, mail.sent_by_sendmail):
            message = send(box, sender)
            (signature,) = mail.signatures(box.machine, message, records)
            assert signature.valid, f"{signature}\n{mail.headers(message)}"


def test_postfix_gets_no_milter_while_opendkim_is_missing(steps: Steps) -> None:
    failed = steps.too_early["Postfix has OpenDKIM sign"]
    assert failed.result is False
    assert "no milter answers at /var/spool/postfix/opendkim/opendkim.sock" in failed.comment
    assert "apply dkim.opendkim first" in failed.comment
    assert "milter" not in steps.main_cf_after


@pytest.mark.parametrize("role", ROLES)
def test_role_alone_succeeds(steps: Steps, role: str) -> None:
    assert steps.roles[role].succeeded, str(steps.roles[role])


def test_run_of_all_roles_changes_nothing_after_each_role_alone(steps: Steps) -> None:
    assert steps.together.succeeded, str(steps.together)
    assert steps.together.changed == []


def test_mail_is_signed_after_each_role_alone(
    box: mail.Mailbox, records: Mapping[str, str]
) -> None:
    assert_signed(box, records)


def test_mail_is_accepted_during_clean(cleaned: Cleaned) -> None:
    assert cleaned.applied.succeeded, str(cleaned.applied)
    assert cleaned.traffic.refused == []
    assert cleaned.traffic.signatures.keys() == set(cleaned.traffic.taken)
    assert len(cleaned.traffic.taken) > 20
    assert cleaned.traffic.unsigned != []


def test_clean_changes_what_it_announced(cleaned: Cleaned) -> None:
    announced = {
        state.id for state in (*cleaned.announced.changed, *cleaned.announced.would_change)
    }
    assert {state.id for state in cleaned.applied.changed} == announced


def test_clean_removes_the_milter_from_postfix_before_it_stops_opendkim(cleaned: Cleaned) -> None:
    order = [state.id for state in cleaned.applied.states]
    assert order.index("Postfix does not use OpenDKIM") < order.index("opendkim is stopped")
    assert order.index("Postfix runs without OpenDKIM") < order.index("opendkim is stopped")


def test_second_clean_changes_nothing(cleaned: Cleaned) -> None:
    assert cleaned.again.succeeded, str(cleaned.again)
    assert cleaned.again.changed == []


def test_clean_keeps_keys_tables_and_role(box: mail.Mailbox, cleaned: Cleaned) -> None:
    assert cleaned.applied.succeeded
    assert server.dump(box.machine) == cleaned.before
    role = "SELECT count(*) FROM pg_roles WHERE rolname = 'vmail-dkim-reader'"
    assert server.sql(box.machine, role) == "1"


def test_clean_keeps_other_milters(box: mail.Mailbox, cleaned: Cleaned) -> None:
    assert cleaned.applied.succeeded
    assert box.machine.run("postconf -h smtpd_milters").stdout == f"{OTHER_MILTER}\n"
    assert box.machine.run("postconf -h non_smtpd_milters").stdout == "\n"


def test_clean_removes_everything_else_that_the_formula_added(
    box: mail.Mailbox, cleaned: Cleaned
) -> None:
    assert cleaned.applied.succeeded
    machine = box.machine
    assert machine.run("pgrep -x opendkim", check=False).stdout == ""
    assert machine.run("grep -rls vmail-dkim-reader /etc", check=False).stdout == ""
    assert machine.run("find /etc/systemd -path '*opendkim*'").stdout == ""
    assert not machine.exists("/etc/opendkim.conf")
    assert not machine.exists("/var/spool/postfix/opendkim")
    assert "opendkim" not in machine.run("id -nG postfix").stdout.split()
    login = ["psql", "-X", "-w", "-U", "vmail-dkim-reader", "-d", "vmail", "-c", "SELECT 1"]
    assert machine.run(login, user="opendkim", check=False).returncode != 0


def test_run_after_clean_signs_with_the_same_keys(
    box: mail.Mailbox, cleaned: Cleaned, records: Mapping[str, str]
) -> None:
    assert cleaned.applied.succeeded
    keys = server.sql(box.machine, KEYS)
    run = salt.apply(box.machine)
    assert run.succeeded, str(run)
    assert server.sql(box.machine, KEYS) == keys
    assert_signed(box, records)
    assert salt.apply(box.machine).changed == []
