"""Keys change under mail that never stops, with a BIND that takes updates and calls that die."""

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

# One release tells; `bin/test soak` runs it on both.
pytestmark = pytest.mark.one_release("trixie")

# The machine has the packages: this file is not about installing.
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

# For longer than a call takes, so that a gate that does not wait is seen.
REMEMBERED_FOR = 8

# Days become seconds, for the records as for the queue.
QUEUE_LIFETIME = 4
ROTATION = {
    "selector": "{selector}-{n}",
    "margin": "1s",
    "retire_for": "1s",
    "revoke_for": "3s",
    "together": True,
}

# What a run of this takes of random moments; each has its number in the failure's text.
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
    """A mail server that signs with two keys a domain, and publishes them by itself."""
    zones.serve(machine, *DOMAINS, negative_ttls={"example.com": REMEMBERED_FOR})
    salt.install_formula(machine, pillar())
    run = salt.apply(machine)
    assert run.succeeded, str(run)
    lifetimes = [f"{kind}_queue_lifetime={QUEUE_LIFETIME}s" for kind in ("maximal", "bounce")]
    machine.run(["postconf", "-e", *lifetimes])
    machine.run("systemctl reload postfix")
    return machine


def query(machine: Machine, sql: str) -> list[list[str]]:
    """The rows of a query, as text."""
    command = ["psql", "-X", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-d", "vmail"]
    output = machine.run([*command, "-c", sql], user="postgres").stdout
    return [line.split("\t") for line in output.splitlines() if line]


def states(machine: Machine, domain: str) -> dict[str, str]:
    """A domain's keys: state by selector."""
    return dict(query(machine, f"SELECT selector, state FROM dkim WHERE domain = '{domain}'"))


def history(machine: Machine, domain: str, selector: str) -> list[tuple[str, str]]:
    """What became of a key: from which state to which, in order."""
    sql = (
        "SELECT coalesce(from_state, '-'), coalesce(to_state, '-') FROM dkim_history "
        f"WHERE domain = '{domain}' AND selector = '{selector}' ORDER BY id"
    )
    return [tuple(row) for row in query(machine, sql)]


def made_at(machine: Machine, domain: str, selector: str) -> float:
    """When a key was made, in seconds since 1970."""
    sql = (
        "SELECT extract(epoch FROM at) FROM dkim_history WHERE from_state IS NULL "
        f"AND domain = '{domain}' AND selector = '{selector}'"
    )
    return float(query(machine, sql)[0][0])


def advanced_until(
    machine: Machine, domain: str, condition: Callable[[Mapping[str, str]], bool]
) -> None:
    """Call ``dkim.advance`` until the domain's keys are as they should be."""

    def holds() -> bool:
        salt.call(machine, "dkim.advance", domain)
        return condition(states(machine, domain))

    machine.wait_for(holds, deadline=120, what=f"the keys of {domain} have gone on")


def settled(keys: Mapping[str, str]) -> bool:
    return len(keys) == len(BEFORE) and set(keys.values()) == {"active"}


def deferred(machine: Machine) -> str:
    """Log lines of mail that had to wait, or was refused."""
    said = machine.run("journalctl --no-pager -o cat | grep -E 'status=deferred|milter-reject'; :")
    return said.stdout


def test_all_mail_verifies_at_once_and_after_a_whole_rotation(site: Machine) -> None:
    box = mail.Mailbox(site)
    early = [f"{selector}._domainkey.example.com" for selector in AFTER]
    with Receiver(box, zones.PRIMARY, early) as receiver:
        with Traffic(box, ["user@example.com"], pause=0.1) as traffic:
            begun = salt.call(site, "dkim.rotate", "example.com")
            assert {one["new"] for one in begun["changes"].values()} == {"pending"}
            # By the clock of the database: the record can't have been seen before the key was made.
            may_sign = datetime.fromisoformat(begun["next_check"]).timestamp()
            assert may_sign >= made_at(site, "example.com", "default-1") + REMEMBERED_FOR
            advanced_until(site, "example.com", lambda keys: keys["default-1"] == "active")
            assert states(site, "example.com") == {
                **dict.fromkeys(BEFORE, "retired"),
                **dict.fromkeys(AFTER, "active"),
            }
            after_the_switch = verified_now(box, zones.PRIMARY)
            advanced_until(site, "example.com", settled)
        outcome = traffic.outcome({})
    assert outcome.refused == []
    assert deferred(site) == ""
    assert receiver.unsigned == 0
    assert receiver.broken == []
    assert {len(signatures) for signatures in receiver.messages} == {2}
    assert receiver.signers == BEFORE | AFTER
    assert after_the_switch.keys() >= BEFORE
    assert all(all(verdicts) for verdicts in after_the_switch.values())


def test_rotation_leaves_nothing_of_the_old_keys(site: Machine) -> None:
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


def test_selftest_verifies_by_what_the_name_server_holds(site: Machine) -> None:
    told = salt.call(site, "dkim.selftest", "example.org")
    assert [one["verified_by_dns"] for one in told] == [True, True], told
    record = "default._domainkey.example.org"
    zones.update(site, f"del {record} TXT", f'add {record} 60 TXT "v=DKIM1; p=bm90aGluZw=="')
    status, told = salt.ask(site, "dkim.selftest", "example.org")
    after = {one["algorithm"]: one for one in told}
    salt.call(site, "dkim.publish", "example.org", adopt=True)
    assert status == 1
    assert (after["rsa"]["verified_by_database"], after["rsa"]["verified_by_dns"]) == (True, False)
    assert "different" in after["rsa"]["detail"]
    assert after["ed25519"]["verified_by_dns"] is True
    again = salt.call(site, "dkim.selftest", "example.org")
    assert [one["verified_by_dns"] for one in again] == [True, True], again


def test_rotation_stands_still_while_no_name_server_answers(site: Machine) -> None:
    box = mail.Mailbox(site, "patient")
    with Receiver(box, zones.PRIMARY) as receiver:
        with Traffic(box, ["user@example.biz"], pause=0.1) as traffic:
            salt.call(site, "dkim.rotate", "example.biz")
            site.run("systemctl stop named")
            for _ in range(2):
                _, gone = salt.ask(site, "dkim.advance", "example.biz")
                assert gone["changes"] == {}
                assert any("example.biz" in problem for problem in gone["problems"]), gone
            assert states(site, "example.biz") == {
                **dict.fromkeys(BEFORE, "active"),
                **dict.fromkeys(AFTER, "pending"),
            }
            site.run("systemctl start named")
            advanced_until(site, "example.biz", settled)
        outcome = traffic.outcome({})
    assert outcome.refused == []
    assert deferred(site) == ""
    assert receiver.unsigned == 0
    assert receiver.broken == []
    assert receiver.signers == BEFORE | AFTER
    assert_in_order(site, "example.biz")


# --- Calls that don't come to their end -----------------------------------------------------------


@contextmanager
def call(machine: Machine, *words: str) -> Iterator[subprocess.Popen]:
    """A function that is called meanwhile; its process is the one in /run/call."""
    with machine.popen(
        f"echo $$ > /run/call; exec {shlex.join(salt.command_line(*words))}",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        yield process


def interrupt(machine: Machine, rounds: int, seed: int) -> None:
    """Calls that are killed at random moments, or lose PostgreSQL."""
    chance = random.Random(seed)
    started = time.monotonic()
    salt.call(machine, "dkim.advance", "example.org")
    usual = time.monotonic() - started
    calls = (["dkim.rotate", "example.org"], ["dkim.advance"], ["dkim.rotate_due"])
    for _ in range(rounds):
        with call(machine, *chance.choice(calls)) as process:
            try:
                # The first half of a call is Salt's own start.
                process.wait(timeout=chance.uniform(0.3, 1.2) * usual)
            except subprocess.TimeoutExpired:
                if chance.random() < 0.25:
                    machine.run("systemctl restart postgresql")
                else:
                    machine.run("kill -KILL $(cat /run/call)", check=False)
    machine.wait_for(lambda: query(machine, IDLE) == [["0"]], deadline=120)


def assert_in_order(machine: Machine, domain: str) -> None:
    """One key an algorithm signs, DNS has these and no others, and nothing happened twice."""
    keys = states(machine, domain)
    shown = zones.key_records(machine, domain)
    assert set(shown) == {f"{selector}._domainkey.{domain}" for selector in keys}
    records = salt.call(machine, "dkim.records", domain)
    assert shown == {record["name"]: record["value"] for record in records}
    made = query(
        machine,
        "SELECT selector, count(*) FROM dkim_history WHERE from_state IS NULL "
        f"AND domain = '{domain}' GROUP BY selector HAVING count(*) > 1",
    )
    assert made == []


def survived(machine: Machine, rounds: int, seed: int) -> None:
    box = mail.Mailbox(machine, f"reader{rounds}")
    with Receiver(box, zones.PRIMARY) as receiver:
        with Traffic(box, ["user@example.org"], pause=0.1) as traffic:
            interrupt(machine, rounds, seed)
            advanced_until(machine, "example.org", settled)
        outcome = traffic.outcome({}, deadline=300)
    assert_in_order(machine, "example.org")
    # Without PostgreSQL there is no signature: the server asks SMTP clients to come back.
    assert len(outcome.taken) > rounds
    assert receiver.unsigned == 0
    assert receiver.broken == []


def test_calls_that_are_killed_are_completed_by_the_next(site: Machine) -> None:
    survived(site, rounds=6, seed=SEED)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(SEED, SEED + 3))
def test_calls_that_are_killed_by_the_dozen_are_completed_by_the_next(
    site: Machine, seed: int
) -> None:
    survived(site, rounds=40 + seed - SEED, seed=seed)


def at_once(machine: Machine, number: int, *words: str) -> list[dict[str, object]]:
    """What so many calls at the same moment return."""
    command = salt.command_line(*words)
    running = [
        machine.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(number)
    ]
    said = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0] * number, said
    return [json.loads(output)["local"] for output, _ in said]


def test_six_at_once_begin_one_rotation_and_end_it_once(site: Machine) -> None:
    begun = at_once(site, 6, "dkim.rotate", "example.net")
    assert all(one["problems"] == [] for one in begun)
    assert set(states(site, "example.net")) == BEFORE | AFTER
    ended = at_once(site, 6, "dkim.advance", "example.net")
    assert all(one["problems"] == [] for one in ended)
    advanced_until(site, "example.net", settled)
    assert set(states(site, "example.net")) == AFTER
    assert_in_order(site, "example.net")


# --- A key that somebody else has -----------------------------------------------------------------


def test_compromised_key_is_out_of_use_and_of_dns_at_once(site: Machine) -> None:
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


# --- By itself ------------------------------------------------------------------------------------


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
    lost = salt.apply(site, "dkim.rotation")
    assert not lost.succeeded
    assert lost.changed == []
    site.wait_for(
        lambda: settled(keys := states(site, "example.edu")) and set(keys) == AFTER, deadline=120
    )
    salt.set_pillar(site, pillar())
    salt.apply(site, "dkim.rotation")
    left = "ls /etc/systemd/system/dkim-rotation.* /var/lib/dkim-formula/rotation.json"
    assert site.run(left, check=False).stdout == ""
