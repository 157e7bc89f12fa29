"""Patterns are planned and applied as one set."""

import pytest
from dkim_formula.errors import DatabaseError
from dkim_formula.keys import changes as key_changes
from dkim_formula.keys import patterns
from dkim_formula.keys.model import DesiredKey
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import safe_errors
from functional.server import rsa_key

pytestmark = pytest.mark.one_release

DESIRED = {
    ".example.com": ("example.com", ""),
    "ceo@example.com": ("example.com", "ceo@example.com"),
    "alias.example": ("example.org", ""),
}


@pytest.fixture
def opened(ready):
    with db.session(ready) as connection:
        yield connection


def test_patterns_become_as_desired(opened, ready):
    patterns.apply(opened, ready, DESIRED)
    assert patterns.read(opened, ready) == DESIRED


def test_plan_equals_the_changes_of_the_run(opened, ready):
    planned = patterns.plan(patterns.read(opened, ready), DESIRED)
    assert patterns.apply(opened, ready, DESIRED) == planned
    assert planned.changes["pattern ceo@example.com"] == {
        "old": None,
        "new": "the key of example.com for ceo@example.com",
    }


def test_second_run_changes_nothing(opened, ready):
    patterns.apply(opened, ready, DESIRED)
    assert not patterns.apply(opened, ready, DESIRED)


def test_patterns_are_changed_and_removed(opened, ready):
    patterns.apply(opened, ready, DESIRED)
    then = {"alias.example": ("example.com", "")}
    planned = patterns.apply(opened, ready, then)
    assert set(planned.changes) == {f"pattern {pattern}" for pattern in DESIRED}
    assert patterns.read(opened, ready) == then


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
    assert patterns.read(connection, database) == {}
