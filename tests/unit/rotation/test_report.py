"""What a rotation's functions return stays readable, and what a state's comment says of it."""

import time

import pytest
from dkim_formula.dns.publish import TO_BE_MADE
from dkim_formula.rotation.report import RotationReport, comment

KEY = "s2._domainkey.example.com"
WAITING = {
    "domain": "example.com",
    "selector": "s2",
    "algorithm": "rsa",
    "state": "pending",
    "next": "active",
    "waits_for": "the record is not at every server: missing",
    "not_before": None,
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
    empty = {"changes": {}, "dns": {}, "waiting": [], "to_publish": [], "notes": [], "problems": []}
    return {**empty, "next_check": None, **parts}


def test_nothing_to_do_is_a_success_without_changes():
    assert comment(done(), test=False) == (True, {}, "No key has a move due")


@pytest.mark.parametrize(("test", "result"), [(True, None), (False, True)])
def test_steps_and_records_are_the_changes(test, result):
    step = {KEY: {"old": None, "new": "pending"}}
    record = {f"{KEY} TXT": {"old": None, "new": "v=DKIM1; p=abc"}}
    said = comment(done(changes=step, dns=record), test)
    assert said[:2] == (result, {**step, **record})


def test_key_that_waits_is_a_success_that_says_for_what_and_until_when():
    timed = {**WAITING, "not_before": "2026-11-22T18:00:00+00:00"}
    result, changes, text = comment(
        done(waiting=[timed], next_check=timed["not_before"]), test=False
    )
    assert (result, changes) == (True, {})
    assert f"{KEY} is pending. Next state: active. Waits for: {WAITING['waits_for']}" in text
    assert text.count("18:00:00") == 2


def test_key_that_waits_for_no_moment_names_none():
    text = comment(done(waiting=[WAITING]), test=False)[2]
    assert "not before" not in text
    assert "Run dkim.advance again" not in text


def test_many_keys_that_wait_are_counted():
    text = comment(done(waiting=[WAITING] * (20 + 5)), test=False)[2]
    assert text.count(KEY) == 20
    assert "5 more keys wait" in text


def test_records_are_named_once_a_line_with_the_call_that_prints_them():
    text = comment(done(to_publish=[RECORD]), test=False)[2]
    assert text.splitlines()[-2:] == [
        f"To be published: {KEY} TXT",
        "salt-call dkim.records prints records to publish",
    ]
    assert "p=abc" not in text


def test_record_of_a_key_that_is_to_be_made_is_no_line_to_paste():
    text = comment(done(to_publish=[{**RECORD, "value": TO_BE_MADE}]), test=True)[2]
    assert text.endswith(f"{KEY} is to be published when its key is generated")


def test_problem_fails_and_does_not_hide_what_was_done():
    step = {KEY: {"old": None, "new": "pending"}}
    result, changes, text = comment(done(changes=step, problems=["ns1: REFUSED"]), test=False)
    assert (result, changes) == (False, step)
    assert "ns1: REFUSED" in text


def test_many_texts_are_gathered_in_no_time_and_counted_past_a_hundred():
    report = RotationReport()
    started = time.process_time()
    for number in range(100_000):
        report.problem(f"problem {number}")
        report.note(f"note {number}")
        report.note(f"note {number}")
    assert time.process_time() - started < 5
    plain = report.to_dict()
    assert plain["problems"][99:] == ["problem 99", "99900 more problems are not shown"]
    assert plain["notes"][99:] == ["note 99", "99900 more notes are not shown"]


def test_a_text_is_told_once():
    report = RotationReport()
    report.note("once")
    report.note("once")
    assert report.to_dict()["notes"] == ["once"]
