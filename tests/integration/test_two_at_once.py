"""Two highstates at the same time: of two minions that share a database, and of one minion."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from support import mail, salt
from support.machine import Machine
from support.traffic import Traffic

# One release is enough; `bin/test soak` runs this file on apply_at_once.
pytestmark = [pytest.mark.one_release("trixie"), pytest.mark.soak]

# The packages are installed: dpkg's lock allows no two installations at once.
EQUIPPED = True

# Two configurations act as two minions: Salt's guard against a second run checks only its own
# cache directory.
MINIONS = ("", "/var/cache/other-minion")

PILLAR = {
    "dkim": {
        "defaults": {"algorithm": ["rsa", "ed25519"], "bits": 1024},
        "domains": {
            "example.com": {},
            "example.org": {"addresses": {"news@example.org": {}}},
            "example.net": {"alias_of": "example.com"},
        },
    }
}
KEYS = {
    "default._domainkey.example.com",
    "default-ed25519._domainkey.example.com",
    "default._domainkey.example.org",
    "default-ed25519._domainkey.example.org",
    "news._domainkey.example.org",
    "news-ed25519._domainkey.example.org",
}
SENDERS = ["user@example.com", "user@example.org", "news@example.org", "user@example.net"]


def apply_at_once(machine: Machine, minions: tuple[str, str]) -> list[salt.Run]:
    """Start two runs at the same time, and return both."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda minion: salt.apply(machine, minion=minion), minions))


def records(machine: Machine) -> dict[str, str]:
    """Return the values of the records that the machine prints, by name."""
    return {record["name"]: record["value"] for record in salt.call(machine, "dkim.records")}


@pytest.fixture(scope="module")
def first(machine: Machine) -> list[salt.Run]:
    """The first two runs on the machine, both at the same time."""
    salt.install_formula(machine, PILLAR)
    return apply_at_once(machine, MINIONS)


def test_first_runs_of_two_minions_succeed_and_generate_each_key_once(
    machine: Machine, first: list[salt.Run]
) -> None:
    for run in first:
        assert run.succeeded, str(run)
    new = "SELECT selector || '._domainkey.' || domain FROM dkim_history WHERE from_state IS NULL"
    rows = machine.run(["psql", "-d", "vmail", "-Atc", new], user="postgres").stdout.split()
    assert sorted(rows) == sorted(KEYS)
    assert records(machine).keys() == KEYS


def test_run_after_two_at_once_changes_nothing(machine: Machine, first: list[salt.Run]) -> None:
    for minion in MINIONS:
        run = salt.apply(machine, minion=minion)
        assert run.succeeded, str(run)
        assert run.changed == []


def test_no_mail_leaves_unsigned_while_two_minions_restart_the_daemons(
    machine: Machine, first: list[salt.Run]
) -> None:
    changed = {"dkim": {**PILLAR["dkim"], "opendkim": {"settings": {"LogWhy": True}}}}
    salt.set_pillar(machine, changed)
    with Traffic(mail.Mailbox(machine), SENDERS, pause=0.02) as traffic:
        runs = apply_at_once(machine, MINIONS)
    assert all(run.succeeded for run in runs), "\n".join(map(str, runs))
    assert any(run["opendkim runs with these settings"].changes for run in runs)
    outcome = traffic.outcome(records(machine))
    assert len(outcome.taken) >= len(SENDERS)
    assert outcome.unsigned == []


def test_second_run_of_one_minion_logs_that_it_waits_for_the_first(
    machine: Machine, first: list[salt.Run]
) -> None:
    runs = apply_at_once(machine, ("", ""))
    assert all(run.succeeded for run in runs), "\n".join(map(str, runs))
    waited = ["another run is under way; waiting for its end" in run.log for run in runs]
    assert sorted(waited) == [False, True]


@pytest.mark.parametrize(
    ("words", "status"), [(["dkim.list_keys"], 0), (["dkim.retire", "example.com", "never"], 1)]
)
def test_warm_salt_returns_the_same_as_a_newly_started_one(
    machine: Machine, first: list[salt.Run], words: list[str], status: int
) -> None:
    command = salt.command_line(*words)
    warm = salt.environment(machine)
    assert warm
    new, other = [machine.run(command, check=False, env=env) for env in ({}, warm)]
    assert new.returncode == status
    assert (other.returncode, other.stdout, other.stderr) == (status, new.stdout, new.stderr)
