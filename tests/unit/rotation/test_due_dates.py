"""The dates on which keys are due for rotation."""

from datetime import UTC, datetime, timedelta

from dkim_formula.rotation.due_dates import due_at, least_age
from dkim_formula.settings.model import Rotation

DAY = 86400
MADE = datetime(2026, 1, 1, tzinfo=UTC)
ROTATION = Rotation(every=180 * DAY, spread=30 * DAY)
DOMAINS = [f"d{number}.example.com" for number in range(3000)]


def age(domain, algorithm="rsa", rotation=ROTATION):
    return due_at(MADE, rotation, domain, algorithm) - MADE


def test_every_key_is_due_between_every_minus_spread_and_every():
    ages = [age(domain) for domain in DOMAINS]
    assert max(ages) <= timedelta(days=180)
    assert min(ages) > least_age(ROTATION) == timedelta(days=150)


def test_domains_are_spread_evenly():
    days = [age(domain).days for domain in DOMAINS]
    counts = [days.count(day) for day in range(150, 180)]
    assert min(counts) > 60
    assert max(counts) < 150


def test_due_time_of_a_domain_is_the_same_on_every_machine():
    # Computed once. Another value would change the due times of all domains of all users.
    assert age("example.com") == timedelta(days=177, seconds=32677, microseconds=478837)


def test_algorithms_rotate_separately_unless_together_is_set():
    assert age("example.com", "rsa") != age("example.com", "ed25519")
    together = Rotation(every=180 * DAY, spread=30 * DAY, together=True)
    assert age("example.com", "rsa", together) == age("example.com", "ed25519", together)


def test_without_a_spread_all_keys_are_due_after_every():
    assert age("example.com", rotation=Rotation(every=DAY, spread=0)) == timedelta(days=1)
