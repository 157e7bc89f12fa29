"""
Mail flows while things break: with ``tempfail`` none is lost, none leaves unsigned, and signing is
back by itself. docs/faults.md has a row for each test.

Every message of this file is signed by both daemons, so that one that is away shows.
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
from support.traffic import Outcome, Steady

# One release tells; `bin/test soak` runs it on both.
pytestmark = pytest.mark.one_release("bookworm")

# The machine has the packages: this file is not about installing.
EQUIPPED = True

SOCKET = "/var/spool/postfix/opendkim/opendkim.sock"
# What is shown where mail is not taken again.
STATE_OF_IT_ALL = (
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
    """A server that signs, and the records that its mail is verified by."""

    machine: Machine
    records: dict[str, str]

    def signs(self) -> bool:
        """Whether it takes a message; with ``tempfail`` it takes none that it can't sign."""
        sender = SENDERS[0]
        box = mail.Mailbox(self.machine, "probe")
        try:
            mail.send_smtp(self.machine, mail.compose(sender, box.address), sender, box.address)
        except CommandFailed:
            return False
        return True

    def wait_until_it_signs(self) -> float:
        """Seconds that it took: told, not judged, since machines of the tests share processors."""
        begun = time.monotonic()
        try:
            self.machine.wait_for(self.signs, 180, "mail is taken again")
        except NotInTime as error:
            raise NotInTime(
                f"{error}\n{self.machine.run(STATE_OF_IT_ALL, check=False).stdout}"
            ) from None
        return time.monotonic() - begun


@pytest.fixture(scope="module")
def site(machine: Machine) -> Site:
    """Set up with ``tempfail``."""
    salt.install_formula(machine, pillar("tempfail"))
    run = salt.apply(machine)
    assert run.succeeded, str(run)
    zone = salt.call(machine, "dkim.records", format="bind")
    return Site(machine, mail.zone_records(machine, zone))


Tell = Callable[[str], None]


@pytest.fixture
def tell(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture) -> Iterator[Tell]:
    """Prints what was measured, whether or not the test passes."""

    def line(text: str) -> None:
        with capsys.disabled():
            print(f"\n    {request.node.name}: {text}")

    return line


def assert_all_left_signed(outcome: Outcome) -> None:
    """Everything that was to be sent arrived, with both signatures, each of them valid."""
    assert outcome.lost == []
    assert len(outcome.signatures) == outcome.sent
    for identifier, signatures in outcome.signatures.items():
        assert [valid for valid, _, _ in signatures] == [True, True], identifier
        assert {selector for _, _, selector in signatures} == SELECTORS, identifier


# What is waited for while a fault lasts. By default there is nothing to wait for: the fault is
# over when it is lifted.
def until_mail_is_refused(site: Site) -> None:
    site.machine.wait_for(lambda: not site.signs(), what="mail is refused")


def until_the_packaged_unit_had_given_up(site: Site) -> None:
    # Five starts in ten seconds are what systemd bears by default; then a unit stays down.
    until_mail_is_refused(site)
    before = faults.restarts(site.machine)
    site.machine.wait_for(lambda: faults.restarts(site.machine) > before + 5, 60, "five tries")


def until_clients_wait(site: Site) -> None:
    # Neither taken nor refused: each message has a process of Postfix that waits for OpenDKIM.
    waiting = f"test $(ss -Hx state established | grep -c {SOCKET}) -gt 8"
    site.machine.wait_for(waiting, 60, "clients wait")


def nothing(site: Site) -> None:
    pass


WHILE = {
    "database_stopped": until_the_packaged_unit_had_given_up,
    "database_killed": until_mail_is_refused,
    "database_restarted": nothing,
    "database_hangs": until_clients_wait,
    "table_locked": until_clients_wait,
    "sessions_ended": nothing,
    "disk_full": until_mail_is_refused,
    "connections_exhausted": until_mail_is_refused,
    "opendkim_killed": nothing,
    "postfix_restarted": nothing,
}


