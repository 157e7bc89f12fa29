"""Patterns and domains, as sets."""

from dataclasses import replace

import pytest
from dkim_formula.database import connection as db
from dkim_formula.database import domains, keystore, patterns, schema
from dkim_formula.database.keystore import Wanted
from dkim_formula.errors import DatabaseError
from functional.postgres import execute, query, rsa_key

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


def test_pattern_of_an_unknown_domain_is_refused_and_nothing_changes(opened, ready):
    patterns.apply(opened, ready, WANTED)
    opened.commit()
    with pytest.raises(DatabaseError, match=r"nowhere\.example"):
        patterns.apply(opened, ready, {"a.example": ("nowhere.example", "")})
    opened.rollback()
    assert patterns.look(opened, ready) == WANTED


def test_pattern_with_two_keys_is_refused_with_a_clear_error(opened, ready):
    pairs = [
        (Wanted("example.com", "s"), rsa_key(0)),
        (Wanted("example.org", "s"), rsa_key(1)),
    ]
    keystore.store(opened, ready, pairs, "test")
    twice = r"example\.org has an active rsa key already"
    with pytest.raises(DatabaseError, match=twice), db.errors_translated():
        patterns.apply(opened, ready, {"example.org": ("example.com", "")})


def test_no_patterns_before_the_first_migration(database, connection):
    assert patterns.look(connection, database) == {}


def test_domains_of_a_table_that_is_not_there_are_missing(database, connection):
    assert domains.hosted(connection, database) == {}
    assert domains.missing(connection, database, ["b.example", "a.example"]) == [
        "a.example",
        "b.example",
    ]


def test_our_own_table_is_filled(opened, ready):
    names = ["new.example", "example.com"]
    assert domains.insert_missing(opened, ready, names) == ["new.example"]
    assert domains.insert_missing(opened, ready, names) == []
    assert set(domains.hosted(opened, ready)) == {"example.com", "example.org", "new.example"}


def site(settings, create_missing):
    return replace(settings, domains=replace(settings.domains, create_missing=create_missing))


@pytest.mark.parametrize(
    ("create_missing", "allowed"), [(None, False), (False, False), (True, True)]
)
def test_sites_table_is_filled_only_when_asked_to(howto, create_missing, allowed):
    settings = site(howto, create_missing)
    with db.session(settings) as connection:
        schema.apply(connection, settings)
        assert domains.may_insert(connection, settings) is allowed
        if allowed:
            inserted = domains.insert_missing(connection, settings, ["new.example"])
            assert inserted == ["new.example"]
        else:
            with pytest.raises(DatabaseError, match="create_missing"):
                domains.insert_missing(connection, settings, ["new.example"])


def test_own_table_is_not_filled_against_the_pillar(ready):
    settings = site(ready, False)
    with db.session(settings) as connection:
        assert not domains.may_insert(connection, settings)


def test_table_that_wants_more_than_a_name_says_so(howto):
    settings = site(howto, True)
    with db.session(settings) as connection:
        execute(connection, "ALTER TABLE public.domains ADD COLUMN quota integer")
        execute(connection, "UPDATE public.domains SET quota = 1")
        execute(connection, "ALTER TABLE public.domains ALTER quota SET NOT NULL")
        with pytest.raises(DatabaseError, match='"quota"'), db.errors_translated():
            domains.insert_missing(connection, settings, ["new.example"])


def test_ten_thousand_domains_are_one_statement(opened, ready, server):
    before = len(server.log())
    names = [f"d{number}.example" for number in range(10_000)]
    assert len(domains.insert_missing(opened, ready, names)) == 10_000
    assert server.log()[before:].count("INSERT INTO") == 1
    assert query(opened, "SELECT count(*) FROM public.domains") == [(10_002,)]
