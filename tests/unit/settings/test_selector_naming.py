"""Selectors by a scheme: unused ones, and schemes that make no valid selector."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from dkim_formula.errors import InvalidValue
from dkim_formula.settings.selector_naming import (
    check_result,
    check_scheme,
    free_selector,
    unused_selector,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 22, 18, 5, 7, tzinfo=UTC)


def made(scheme, used=(), selector="default", algorithm="rsa", now=NOW):
    return unused_selector(scheme, selector, algorithm, now, set(used))


def test_date_follows_the_domains_own_selector():
    assert made("{selector}-%Y%m%d") == "default-20261122"


def test_used_name_gets_a_number():
    used = ["default-20261122", "default-20261122-2"]
    assert made("{selector}-%Y%m%d", used) == "default-20261122-3"


def test_number_counts_at_its_position_in_the_scheme():
    assert made("k{n}-{algorithm}", ["k1-rsa", "k2-rsa"]) == "k3-rsa"


def test_name_is_in_lower_case():
    assert made("{selector}-T%H", selector="Mail") == "mail-t18"


def test_date_is_that_of_utc():
    east = NOW.astimezone(timezone(timedelta(hours=12)))
    assert made("%d", now=east) == "22"


@pytest.mark.parametrize(
    ("scheme", "problem"),
    [
        ("", "is not a scheme"),
        (2026, "is not a scheme"),
        (None, "is not a scheme"),
        ("{selector", "is malformed"),
        ("{name}", "unknown field {name}"),
        ("{}", "unknown field {}"),
        ("{selector!r}", "unknown field {selector}"),
        ("{n:03}", "unknown field {n}"),
        ("%B", "unknown code %B"),
        ("s%", "unknown code %"),
        ("%%", "unknown code %%"),
        ("{selector}_%Y", "malformed label"),
        ("-{selector}", "malformed label"),
        ("a..{n}", "empty label"),
        ("{selector}-" + "x" * 60, "label"),
    ],
)
def test_scheme_that_makes_no_selector_is_refused(scheme, problem):
    with pytest.raises(InvalidValue) as error:
        check_scheme(scheme, "dkim:rotation:selector")
    assert str(error.value).startswith("dkim:rotation:selector: ")
    assert problem in str(error.value)


def test_room_for_a_second_name_is_kept():
    scheme = "{selector}-%Y%m%d"
    check_result(scheme, "a" * 49, "x")
    with pytest.raises(InvalidValue, match="a label of 59 characters"):
        check_result(scheme, "a" * 50, "x")


def test_free_selector_is_the_first_that_no_key_has():
    assert free_selector(["a", "b", "c"], {"a", "c"}) == "b"
    assert free_selector(["a"], {"a"}) is None


@given(st.lists(st.integers(1, 30), max_size=30), st.sampled_from(["{selector}-%j", "x{n}"]))
def test_new_selector_was_never_used(numbers, scheme):
    used = {f"default-326-{number}" for number in numbers} | {"default-326"}
    used |= {f"x{number}" for number in numbers}
    assert made(scheme, used) not in used
