"""Rotations during constant mail, with a BIND that accepts updates and calls that are killed."""

import json
import random
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

import pytest
from support import mail, salt, zones
from support.machine import Machine
from support.receiver import Receiver, verified_now
from support.traffic import Traffic

# One release is enough; `bin/test soak` runs this file on both.
pytestmark = pytest.mark.one_release("trixie")

# The packages are installed: this file does not test their installation.
EQUIPPED = True

DOMAINS = (
    "example.com",
    "example.org",
    "example.net",
    "example.info",
    "example.edu",
    "example.biz",
)
BEFORE = {"default", "default-ed25519"}
AFTER = {"default-1", "default-ed25519-1"}

# The negative TTL, longer than a call takes: a key that signs too early makes a test fail.
NEGATIVE_TTL = 8

# Seconds instead of days, for the records and for the queue.
QUEUE_LIFETIME = 4
ROTATION = {
    "selector": "{selector}-{n}",
    "margin": "1s",
    "retire_for": "1s",
    "revoke_for": "3s",
    "together": True,
}

# The seed of the random times at which calls are killed. A failed soak test names its seed.
SEED = 20261122

IDLE = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dkim-formula'"


def pillar(**rotation: object) -> dict[str, object]:
    return {
        "dkim": {
            "defaults": {"algorithm": ["rsa", "ed25519"], "bits": 1024, "ttl": 1},
            "domains": list(DOMAINS),
            "dns": {
                "publish": "rfc2136",
                "resolver": zones.PRIMARY,
                "timeout": 2,
                "key": zones.KEY,
            },
            "postfix": {"milter_default_action": "tempfail"},
            "rotation": {**ROTATION, **rotation},
        }
    }


@pytest.fixture(scope="module")
def site(machine: Machine) -> Machine:
    """A mail server that signs with two keys per domain and publishes their records itself."""
    zones.serve(machine, *DOMAINS, negative_ttls={"example.com": NEGATIVE_TTL})
    salt.install_formula(machine, pillar())
    run = salt.apply(machine)
    assert run.succeeded, str(run)
    lifetimes = [f"{kind}_queue_lifetime={QUEUE_LIFETIME}s" for kind in ("maximal", "bounce")]
    machine.run(["postconf", "-e", *lifetimes])
    machine.run("systemctl reload postfix")
    return machine


