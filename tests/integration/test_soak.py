"""
Mail at a steady rate during random faults: every message is delivered and signed.

``--seed`` chooses the faults. ``bin/test soak`` runs the long form, which lasts ``--minutes``.
"""

import random
import time

import pytest
from support import faults, mail, salt
from support.machine import Machine
from support.traffic import Outcome, Steady

# One release is enough; `bin/test soak` runs this file on both.
pytestmark = [pytest.mark.one_release("trixie"), pytest.mark.soak]

# The packages are installed: this file does not test their installation.
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


def send_during_faults(machine: Machine, seed: str, minutes: float) -> tuple[Outcome, list[str]]:
    """Send mail for some minutes, and return its outcome and the faults."""
    chance, caused = random.Random(seed), []
    end = time.monotonic() + 60 * minutes
    with Steady(mail.Mailbox(machine, f"soak{seed}"), SENDERS) as traffic:
        while time.monotonic() < end:
            caused.append(chance.choice(sorted(faults.FAULTS)))
            with faults.FAULTS[caused[-1]](machine):
                elapse(chance.uniform(0, 8))
            elapse(chance.uniform(0, 8))
    zone = salt.call(machine, "dkim.records", format="bind")
    return traffic.outcome(mail.zone_records(machine, zone), deadline=600), caused


def elapse(seconds: float) -> None:
    # The seed chooses how long a fault and the pause after it last. The test needs this pause.
    time.sleep(seconds)


def assert_sent_is_delivered_and_signed(outcome: Outcome, summary: str) -> None:
    assert outcome.lost == [], summary
    assert len(outcome.signatures) == outcome.sent, summary
    assert outcome.unsigned == [], summary
    for identifier, signatures in outcome.signatures.items():
        assert [valid for valid, _, _ in signatures] == [True, True], (identifier, summary)
        assert {selector for _, _, selector in signatures} == SELECTORS, (identifier, summary)


@pytest.mark.parametrize("long", [False, True])
def test_all_mail_is_delivered_and_signed_during_random_faults(
    site: Machine, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture, long: bool
) -> None:
    seed = request.config.getoption("--seed")
    minutes = request.config.getoption("--minutes") if long else 0.75
    outcome, caused = send_during_faults(site, f"{seed}{'long' * long}", minutes)
    summary = (
        f"seed {seed}, {minutes} minutes, {len(caused)} faults: {outcome.sent} sent, "
        f"{len(outcome.signatures)} delivered, {len(outcome.unsigned)} unsigned, "
        f"{len(outcome.refused)} tries refused, longest wait {outcome.longest:.0f} s"
    )
    with capsys.disabled():
        print(f"\n    {summary}\n    {' '.join(caused)}")
    assert_sent_is_delivered_and_signed(outcome, summary)
