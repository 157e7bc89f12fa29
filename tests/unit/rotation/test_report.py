"""The return of a rotation's functions, and the comment of a state that calls one."""

import time

import pytest
from dkim_formula.dns.publish import FUTURE_VALUE
from dkim_formula.rotation.moves import RotationPlan
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
def test_changes_are_the_moves_and_the_records(test, result):
    move = {KEY: {"old": None, "new": "pending"}}
    record = {f"{KEY} TXT": {"old": None, "new": "v=DKIM1; p=abc"}}
    returned = comment(done(changes=move, dns=record), test)
    assert returned[:2] == (result, {**move, **record})


def test_waiting_key_is_a_success_and_the_comment_says_why_and_until_when():
    timed = {**WAITING, "not_before": "2026-11-22T18:00:00+00:00"}
    result, changes, text = comment(
        done(waiting=[timed], next_check=timed["not_before"]), test=False
    )
    assert (result, changes) == (True, {})
    assert f"{KEY} is pending. Next state: active. Waits for: {WAITING['waits_for']}" in text
    assert text.count("18:00:00") == 2


def test_comment_names_no_time_for_a_key_that_waits_for_no_time():
    text = comment(done(waiting=[WAITING]), test=False)[2]
    assert "not before" not in text
    assert "Run dkim.advance again" not in text


def test_more_than_20_waiting_keys_are_counted():
    text = comment(done(waiting=[WAITING] * (20 + 5)), test=False)[2]
    assert text.count(KEY) == 20
    assert "5 more keys wait" in text


def test_each_record_to_publish_has_a_line_and_the_command_that_prints_it():
    text = comment(done(to_publish=[RECORD]), test=False)[2]
    assert text.splitlines()[-2:] == [
        f"To be published: {KEY} TXT",
        "salt-call dkim.records prints records to publish",
    ]
    assert "p=abc" not in text


def test_record_of_a_future_key_is_announced_without_its_type():
    text = comment(done(to_publish=[{**RECORD, "value": FUTURE_VALUE}]), test=True)[2]
    assert text.endswith(f"{KEY} is to be published when its key is generated")


def test_problem_fails_the_state_and_keeps_the_changes():
    move = {KEY: {"old": None, "new": "pending"}}
    result, changes, text = comment(done(changes=move, problems=["ns1: REFUSED"]), test=False)
    assert (result, changes) == (False, move)
    assert "ns1: REFUSED" in text


def test_many_texts_are_collected_fast_and_counted_past_a_hundred():
    report = RotationReport()
    started = time.process_time()
    for number in range(100_000):
        report.problem(f"problem {number}")
        report.note(f"note {number}")
        report.note(f"note {number}")
    assert time.process_time() - started < 5
    data = report.to_dict()
    assert data["problems"][99:] == ["problem 99", "99900 more problems are not shown"]
    assert data["notes"][99:] == ["note 99", "99900 more notes are not shown"]


def test_repeated_note_is_listed_once():
    report = RotationReport()
    report.note("once")
    report.note("once")
    assert report.to_dict()["notes"] == ["once"]


def test_request_that_became_refused_during_the_run_is_a_problem():
    report = RotationReport()
    report.add_plan(None, RotationPlan(refused="example.com, selector 's1': the key is active"))
    assert report.to_dict()["problems"] == ["example.com, selector 's1': the key is active"]
