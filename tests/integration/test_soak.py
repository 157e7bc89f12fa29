"""
Mail at a steady rate while faults come at random: everything that is sent is delivered, and nothing
unsigned.

``--seed`` chooses the faults. The long form is for ``bin/test soak``, and ``--minutes`` for it.
"""

import random
import time

import pytest
from support import faults, mail, salt
from support.machine import Machine
from support.traffic import Outcome, Steady

# One release tells; `bin/test soak` runs it on both.
pytestmark = pytest.mark.one_release("trixie")

# The machine has the packages: this file is not about installing.
EQUIPPED = True

SENDERS = [f"someone@{domain}" for domain in ("example.com", "example.org", "example.net")]
SELECTORS = {"default", "default-ed25519"}
PILLAR = {
    "dkim": {
        "defaults": {"algorithm": ["rsa", "ed25519"]},
        "domains": [sender.partition("@")[2] for sender in SENDERS],
        "postfix": {"milter_default_action": "tempfail"},
    }
}


@pytest.fixture(scope="module")
def site(machine: Machine) -> Machine:
    salt.install_formula(machine, PILLAR)
    run = salt.apply(machine)
    assert run.succeeded, str(run)
    return machine


def soaked(machine: Machine, seed: str, minutes: float) -> tuple[Outcome, list[str]]:
    """The mail of some minutes, and the faults that there were."""
    chance, laid = random.Random(seed), []
    end = time.monotonic() + 60 * minutes
    with Steady(mail.Mailbox(machine, f"soak{seed}"), SENDERS) as traffic:
        while time.monotonic() < end:
            laid.append(chance.choice(sorted(faults.FAULTS)))
            with faults.FAULTS[laid[-1]](machine):
                elapse(chance.uniform(0, 8))
            elapse(chance.uniform(0, 8))
    zone = salt.call(machine, "dkim.records", format="bind")
    return traffic.outcome(mail.zone_records(machine, zone), deadline=600), laid


def elapse(seconds: float) -> None:
    # What the seed chose: how long a fault lasts, and what comes after it, is the test itself.
    time.sleep(seconds)


def assert_sent_is_delivered_and_signed(outcome: Outcome, told: str) -> None:
    assert outcome.lost == [], told
    assert len(outcome.signatures) == outcome.sent, told
    assert outcome.unsigned == [], told
    for identifier, signatures in outcome.signatures.items():
        assert [valid for valid, _, _ in signatures] == [True, True], (identifier, told)
        assert {selector for _, _, selector in signatures} == SELECTORS, (identifier, told)


@pytest.mark.parametrize("long", [pytest.param(True, marks=pytest.mark.soak), False])
def test_mail_survives_faults_at_random(
    site: Machine, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture, long: bool
) -> None:
    seed = request.config.getoption("--seed")
    minutes = request.config.getoption("--minutes") if long else 0.75
    outcome, laid = soaked(site, f"{seed}{'long' * long}", minutes)
    told = (
        f"seed {seed}, {minutes} minutes, {len(laid)} faults: {outcome.sent} sent, "
        f"{len(outcome.signatures)} delivered, {len(outcome.unsigned)} unsigned, "
        f"{len(outcome.refused)} tries refused, longest wait {outcome.longest:.0f} s"
    )
    with capsys.disabled():
        print(f"\n    {told}\n    {' '.join(laid)}")
    assert_sent_is_delivered_and_signed(outcome, told)
