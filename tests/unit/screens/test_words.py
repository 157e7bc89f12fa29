"""Times, numbers and names in words, and the width of a text."""

import pytest
from dkim_formula.screens import words
from dkim_formula.screens.terminal import Terminal, cell_width, padded
from support.returns import NOW, at, key


@pytest.mark.parametrize(
    ("later", "shown"),
    [
        ({"days": 12}, "in 12 days"),
        ({"hours": 25}, "in 1 day"),
        ({"hours": 2}, "in 2 hours"),
        ({"minutes": 59}, "in 59 minutes"),
        ({"seconds": 40}, "now"),
        ({"seconds": -40}, "now"),
        ({"minutes": -1}, "1 minute ago"),
        ({"days": -3, "hours": -2}, "3 days ago"),
    ],
)
def test_time_is_shown_relative_to_now(later, shown):
    assert words.when(at(**later), NOW) == shown


@pytest.mark.parametrize("nothing", ["", None])
def test_no_time_is_an_empty_text(nothing):
    assert words.when(nothing, NOW) == ""


@pytest.mark.parametrize(
    ("later", "shown"),
    [
        ({"hours": -3}, "for 3 hours"),
        ({"days": -1, "hours": -5}, "for 1 day"),
        ({"seconds": -40}, "for less than a minute"),
        # From before the clock was set back.
        ({"hours": 3}, "for less than a minute"),
    ],
)
def test_time_since_a_start_is_shown_as_a_span(later, shown):
    assert words.lasting(at(**later), NOW) == shown
    assert words.lasting(None, NOW) == ""


def test_time_without_a_zone_is_in_utc():
    assert words.when("2026-12-01T14:00:00", NOW) == "in 2 hours"


@pytest.mark.parametrize(
    ("age", "shown"), [("12d", "12 days"), ("1h", "1 hour"), ("0s", "0 seconds"), ("", "")]
)
def test_age_is_shown_in_words(age, shown):
    assert words.span(age) == shown


def test_algorithm_is_shown_with_its_size_if_it_has_one():
    assert words.algorithm(key()) == "rsa 2048"
    assert words.algorithm(key(algorithm="ed25519", bits=None)) == "ed25519"
    assert words.algorithm(key(bits=None)) == "rsa"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("example.com", "example.com"),
        ("xn--mnchen-3ya.example", "münchen.example (xn--mnchen-3ya.example)"),
        ("xn--fsqu00a.xn--0zwm56d", "例子.测试 (xn--fsqu00a.xn--0zwm56d)"),
        # These are no A-labels, so they stay unchanged.
        ("xn--a.example", "xn--a.example"),
        ("xn--.example", "xn--.example"),
        ("", "(no name)"),
    ],
)
def test_domain_is_shown_with_u_labels(name, shown):
    assert words.domain(name, Terminal()) == shown
    assert words.domain(name, Terminal(utf8=False)).isascii()


@pytest.mark.parametrize(
    ("text", "wide"), [("abc", 3), ("münchen", 7), ("例子", 4), ("e\u0301", 1)]
)
def test_width_of_a_text_is_that_of_its_characters(text, wide):
    assert cell_width(text) == wide
    assert cell_width(padded(text, 9)) == 9
