"""Patterns, as a set."""

import pytest
from dkim_formula.errors import DatabaseError
from dkim_formula.keys import changes as key_changes
from dkim_formula.keys import patterns
from dkim_formula.keys.model import DesiredKey
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import safe_errors
from functional.postgres import rsa_key

WANTED = {
    ".example.com": ("example.com", ""),
    "ceo@example.com": ("example.com", "ceo@example.com"),
    "alias.example": ("example.org", ""),
}


@pytest.fixture
def opened(ready):
    with db.session(ready) as connection:
        yield connection


def test_patterns_become_as_wanted(opened, ready):
    patterns.apply(opened, ready, WANTED)
    assert patterns.look(opened, ready) == WANTED


def test_what_is_announced_is_what_the_run_does(opened, ready):
    announced = patterns.plan(patterns.look(opened, ready), WANTED)
    assert patterns.apply(opened, ready, WANTED) == announced
    assert announced.changes["pattern ceo@example.com"] == {
        "old": None,
        "new": "the key of example.com for ceo@example.com",
    }


def test_second_run_changes_nothing(opened, ready):
    patterns.apply(opened, ready, WANTED)
    assert not patterns.apply(opened, ready, WANTED)


def test_patterns_move_and_go(opened, ready):
    patterns.apply(opened, ready, WANTED)
    then = {"alias.example": ("example.com", "")}
    planned = patterns.apply(opened, ready, then)
    assert set(planned.changes) == {f"pattern {pattern}" for pattern in WANTED}
    assert patterns.look(opened, ready) == then


def test_pattern_with_two_keys_is_refused_with_a_clear_error(opened, ready):
    pairs = [
        (DesiredKey("example.com", "s"), rsa_key(0)),
        (DesiredKey("example.org", "s"), rsa_key(1)),
    ]
    key_changes.store(opened, ready, pairs, "test")
    twice = r"example\.org has an active rsa key already"
    with pytest.raises(DatabaseError, match=twice), safe_errors.errors_translated():
        patterns.apply(opened, ready, {"example.org": ("example.com", "")})


def test_no_patterns_before_the_first_migration(database, connection):
    assert patterns.look(connection, database) == {}