def query(machine: Machine, sql: str) -> list[list[str]]:
    """Return the rows of a query as text."""
    command = ["psql", "-X", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-d", "vmail"]
    output = machine.run([*command, "-c", sql], user="postgres").stdout
    return [line.split("\t") for line in output.splitlines() if line]


def states(machine: Machine, domain: str) -> dict[str, str]:
    """Return the state of each of a domain's keys by selector."""
    return dict(query(machine, f"SELECT selector, state FROM dkim WHERE domain = '{domain}'"))


def history(machine: Machine, domain: str, selector: str) -> list[tuple[str, str]]:
    """Return the moves of a key in order, each as old and new state."""
    sql = (
        "SELECT coalesce(from_state, '-'), coalesce(to_state, '-') FROM dkim_history "
        f"WHERE domain = '{domain}' AND selector = '{selector}' ORDER BY id"
    )
    return [tuple(row) for row in query(machine, sql)]


def generated_at(machine: Machine, domain: str, selector: str) -> float:
    """Return when a key was generated, in seconds since 1970."""
    sql = (
        "SELECT extract(epoch FROM at) FROM dkim_history WHERE from_state IS NULL "
        f"AND domain = '{domain}' AND selector = '{selector}'"
    )
    return float(query(machine, sql)[0][0])


def advance_until(
    machine: Machine, domain: str, condition: Callable[[Mapping[str, str]], bool]
) -> None:
    """Call ``dkim.advance`` until a condition holds for the states of the domain's keys."""

    def holds() -> bool:
        salt.call(machine, "dkim.advance", domain)
        return condition(states(machine, domain))

    machine.wait_for(holds, deadline=120, what=f"the keys of {domain} have moved")


def settled(keys: Mapping[str, str]) -> bool:
    return len(keys) == len(BEFORE) and set(keys.values()) == {"active"}


def deferred(machine: Machine) -> str:
    """Return the log lines of mail that was deferred or refused."""
    log = machine.run("journalctl --no-pager -o cat | grep -E 'status=deferred|milter-reject'; :")
    return log.stdout


def test_all_mail_verifies_during_and_after_a_complete_rotation(site: Machine) -> None:
    box = mail.Mailbox(site)
    early = [f"{selector}._domainkey.example.com" for selector in AFTER]
    with Receiver(box, zones.PRIMARY, early) as receiver:
        with Traffic(box, ["user@example.com"], pause=0.1) as traffic:
            started = salt.call(site, "dkim.rotate", "example.com")
            assert {one["new"] for one in started["changes"].values()} == {"pending"}
            # By the database's clock: the record can't be visible before the key was generated.
            may_sign = datetime.fromisoformat(started["next_check"]).timestamp()
            assert may_sign >= generated_at(site, "example.com", "default-1") + NEGATIVE_TTL
            advance_until(site, "example.com", lambda keys: keys["default-1"] == "active")
            assert states(site, "example.com") == {
                **dict.fromkeys(BEFORE, "retired"),
                **dict.fromkeys(AFTER, "active"),
            }
            after_the_switch = verified_now(box, zones.PRIMARY)
            advance_until(site, "example.com", settled)
        outcome = traffic.outcome({})
    assert outcome.refused == []
    assert deferred(site) == ""
    assert receiver.unsigned == 0
    assert receiver.invalid == []
    assert {len(signatures) for signatures in receiver.messages} == {2}
    assert receiver.signers == BEFORE | AFTER
    assert after_the_switch.keys() >= BEFORE
    assert all(all(verdicts) for verdicts in after_the_switch.values())


def test_rotation_removes_old_keys_and_their_records(site: Machine) -> None:
    assert set(states(site, "example.com")) == AFTER
    shown = zones.key_records(site, "example.com")
    assert set(shown) == {f"{selector}._domainkey.example.com" for selector in AFTER}
    for selector in BEFORE:
        assert history(site, "example.com", selector) == [
            ("-", "active"),
            ("active", "retired"),
            ("retired", "revoked"),
            ("revoked", "-"),
        ]
    later = verified_now(mail.Mailbox(site), zones.PRIMARY)
    assert {selector: any(verdicts) for selector, verdicts in later.items()} == {
        **dict.fromkeys(BEFORE, False),
        **dict.fromkeys(AFTER, True),
    }


def test_highstate_after_a_rotation_changes_nothing(site: Machine) -> None:
    run = salt.apply(site)
    assert run.succeeded, str(run)
    assert run.changed == []


def test_selftest_verifies_by_the_records_of_the_name_server(site: Machine) -> None:
    results = salt.call(site, "dkim.selftest", "example.org")
    assert [one["verified_by_dns"] for one in results] == [True, True], results
    record = "default._domainkey.example.org"
    zones.update(site, f"del {record} TXT", f'add {record} 60 TXT "v=DKIM1; p=bm90aGluZw=="')
    status, results = salt.ask(site, "dkim.selftest", "example.org")
    after = {one["algorithm"]: one for one in results}
    salt.call(site, "dkim.publish", "example.org", adopt=True)
    assert status == 1
    assert (after["rsa"]["verified_by_database"], after["rsa"]["verified_by_dns"]) == (True, False)
    assert "different" in after["rsa"]["detail"]
    assert after["ed25519"]["verified_by_dns"] is True
    again = salt.call(site, "dkim.selftest", "example.org")
    assert [one["verified_by_dns"] for one in again] == [True, True], again


@pytest.mark.soak
def test_rotation_moves_no_key_while_no_name_server_answers(site: Machine) -> None:
    box = mail.Mailbox(site, "patient")
    with Receiver(box, zones.PRIMARY) as receiver:
        with Traffic(box, ["user@example.biz"], pause=0.1) as traffic:
            salt.call(site, "dkim.rotate", "example.biz")
            site.run("systemctl stop named")
            for _ in range(2):
                _, found = salt.ask(site, "dkim.advance", "example.biz")
                assert found["changes"] == {}
                assert any("example.biz" in problem for problem in found["problems"]), found
            assert states(site, "example.biz") == {
                **dict.fromkeys(BEFORE, "active"),
                **dict.fromkeys(AFTER, "pending"),
            }
            site.run("systemctl start named")
            advance_until(site, "example.biz", settled)
        outcome = traffic.outcome({})
    assert outcome.refused == []
    assert deferred(site) == ""
    assert receiver.unsigned == 0
    assert receiver.invalid == []
    assert receiver.signers == BEFORE | AFTER
    assert_consistent(site, "example.biz")


# --- Interrupted and concurrent calls -------------------------------------------------------------


@contextmanager
def call(machine: Machine, *words: str) -> Iterator[subprocess.Popen]:
    """Call a function in the background. /run/call holds its process number."""
    with machine.popen(
        f"echo $$ > /run/call; exec {shlex.join(salt.command_line(*words))}",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        yield process


def interrupt(machine: Machine, rounds: int, seed: int) -> None:
    """Make calls, and kill each or restart PostgreSQL at a random time."""
    chance = random.Random(seed)
    started = time.monotonic()
    salt.call(machine, "dkim.advance", "example.org")
    usual = time.monotonic() - started
    calls = (["dkim.rotate", "example.org"], ["dkim.advance"], ["dkim.rotate_due"])
    for _ in range(rounds):
        with call(machine, *chance.choice(calls)) as process:
            try:
                # Salt's own start takes the first half of a call.
                process.wait(timeout=chance.uniform(0.3, 1.2) * usual)
            except subprocess.TimeoutExpired:
                if chance.random() < 0.25:
                    machine.run("systemctl restart postgresql")
                else:
                    machine.run("kill -KILL $(cat /run/call)", check=False)
    machine.wait_for(lambda: query(machine, IDLE) == [["0"]], deadline=120)


def assert_consistent(machine: Machine, domain: str) -> None:
    """Assert that DNS has exactly the table's keys, and no selector was generated twice."""
    keys = states(machine, domain)
    shown = zones.key_records(machine, domain)
    assert set(shown) == {f"{selector}._domainkey.{domain}" for selector in keys}
    records = salt.call(machine, "dkim.records", domain)
    assert shown == {record["name"]: record["value"] for record in records}
    repeated = query(
        machine,
        "SELECT selector, count(*) FROM dkim_history WHERE from_state IS NULL "
        f"AND domain = '{domain}' GROUP BY selector HAVING count(*) > 1",
    )
    assert repeated == []


def assert_recovery_from_interruptions(machine: Machine, rounds: int, seed: int) -> None:
    box = mail.Mailbox(machine, f"reader{rounds}")
    with Receiver(box, zones.PRIMARY) as receiver:
        with Traffic(box, ["user@example.org"], pause=0.1) as traffic:
            interrupt(machine, rounds, seed)
            advance_until(machine, "example.org", settled)
        outcome = traffic.outcome({}, deadline=300)
    assert_consistent(machine, "example.org")
    # Without PostgreSQL OpenDKIM can't sign, so the server defers mail.
    assert len(outcome.taken) > rounds
    assert receiver.unsigned == 0
    assert receiver.invalid == []


@pytest.mark.soak
def test_next_call_completes_calls_that_were_killed(site: Machine) -> None:
    assert_recovery_from_interruptions(site, rounds=6, seed=SEED)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(SEED, SEED + 3))
def test_next_call_completes_dozens_of_calls_that_were_killed(site: Machine, seed: int) -> None:
    assert_recovery_from_interruptions(site, rounds=40 + seed - SEED, seed=seed)


def at_once(machine: Machine, number: int, *words: str) -> list[dict[str, object]]:
    """Make a number of calls at the same time, and return their results."""
    command = salt.command_line(*words)
    running = [
        machine.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(number)
    ]
    outputs = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0] * number, outputs
    return [json.loads(output)["local"] for output, _ in outputs]


