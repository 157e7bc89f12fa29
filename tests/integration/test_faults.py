"""
Mail during faults: with ``tempfail`` no message is lost or leaves unsigned, and signing recovers by
itself. docs/faults.md has a row for each test.

Both daemons sign every message of this file, so that the outage of one daemon shows.
"""

import contextlib
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from support import faults, mail, salt
from support.machine import CommandFailed, Machine, NotInTime
from support.share import short_form
from support.traffic import Outcome, Steady

# One release is enough; `bin/test soak` runs this file on both.
pytestmark = pytest.mark.one_release("bookworm")

# The packages are installed: this file does not test their installation.
EQUIPPED = True

SOCKET = "/var/spool/postfix/opendkim/opendkim.sock"
# The state to print if the server does not accept mail again.
MACHINE_STATE = (
    "pg_lsclusters; systemctl --no-pager status 'postgresql@*' 'opendkim*' | grep -v '^ *CGroup'; "
    "df /var/lib/postgresql/*/main; journalctl -q -n 80 --no-pager"
)
SENDERS = ["someone@example.com", "someone@example.org"]
BOTH = {"rsa-sha256", "ed25519-sha256"}
SELECTORS = {"default", "default-ed25519"}


def pillar(action: str) -> dict:
    domains = {"example.com": {}, "example.org": {}}
    defaults = {"algorithm": ["rsa", "ed25519"]}
    postfix = {"milter_default_action": action}
    return {"dkim": {"defaults": defaults, "domains": domains, "postfix": postfix}}


@dataclass(frozen=True)
class Site:
    """A server that signs, and the records that verify its mail."""

    machine: Machine
    records: dict[str, str]

    def signs(self) -> bool:
        """Return whether the server accepts mail; with ``tempfail`` it refuses unsigned mail."""
        sender = SENDERS[0]
        box = mail.Mailbox(self.machine, "probe")
        try:
            mail.send_smtp(self.machine, mail.compose(sender, box.address), sender, box.address)
        except CommandFailed:
            return False
        return True

    def wait_until_it_signs(self) -> float:
        """Return the seconds until it signs. No test asserts them: machines share processors."""
        start = time.monotonic()
        try:
            self.machine.wait_for(self.signs, 180, "mail is accepted again")
        except NotInTime as error:
            raise NotInTime(
                f"{error}\n{self.machine.run(MACHINE_STATE, check=False).stdout}"
            ) from None
        return time.monotonic() - start


@pytest.fixture(scope="module")
def site(machine: Machine) -> Site:
    """A server whose ``milter_default_action`` is ``tempfail``."""
    salt.install_formula(machine, pillar("tempfail"))
    run = salt.apply(machine)
    assert run.succeeded, str(run)
    zone = salt.call(machine, "dkim.records", format="bind")
    return Site(machine, mail.zone_records(machine, zone))


Report = Callable[[str], None]


@pytest.fixture
def report(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture) -> Iterator[Report]:
    """A function that prints a measurement, whether or not the test passes."""

    def line(text: str) -> None:
        with capsys.disabled():
            print(f"\n    {request.node.name}: {text}")

    return line


def assert_all_left_signed(outcome: Outcome) -> None:
    """Assert that every message arrived, with two valid signatures."""
    assert outcome.lost == []
    assert len(outcome.signatures) == outcome.sent
    for identifier, signatures in outcome.signatures.items():
        assert [valid for valid, _, _ in signatures] == [True, True], identifier
        assert {selector for _, _, selector in signatures} == SELECTORS, identifier


# The conditions to wait for while a fault lasts. Some faults need none: they end when the test
# reverts them.
def until_mail_is_refused(site: Site) -> None:
    site.machine.wait_for(lambda: not site.signs(), what="mail is refused")


def until_the_packaged_unit_would_give_up(site: Site) -> None:
    # By default systemd allows five starts in ten seconds. After that a unit stays down.
    until_mail_is_refused(site)
    before = faults.restarts(site.machine)
    site.machine.wait_for(lambda: faults.restarts(site.machine) > before + 5, 60, "five restarts")


def until_clients_wait(site: Site) -> None:
    # Postfix neither accepts nor refuses mail: for each message a process waits for OpenDKIM.
    waiting = f"test $(ss -Hx state established | grep -c {SOCKET}) -gt 8"
    site.machine.wait_for(waiting, 60, "clients wait")


def wait_for_nothing(site: Site) -> None:
    pass


def is_long(fault: str) -> bool:
    return fault not in ("database_stopped", "sessions_ended", "opendkim_killed")


