"""Two database servers: mail is still signed while the primary is down."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

import pytest
from support import faults, mail, remote, salt, server
from support.machine import CommandFailed, Machine
from support.share import short_form
from support.traffic import Traffic

# One release is enough; `bin/test soak` runs this file on both.
pytestmark = pytest.mark.one_release("bookworm")

READS = "canary-reads-9a2d"
DOMAINS = {"example.com": {}}
SENDERS = ["someone@example.com"]
DATABASE_PILLAR = {
    "dkim": {
        "database": {
            "reader": {"auth": "password", "password": READS, "clients": [remote.MAIL]},
        },
        "domains": DOMAINS,
    }
}
MAIL_PILLAR = {
    "dkim": {
        "database": {
            "host": [remote.NAMES[remote.DATABASE], remote.NAMES[remote.STANDBY]],
            "sslrootcert": remote.AUTHORITY,
            "reader": {"auth": "password", "password": READS},
        },
        "domains": DOMAINS,
        "postfix": {"milter_default_action": "tempfail"},
    }
}


@pytest.fixture(scope="module")
def site(release: str) -> Iterator[remote.Site]:
    with remote.site(release, standby=True) as site:
        salt.install_formula(site.database, DATABASE_PILLAR)
        run = salt.apply(site.database, "dkim.database,dkim.keys")
        assert run.succeeded, str(run)
        _replicate(site)
        salt.install_formula(site.mail, MAIL_PILLAR)
        run = salt.apply(site.mail, "dkim.opendkim,dkim.postfix")
        assert run.succeeded, str(run)
        yield site


@pytest.fixture(scope="module")
def box(site: remote.Site) -> mail.Mailbox:
    return mail.Mailbox(site.mail)


@pytest.fixture(scope="module")
def records(site: remote.Site) -> Mapping[str, str]:
    return remote.records(site)


def _replicate(site: remote.Site) -> None:
    remote.replicate(site.database, site.standby, remote.STANDBY)
    site.standby.wait_for(
        "runuser -u postgres -- psql -d vmail -Atc 'SELECT count(*) FROM dkim' | grep -qx 1", 60
    )
    # Each server has its own access files: replication does not copy them.
    salt.install_formula(site.standby, DATABASE_PILLAR)
    run = salt.apply(site.standby, "dkim.database")
    assert run.succeeded, str(run)
    assert {state.id for state in run.changed} == {"The roles can log in"}


def signed(box: mail.Mailbox, records: Mapping[str, str]) -> bool:
    try:
        message = mail.sent_by_smtp(box, SENDERS[0])
    except CommandFailed:  # 451 while the daemon restarts
        return False
    return [one.valid for one in mail.signatures(box.machine, message, records)] == [True]


def readers_at(machine: Machine) -> int:
    where = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'vmail-dkim-reader'"
    return int(server.sql(machine, where))


def test_second_run_changes_nothing_on_the_standby(site: remote.Site) -> None:
    again = salt.apply(site.standby, "dkim.database")
    assert again.succeeded, str(again)
    assert again.changed == []


def test_daemon_reads_the_primary_while_it_is_up(
    site: remote.Site, box: mail.Mailbox, records: Mapping[str, str]
) -> None:
    assert signed(box, records)
    assert readers_at(site.database) > 0
    assert readers_at(site.standby) == 0


@pytest.mark.parametrize("fault", short_form(["unplugged", "stopped", "killed"]))
def test_mail_is_signed_while_the_primary_is_down(
    site: remote.Site, box: mail.Mailbox, records: Mapping[str, str], fault: str
) -> None:
    """No message leaves unsigned, none is lost, and the standby signs within seconds."""
    with Traffic(box, SENDERS) as traffic:
        _stop_primary(site, fault)
        site.standby.wait_for(lambda: readers_at(site.standby) > 0, 60)
        site.mail.wait_for(lambda: signed(box, records), 60)
        _restore_primary(site, fault)
    outcome = traffic.outcome(records)
    print(f"{fault}: no message was accepted by SMTP for {_longest_gap(outcome.taken):.1f} s")
    assert outcome.unsigned == []
    assert set(outcome.taken) <= outcome.signatures.keys()


def _longest_gap(taken: Sequence[str]) -> float:
    """
    Return the longest time in seconds between two messages that the server accepted by SMTP.

    A message's identifier holds its number and its time in nanoseconds.
    """
    marks = [identifier.strip("<>").partition("@")[0].split(".") for identifier in taken]
    times = [int(time) for number, time in marks if int(number) % 2 == 0]
    gaps = (after - before for before, after in itertools.pairwise(times))
    return max(gaps, default=0) / 1e9


def _stop_primary(site: remote.Site, fault: str) -> None:
    if fault == "unplugged":
        site.network.pull_cable(f"{remote.DATABASE}/24")
    elif fault == "killed":
        site.database.run(f"systemctl kill --signal=KILL postgresql@*-main; {faults.STOP}")
    else:
        site.database.run(faults.STOP)


def _restore_primary(site: remote.Site, fault: str) -> None:
    """Restore the primary, and restart the daemon so that its new sessions use the primary."""
    if fault == "unplugged":
        site.network.put_cable_back(f"{remote.DATABASE}/24")
    else:
        site.database.run(faults.START)
    site.mail.run("systemctl restart opendkim")
    site.mail.wait_for(lambda: readers_at(site.database) > 0, 60)
