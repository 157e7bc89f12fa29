"""``dkim:rotation``: times with units are read as seconds, and selectors fit the scheme."""

import pytest
from dkim_formula.settings import read

DAY = 86400


def rotation(given, **sections):
    reading = read({"rotation": given, **sections})
    assert reading.problems == ()
    return reading.settings.rotation


def problem(given, **sections):
    (text,) = read({"rotation": given, **sections}).problems
    return text


def test_defaults_are_those_of_the_example():
    found = rotation({})
    assert (found.every, found.spread) == (180 * DAY, 30 * DAY)
    assert (found.retire_for, found.revoke_for, found.margin) == (14 * DAY, 30 * DAY, 300)
    assert found.selector == "{selector}-%Y%m%d"
    assert (found.together, found.automatic) == (False, False)
    assert (found.first_key_waits, found.standby) == (None, None)
    assert (found.schedule, found.publish_private) == (None, None)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(90, 90 * DAY), ("90", 90 * DAY), ("90s", 90), ("15m", 900), ("2h", 7200), ("14d", 14 * DAY)],
)
def test_time_is_a_number_of_days_or_has_a_unit(value, seconds):
    assert rotation({"every": value}).every == seconds


def test_spread_follows_every():
    assert rotation({"every": "6h"}).spread == 3600
    assert rotation({"every": "6h", "spread": "0s"}).spread == 0


@pytest.mark.parametrize("value", ["0s", "-1d", "1w", "1.5", 1.5, True, [], "soon", "4000d"])
def test_invalid_time_is_refused(value):
    assert problem({"every": value}).startswith("dkim:rotation:every: ")


def test_spread_is_no_longer_than_every():
    assert "use 2h at most" in problem({"every": "2h", "spread": "3h"})


def test_due_rotations_start_automatically_if_the_formula_publishes():
    dns = {"publish": "rfc2136", "key": {"name": "k", "secret": "YWJj"}}
    assert rotation({}, dns=dns).automatic
    assert not rotation({"automatic": False}, dns=dns).automatic
    assert rotation({"automatic": True}).automatic


def test_due_rotations_start_automatically_if_another_minion_publishes():
    fleet = {"database": "db1", "mail": "mail*"}
    assert not rotation({}, fleet=fleet).automatic
    assert rotation({}, fleet={**fleet, "publisher": "ns"}).automatic
    assert not rotation({"automatic": False}, fleet={**fleet, "publisher": "ns"}).automatic


def test_schedule_is_a_time_or_none():
    assert rotation({"schedule": "1h"}).schedule == 3600
    assert rotation({"schedule": False}).schedule is None
    assert "such as 1h" in problem({"schedule": True})


def test_directory_for_private_keys_is_absolute():
    assert rotation({"publish_private": "/var/www/dkim"}).publish_private == "/var/www/dkim"
    assert "publish_private" in problem({"publish_private": "www/dkim"})


def test_scheme_has_to_fit_the_domains_selectors():
    domains = {"example.com": {"selector": "s" * 60}}
    assert "the selector 'sss" in problem({"selector": "{selector}-%Y%m%d"}, domains=domains)


def test_default_scheme_that_does_not_fit_is_advice():
    reading = read({"domains": {"example.com": {"selector": "s" * 60}}})
    assert reading.problems == ()
    (advice,) = reading.advice
    assert advice.startswith("dkim:rotation:selector: its default ")