@pytest.mark.soak
def test_six_calls_at_once_start_and_finish_one_rotation(site: Machine) -> None:
    started = at_once(site, 6, "dkim.rotate", "example.net")
    assert all(one["problems"] == [] for one in started)
    assert set(states(site, "example.net")) == BEFORE | AFTER
    advanced = at_once(site, 6, "dkim.advance", "example.net")
    assert all(one["problems"] == [] for one in advanced)
    advance_until(site, "example.net", settled)
    assert set(states(site, "example.net")) == AFTER
    assert_consistent(site, "example.net")


# --- A compromised key ----------------------------------------------------------------------------


def test_compromised_key_signs_nothing_and_leaves_dns_at_once(site: Machine) -> None:
    box = mail.Mailbox(site, "reader")
    stolen = mail.sent_by_smtp(box, "user@example.info")
    done = salt.call(site, "dkim.revoke", "example.info", "default", compromised=True)
    assert done["problems"] == []
    assert "does not verify any more" in " ".join(done["notes"])
    keys = states(site, "example.info")
    assert keys["default"] == "revoked"
    assert list(keys.values()).count("active") == 2
    shown = zones.key_records(site, "example.info")
    assert shown["default._domainkey.example.info"].endswith("p=")
    private = "SELECT count(*) FROM dkim WHERE selector = 'default' AND state = 'revoked' AND key "
    assert query(site, f"{private} IS NOT NULL") == [["0"]]
    found = mail.signatures(site, stolen, shown)
    assert {one.selector: one.valid for one in found}["default"] is False
    following = mail.signatures(site, mail.sent_by_smtp(box, "user@example.info"), shown)
    assert [one.valid for one in following] == [True, True]
    assert "default" not in {one.selector for one in following}


# --- Timer ----------------------------------------------------------------------------------------


def test_timer_moves_keys_without_a_minion_and_without_the_pillar(site: Machine) -> None:
    salt.set_pillar(site, pillar(schedule="2s"))
    announced = salt.apply(site, "dkim.rotation", test=True)
    done = salt.apply(site, "dkim.rotation")
    assert done.succeeded, str(done)
    assert {one.id for one in announced.would_change} <= {one.id for one in done.changed}
    again = salt.apply(site, "dkim.rotation")
    assert [one.id for one in again.changed if "rotation" in one.id] == []
    salt.call(site, "dkim.rotate", "example.edu")
    salt.set_pillar(site, {})
    refused = salt.apply(site, "dkim.rotation")
    assert not refused.succeeded
    assert refused.changed == []
    site.wait_for(
        lambda: settled(keys := states(site, "example.edu")) and set(keys) == AFTER, deadline=120
    )
    salt.set_pillar(site, pillar())
    salt.apply(site, "dkim.rotation")
    left = "ls /etc/systemd/system/dkim-rotation.* /var/lib/dkim-formula/rotation.json"
    assert site.run(left, check=False).stdout == ""
