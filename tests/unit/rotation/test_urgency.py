"""Keys that need a person: keys with a problem or a wrong record, and held keys."""

from datetime import datetime, timezone

import pytest
from dkim_formula.dns import verdict
from dkim_formula.rotation.urgency import AT_REST, IN_PROGRESS, NEEDS_A_PERSON, urgency
from support.returns import NOW, at, key


def test_key_that_signs_with_its_record_is_at_rest():
    assert urgency(key(), NOW) == AT_REST


@pytest.mark.parametrize(
    "more",
    [
        {"when": at()},
        {"when": at(days=-1)},
        {"next": "retired at the next dkim.advance", "when": at()},
        {"next": "orphaned; retired at the next dkim.advance", "when": at()},
        {"state": "pending", "next": "active: the record must be visible for 1h"},
        {"state": "retired", "next": "revoked: retired for 14d"},
        {"state": "revoked", "next": "gone: revoked for 30d"},
        {"dns": "unchecked", "state": "retired", "next": "revoked: retired for 14d"},
    ],
)
def test_moving_key_is_in_progress(more):
    assert urgency(key(**more), NOW) == IN_PROGRESS


@pytest.mark.parametrize("state", ["pending", "active", "retired", "revoked"])
@pytest.mark.parametrize(
    "more",
    [
        {"problem": "the row holds no key"},
        {"dns": "missing"},
        {"dns": "different"},
        {"next": "orphaned; signs on until dkim.advance force=True; dkim.check says why"},
    ],
)
def test_key_with_a_lasting_problem_needs_a_person(state, more):
    assert urgency(key(state=state, **more), NOW) == NEEDS_A_PERSON


@pytest.mark.parametrize("dns", ["ok", "-", verdict.UNCHECKED])
def test_key_with_an_ok_or_unknown_record_needs_no_person(dns):
    assert urgency(key(dns=dns), NOW) == AT_REST


def test_key_without_a_time_for_its_rotation_is_at_rest():
    assert urgency(key(when=""), datetime(2100, 1, 1, tzinfo=timezone.utc)) == AT_REST