@pytest.mark.parametrize("name", faults.FAULTS)
def test_no_mail_is_lost_or_unsigned(site: Site, tell: Tell, name: str) -> None:
    box = mail.Mailbox(site.machine, name.replace("_", "-"))
    with Steady(box, SENDERS) as traffic:
        with faults.FAULTS[name](site.machine):
            WHILE[name](site)
        took = site.wait_until_it_signs()
    outcome = traffic.outcome(site.records)
    tell(
        f"{outcome.sent} sent, {len(outcome.refused)} tries refused, signs again after {took:.1f} s"
        f", longest wait of a message {outcome.longest:.0f} s"
    )
    assert_all_left_signed(outcome)


def test_daemon_that_is_stuck_without_its_session_is_ended(site: Site) -> None:
    # Not each session that is ended leaves the daemon stuck: it depends on what it reads first.
    machine, before = site.machine, faults.restarts(site.machine)

    def ended() -> bool:
        with faults.sessions_ended(machine):
            pass
        site.wait_until_it_signs()
        return faults.restarts(machine) > before

    with Steady(mail.Mailbox(machine, "stuck"), SENDERS) as traffic:
        machine.wait_for(ended, 120, "opendkim-watchdog has ended a daemon")
    assert_all_left_signed(traffic.outcome(site.records))


# Without Syslog, a look-up while PostgreSQL is away leaves OpenDKIM hanging in place of crashing.
@pytest.mark.soak
def test_daemon_that_hangs_while_its_database_works_is_ended(site: Site, tell: Tell) -> None:
    machine, settings = site.machine, pillar("tempfail")
    settings["dkim"]["opendkim"] = {"settings": {"Syslog": False, "SyslogSuccess": False}}
    assert salt.apply(machine, "dkim.opendkim", pillar=settings).succeeded
    before = faults.restarts(machine)
    with Steady(mail.Mailbox(machine, "hanging"), SENDERS, pause=4) as traffic:
        with faults.database_stopped(machine):
            assert not site.signs()
        machine.wait_for(lambda: faults.restarts(machine) > before, 180, "a daemon is ended")
        tell(f"signs again after {site.wait_until_it_signs():.1f} s")
    assert_all_left_signed(traffic.outcome(site.records))
    assert salt.apply(machine, "dkim.opendkim", pillar=pillar("tempfail")).succeeded


# Postfix bears a silent milter for 300 s: postconf(5), milter_content_timeout.
@pytest.mark.soak
def test_hang_that_outlasts_postfix_is_an_outage_like_others(site: Site, tell: Tell) -> None:
    box = mail.Mailbox(site.machine, "long-hang")
    with Steady(box, SENDERS, pause=4) as traffic:
        with faults.database_hangs(site.machine):
            refused = "journalctl -q -u 'postfix*' | grep -q 'milter-reject: .* 4.7.1 '"
            site.machine.wait_for(refused, 420, "Postfix waits no longer")
        tell(f"signs again after {site.wait_until_it_signs():.1f} s")
    assert_all_left_signed(traffic.outcome(site.records))


# start.conf(5) of postgresql-common: manual is a cluster that the boot leaves alone.
START_CONF = "sed -i 's/^{}$/{}/' /etc/postgresql/*/main/start.conf"


def test_message_that_waited_through_a_power_cut_leaves_signed(site: Site, tell: Tell) -> None:
    machine, box = site.machine, mail.Mailbox(site.machine)
    text = mail.compose(SENDERS[0], box.address)
    machine.run(faults.STOP)
    until_mail_is_refused(site)
    mail.send_sendmail(machine, text, SENDERS[0], box.address)
    machine.pull_the_plug()
    machine.power_on()
    tell(f"takes mail again {site.wait_until_it_signs():.1f} s after the boot")
    machine.run("postqueue -f")
    assert_signed_by_both(site, box.wait_for(mail.message_id(text), 120))


def test_database_that_is_late_at_boot_is_waited_for(site: Site, tell: Tell) -> None:
    machine, box = site.machine, mail.Mailbox(site.machine)
    machine.run(START_CONF.format("auto", "manual"))
    machine.reboot()
    machine.wait_for(lambda: faults.restarts(machine) > 1, 60, "tries without a database")
    assert not site.signs()
    machine.run(f"{START_CONF.format('manual', 'auto')}; {faults.START}")
    tell(f"takes mail {site.wait_until_it_signs():.1f} s after the database")
    assert_signed_by_both(site, mail.sent_by_smtp(box, SENDERS[1]))