DURING = {
    "database_stopped": until_the_packaged_unit_would_give_up,
    "database_killed": until_mail_is_refused,
    "database_restarted": wait_for_nothing,
    "database_hangs": until_clients_wait,
    "table_locked": until_clients_wait,
    "sessions_ended": wait_for_nothing,
    "disk_full": until_mail_is_refused,
    "connections_exhausted": until_mail_is_refused,
    "opendkim_killed": wait_for_nothing,
    "postfix_restarted": wait_for_nothing,
}


@pytest.mark.parametrize("name", short_form(sorted(faults.FAULTS, key=is_long), 3))
def test_no_mail_is_lost_or_unsigned(site: Site, report: Report, name: str) -> None:
    box = mail.Mailbox(site.machine, name.replace("_", "-"))
    with Steady(box, SENDERS) as traffic:
        with faults.FAULTS[name](site.machine):
            DURING[name](site)
        took = site.wait_until_it_signs()
    outcome = traffic.outcome(site.records)
    report(
        f"{outcome.sent} sent, {len(outcome.refused)} tries refused, signs again after {took:.1f} s"
        f", longest wait of a message {outcome.longest:.0f} s"
    )
    assert_all_left_signed(outcome)


def test_watchdog_ends_a_daemon_that_lost_its_session_and_hangs(site: Site) -> None:
    # Whether the daemon hangs after the end of a session depends on what it reads first.
    machine, before = site.machine, faults.restarts(site.machine)

    def ended() -> bool:
        with faults.sessions_ended(machine):
            pass
        site.wait_until_it_signs()
        return faults.restarts(machine) > before

    with Steady(mail.Mailbox(machine, "stuck"), SENDERS) as traffic:
        machine.wait_for(ended, 120, "opendkim-watchdog has ended a daemon")
    assert_all_left_signed(traffic.outcome(site.records))


# Without Syslog, OpenDKIM hangs instead of crashing at a lookup while PostgreSQL is down.
@pytest.mark.soak
def test_watchdog_ends_a_daemon_that_hangs_while_its_database_works(
    site: Site, report: Report
) -> None:
    machine, settings = site.machine, pillar("tempfail")
    settings["dkim"]["opendkim"] = {"settings": {"Syslog": False, "SyslogSuccess": False}}
    assert salt.apply(machine, "dkim.opendkim", pillar=settings).succeeded
    before = faults.restarts(machine)
    with Steady(mail.Mailbox(machine, "hanging"), SENDERS, pause=4) as traffic:
        with faults.database_stopped(machine):
            assert not site.signs()
        machine.wait_for(lambda: faults.restarts(machine) > before, 180, "a daemon is ended")
        report(f"signs again after {site.wait_until_it_signs():.1f} s")
    assert_all_left_signed(traffic.outcome(site.records))
    assert salt.apply(machine, "dkim.opendkim", pillar=pillar("tempfail")).succeeded


# Postfix waits 300 s for a silent milter: postconf(5), milter_content_timeout.
@pytest.mark.soak
def test_no_mail_is_lost_or_unsigned_in_a_hang_that_outlasts_postfixs_timeout(
    site: Site, report: Report
) -> None:
    box = mail.Mailbox(site.machine, "long-hang")
    with Steady(box, SENDERS, pause=4) as traffic:
        with faults.database_hangs(site.machine):
            refused = "journalctl -q -u 'postfix*' | grep -q 'milter-reject: .* 4.7.1 '"
            site.machine.wait_for(refused, 420, "Postfix stops waiting")
        report(f"signs again after {site.wait_until_it_signs():.1f} s")
    assert_all_left_signed(traffic.outcome(site.records))


# start.conf(5) of postgresql-common: with manual the boot does not start the cluster.
START_CONF = "sed -i 's/^{}$/{}/' /etc/postgresql/*/main/start.conf"


@pytest.mark.soak
def test_message_that_waited_through_a_power_cut_leaves_signed(site: Site, report: Report) -> None:
    machine, box = site.machine, mail.Mailbox(site.machine)
    text = mail.compose(SENDERS[0], box.address)
    machine.run(faults.STOP)
    until_mail_is_refused(site)
    mail.send_sendmail(machine, text, SENDERS[0], box.address)
    machine.pull_the_plug()
    machine.power_on()
    report(f"accepts mail again {site.wait_until_it_signs():.1f} s after the boot")
    machine.run("postqueue -f")
    assert_signed_by_both(site, box.wait_for(mail.message_id(text), 120))


@pytest.mark.soak
def test_daemon_waits_for_a_database_that_starts_late_at_boot(site: Site, report: Report) -> None:
    machine, box = site.machine, mail.Mailbox(site.machine)
    machine.run(START_CONF.format("auto", "manual"))
    machine.reboot()
    machine.wait_for(lambda: faults.restarts(machine) > 1, 60, "restarts without a database")
    assert not site.signs()
    machine.run(f"{START_CONF.format('manual', 'auto')}; {faults.START}")
    report(f"accepts mail {site.wait_until_it_signs():.1f} s after the database")
    assert_signed_by_both(site, mail.sent_by_smtp(box, SENDERS[1]))


