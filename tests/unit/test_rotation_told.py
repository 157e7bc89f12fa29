"""What a run of states says of a rotation."""

import pytest
from dkim_formula.operations.publish import TO_BE_MADE
from dkim_formula.operations.rotation_told import LISTED, told

KEY = "s2._domainkey.example.com"
WAITING = {
    "domain": "example.com",
    "selector": "s2",
    "algorithm": "rsa",
    "state": "pending",
    "next": "active",
    "for": "its record is not at every server: absent",
    "until": None,
}
RECORD = {
    "name": KEY,
    "type": "TXT",
    "ttl": 3600,
    "value": "v=DKIM1; p=abc",
    "purpose": "dkim",
    "domain": "example.com",
    "selector": "s2",
}


def done(**parts):
    empty = {"changes": {}, "dns": {}, "waiting": [], "publish": [], "notes": [], "problems": []}
    return {**empty, "come_back": None, **parts}


def test_nothing_to_do_is_a_success_without_changes():
    assert told(done(), test=False) == (True, {}, "No key is to move now")


@pytest.mark.parametrize(("test", "result"), [(True, None), (False, True)])
def test_steps_and_records_are_the_changes(test, result):
    step = {KEY: {"old": None, "new": "pending"}}
    record = {f"{KEY} TXT": {"old": None, "new": "v=DKIM1; p=abc"}}
    said = told(done(changes=step, dns=record), test)
    assert said[:2] == (result, {**step, **record})


def test_key_that_waits_is_a_success_that_says_for_what_and_until_when():
    until = {**WAITING, "until": "2026-11-22T18:00:00+00:00"}
    result, changes, comment = told(done(waiting=[until], come_back=until["until"]), test=False)
    assert (result, changes) == (True, {})
    assert f"{KEY} is pending and waits to be active: {WAITING['for']}" in comment
    assert comment.count("18:00:00") == 2


def test_key_that_waits_for_no_moment_names_none():
    comment = told(done(waiting=[WAITING]), test=False)[2]
    assert "until" not in comment
    assert "Come back" not in comment


def test_many_keys_that_wait_are_counted():
    comment = told(done(waiting=[WAITING] * (LISTED + 5)), test=False)[2]
    assert comment.count(KEY) == LISTED
    assert "… and 5 more that wait" in comment


def test_records_are_shown_as_they_paste():
    comment = told(done(publish=[RECORD]), test=False)[2]
    assert f'{KEY}. 3600 IN TXT "v=DKIM1; p=abc"' in comment


def test_record_of_a_key_that_is_to_be_made_is_no_line_to_paste():
    comment = told(done(publish=[{**RECORD, "value": TO_BE_MADE}]), test=True)[2]
    assert comment.endswith(f"{KEY} is to be published once its key is made")


def test_problem_fails_and_does_not_hide_what_was_done():
    step = {KEY: {"old": None, "new": "pending"}}
    result, changes, comment = told(done(changes=step, problems=["ns1: REFUSED"]), test=False)
    assert (result, changes) == (False, step)
    assert "ns1: REFUSED" in comment