def assert_signed_by_both(site: Site, message: bytes) -> None:
    found = mail.signatures(site.machine, message, site.records)
    assert all(signature.valid for signature in found)
    assert {signature.algorithm for signature in found} == BOTH


def test_check_of_dns_without_a_server_says_so_and_harms_no_mail(site: Site) -> None:
    # Nothing listens at 127.0.0.1 port 53: the machine has no name server.
    dns = {"resolver": "127.0.0.1", "timeout": 1, "deadline": 5}
    settings = {"dkim": {**pillar("tempfail")["dkim"], "dns": dns}}
    salt.set_pillar(site.machine, settings)
    with Steady(mail.Mailbox(site.machine, "dns"), SENDERS) as traffic:
        status, found = salt.ask(site.machine, "dkim.check_dns")
    assert (status, found["ok"]) == (0, False)
    assert_all_left_signed(traffic.outcome(site.records))


def test_highstate_that_is_killed_at_any_moment_is_made_good_by_the_next(
    site: Site, request: pytest.FixtureRequest, tell: Tell
) -> None:
    machine = site.machine
    seed = request.config.getoption("--seed")
    moments = random.Random(seed)
    settings = pillar("tempfail")
    with Steady(mail.Mailbox(machine, "killed-runs"), SENDERS) as traffic:
        for number in range(3):
            # Each run has keys to make and a daemon to restart.
            settings["dkim"]["domains"][f"d{number}.example"] = {}
            settings["dkim"]["opendkim"] = {"settings": {"SignatureTTL": 86400 + number}}
            salt.set_pillar(machine, settings)
            run_until_killed(machine, moments.uniform(1, 12))
        run = salt.apply(machine)
    assert run.succeeded, f"seed {seed}\n{run}"
    assert salt.apply(machine).changed == []
    keys = salt.call(machine, "dkim.list_keys")
    assert len(keys) == 2 * len(settings["dkim"]["domains"])
    assert {key["state"] for key in keys} == {"active"}
    outcome = traffic.outcome(site.records)
    tell(f"{outcome.sent} sent, {len(outcome.refused)} tries refused")
    assert_all_left_signed(outcome)


def run_until_killed(machine: Machine, seconds: float) -> None:
    command = [salt.HIGHSTATE, "--pillar", salt.PILLAR]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = machine.popen(command, **quiet)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    machine.run("pkill -KILL -f salt-call; pkill -KILL -f bin/highstate", check=False)
    process.wait(30)


def with_action(site: Site, action: str) -> None:
    run = salt.apply(site.machine, "dkim.postfix", pillar=pillar(action))
    assert run.succeeded, str(run)


def through_an_outage(site: Site, action: str) -> Steady:
    """Mail while the database is down and OpenDKIM with it, and until that is over."""
    with_action(site, action)
    sender, box = SENDERS[0], mail.Mailbox(site.machine, action)
    # A daemon that has crashed leaves the socket's file.
    listens = f"ss -Hxl | grep -q {SOCKET}"
    with Steady(box, SENDERS) as traffic:
        with faults.database_stopped(site.machine):
            site.machine.wait_for(f"! {listens}", 60, "OpenDKIM is away")
            mail.send_sendmail(site.machine, mail.compose(sender, box.address), sender, box.address)
        site.machine.wait_for(listens, 60, "OpenDKIM is back")
    return traffic


def test_accept_loses_nothing_and_lets_mail_out_unsigned(site: Site, tell: Tell) -> None:
    outcome = through_an_outage(site, "accept").outcome(site.records)
    tell(f"{outcome.sent} sent, {len(outcome.unsigned)} left unsigned")
    assert outcome.lost == []
    assert len(outcome.signatures) == outcome.sent
    assert outcome.unsigned != []


def test_quarantine_holds_mail_that_is_unsigned_when_it_is_let_go(site: Site, tell: Tell) -> None:
    traffic = through_an_outage(site, "quarantine")
    held = site.machine.run('postqueue -j | grep -c \'"queue_name": "hold"\'').stdout.strip()
    site.machine.run("postsuper -H ALL")
    outcome = traffic.outcome(site.records)
    tell(f"{outcome.sent} sent, {held} held, {len(outcome.unsigned)} unsigned when let go")
    assert outcome.lost == []
    assert len(outcome.signatures) == outcome.sent
    assert int(held) >= len(outcome.unsigned) > 0