def assert_signed_by_both(site: Site, message: bytes) -> None:
    found = mail.signatures(site.machine, message, site.records)
    assert all(signature.valid for signature in found)
    assert {signature.algorithm for signature in found} == BOTH


@pytest.mark.soak
def test_check_of_dns_without_a_name_server_fails_and_does_not_disturb_mail(site: Site) -> None:
    # Nothing listens at 127.0.0.1 port 53: the machine has no name server.
    dns = {"resolver": "127.0.0.1", "timeout": 1, "deadline": 5}
    settings = {"dkim": {**pillar("tempfail")["dkim"], "dns": dns}}
    salt.set_pillar(site.machine, settings)
    with Steady(mail.Mailbox(site.machine, "dns"), SENDERS) as traffic:
        status, found = salt.ask(site.machine, "dkim.check_dns")
    assert (status, found["ok"]) == (0, False)
    assert_all_left_signed(traffic.outcome(site.records))


def test_next_highstate_completes_one_that_was_killed_at_any_time(
    site: Site, request: pytest.FixtureRequest, report: Report
) -> None:
    machine = site.machine
    seed = request.config.getoption("--seed")
    delays = random.Random(seed)
    settings = pillar("tempfail")
    with Steady(mail.Mailbox(machine, "killed-runs"), SENDERS) as traffic:
        for number in range(3):
            # Each run has keys to generate and a daemon to restart.
            settings["dkim"]["domains"][f"d{number}.example"] = {}
            settings["dkim"]["opendkim"] = {"settings": {"SignatureTTL": 86400 + number}}
            salt.set_pillar(machine, settings)
            run_until_killed(machine, delays.uniform(1, 12))
        run = salt.apply(machine)
    assert run.succeeded, f"seed {seed}\n{run}"
    assert salt.apply(machine).changed == []
    keys = salt.call(machine, "dkim.list_keys")
    assert len(keys) == 2 * len(settings["dkim"]["domains"])
    assert {key["state"] for key in keys} == {"active"}
    outcome = traffic.outcome(site.records)
    report(f"{outcome.sent} sent, {len(outcome.refused)} tries refused")
    assert_all_left_signed(outcome)


def run_until_killed(machine: Machine, seconds: float) -> None:
    command = [salt.HIGHSTATE, "--pillar", salt.PILLAR]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = machine.popen(command, **quiet)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    machine.run("pkill -KILL -f salt-call; pkill -KILL -f bin/highstate", check=False)
    process.wait(30)


def apply_action(site: Site, action: str) -> None:
    run = salt.apply(site.machine, "dkim.postfix", pillar=pillar(action))
    assert run.succeeded, str(run)


def send_during_an_outage(site: Site, action: str) -> Steady:
    """Send mail while the database and thus OpenDKIM are down, until OpenDKIM listens again."""
    apply_action(site, action)
    sender, box = SENDERS[0], mail.Mailbox(site.machine, action)
    # The socket's file proves nothing: a crashed daemon leaves it behind.
    listens = f"ss -Hxl | grep -q {SOCKET}"
    with Steady(box, SENDERS) as traffic:
        with faults.database_stopped(site.machine):
            site.machine.wait_for(f"! {listens}", 60, "OpenDKIM is down")
            mail.send_sendmail(site.machine, mail.compose(sender, box.address), sender, box.address)
        site.machine.wait_for(listens, 60, "OpenDKIM listens again")
    return traffic


@pytest.mark.soak
def test_accept_loses_no_mail_and_lets_some_leave_unsigned(site: Site, report: Report) -> None:
    outcome = send_during_an_outage(site, "accept").outcome(site.records)
    report(f"{outcome.sent} sent, {len(outcome.unsigned)} left unsigned")
    assert outcome.lost == []
    assert len(outcome.signatures) == outcome.sent
    assert outcome.unsigned != []


@pytest.mark.soak
def test_quarantine_holds_mail_that_leaves_unsigned_when_it_is_released(
    site: Site, report: Report
) -> None:
    traffic = send_during_an_outage(site, "quarantine")
    held = site.machine.run('postqueue -j | grep -c \'"queue_name": "hold"\'').stdout.strip()
    site.machine.run("postsuper -H ALL")
    outcome = traffic.outcome(site.records)
    report(f"{outcome.sent} sent, {held} held, {len(outcome.unsigned)} unsigned when released")
    assert outcome.lost == []
    assert len(outcome.signatures) == outcome.sent
    assert int(held) >= len(outcome.unsigned) > 0
