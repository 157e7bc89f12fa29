"""Lists, numbers and arguments as text for people."""

import shlex

import pytest
import yaml
from dkim_formula.text import as_argument, counted, listed
from hypothesis import given
from hypothesis import strategies as st


def test_rest_of_a_long_list_is_counted():
    assert listed(["a", "b"], 2) == "a, b"
    assert listed(["a", "b", "c"], 2) == "a, b and 1 more"


def test_list_of_the_first_of_many_counts_all():
    assert listed(["a", "b", "c"], 2, 100) == "a, b and 98 more"
    assert listed(["a"], 2, 1) == "a"


def test_noun_has_the_number_of_its_count():
    assert [counted(number, "key") for number in (0, 1, 2)] == ["0 keys", "1 key", "2 keys"]
    assert counted(100000, "key") == "100,000 keys"


ARGUMENTS = st.sampled_from(
    [
        *("0123", "123", "no", "True", "null", "1e3", "0x10", "1_000", "12:30", "2026-01-01", "~"),
        *("mail_2020", "example.com", "1.example.com", "/etc/keys/a b", "/etc/a: b", "/etc/a #b"),
        *("it's", "$(id)", "`id`", 'a"b', "a\\b", "!x", "[a]", "{a: b}", "&a", "*a", "%", "- a"),
    ]
) | st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1)


@given(text=ARGUMENTS)
def test_argument_of_salt_call_arrives_as_the_text(text):
    (typed,) = shlex.split(as_argument(text))
    arrived = yaml.safe_load(typed)
    assert arrived == text or (isinstance(arrived, int) and str(arrived) == text)


@pytest.mark.parametrize(
    ("text", "argument"),
    [
        ("example.com", "example.com"),
        ("mail_2020", "mail_2020"),
        ("2026", "2026"),
        ("0123", "\"'0123'\""),
        ("no", "\"'no'\""),
        ("/etc/dkimkeys/mail.private", "/etc/dkimkeys/mail.private"),
    ],
)
def test_argument_is_quoted_only_if_needed(text, argument):
    assert as_argument(text) == argument
