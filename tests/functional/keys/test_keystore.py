"""The library's operations on keys: list, compare, store, move, delete and complete."""

from dataclasses import replace

import pytest
from dkim_formula.errors import DatabaseError, KeyNotFound, StepRefused
from dkim_formula.keys import changes as key_changes
from dkim_formula.keys import commands as keys_commands
from dkim_formula.keys import patterns
from dkim_formula.keys import table as keys_table
from dkim_formula.keys.comparison import EveryHosted, compare
from dkim_formula.keys.completion import complete_rows, incomplete
from dkim_formula.keys.model import DesiredKey
from dkim_formula.postgres import connection as db
from dkim_formula.postgres import safe_errors
from dkim_formula.private_key import PrivateKey
from dkim_formula.settings.model import KeyPlan, Settings
from functional.server import (
    execute,
    insert_as_howto,
    move,
    query,
    rsa_key,
    session_as,
    traditional_pem,
)

pytestmark = pytest.mark.one_release


@pytest.fixture
def opened(ready):
    with db.session(ready) as connection:
        yield connection


def put(connection, database, selector, number=0, domain="example.com", state="active", **more):
    desired = DesiredKey(domain, selector, **more)
    return key_changes.store(connection, database, [(desired, rsa_key(number))], "test", state)


def states(connection):
    return dict(query(connection, "SELECT selector, state FROM public.dkim"))


def test_stored_key_is_the_one_that_was_given(opened, ready):
    (key,) = put(opened, ready, "s")
    assert query(opened, "SELECT key FROM public.dkim") == [(rsa_key().pem(),)]
    assert (key.domain, key.selector, key.algorithm, key.bits, key.state) == (
        "example.com",
        "s",
        "rsa",
        2048,
        "active",
    )
    assert key.public == rsa_key().public_base64()


def test_dictionary_of_a_key_has_no_private_key_and_iso_times(opened, ready):
    (key,) = put(opened, ready, "s")
    plain = key.to_dict()
    assert set(plain) == {
        "domain",
        "selector",
        "algorithm",
        "bits",
        "state",
        "address",
        "created",
        "activated",
        "retired",
        "revoked",
        "public_key",
        "problem",
    }
    assert plain["created"].endswith("+00:00")
    assert plain["retired"] is None
    assert "PRIVATE" not in repr(key)


def test_existing_key_is_never_replaced(opened, ready):
    put(opened, ready, "s", number=0)
    assert put(opened, ready, "s", number=1) == []
    assert put(opened, ready, "other", number=1) == []
    assert query(opened, "SELECT key FROM public.dkim") == [(rsa_key().pem(),)]


def test_database_stores_a_second_key_as_pending(opened, ready):
    (first,) = put(opened, ready, "one", number=0, state=None)
    (second,) = put(opened, ready, "two", number=1, state=None)
    assert (first.state, second.state) == ("active", "pending")


def test_key_needs_no_row_in_the_table_of_domains(opened, ready):
    (key,) = put(opened, ready, "s", domain="nowhere.example")
    assert keys_table.find(opened, ready, "nowhere.example", "s") == key


def test_error_of_a_missing_key_lists_the_keys_of_the_domain(opened, ready):
    put(opened, ready, "mail")
    with pytest.raises(KeyNotFound, match=r"'default'; it has mail \(active\)"):
        keys_table.find(opened, ready, "example.com", "default")
    with pytest.raises(KeyNotFound, match="it has none"):
        keys_table.find(opened, ready, "example.org", "default")


def test_list_is_sorted_by_domain_and_can_be_filtered(opened, ready):
    put(opened, ready, "b", domain="example.org")
    put(opened, ready, "a")
    put(opened, ready, "b", number=1, state="pending")
    listed = [(key.domain, key.selector) for key in keys_table.list_keys(opened, ready)]
    assert listed == [("example.com", "a"), ("example.com", "b"), ("example.org", "b")]
    assert len(keys_table.list_keys(opened, ready, "example.com")) == 2


def test_comparison_returns_the_missing_keys(opened, ready):
    put(opened, ready, "default")
    desired = [
        DesiredKey("example.com", "default"),
        DesiredKey("example.com", "ed", "ed25519"),
        DesiredKey("example.org", "default"),
        DesiredKey("gone.example", "default"),
    ]
    found = compare(opened, ready, desired)
    assert found.missing == (desired[1], desired[2], desired[3])
    assert found.reports == ()


def test_comparison_covers_every_hosted_domain(opened, ready):
    execute(
        opened,
        "INSERT INTO public.domains (domain) VALUES ('b.example'), ('a.example'), ('out.example')",
    )
    put(opened, ready, "default", domain="a.example")
    put(opened, ready, "default", number=1, domain="example.org")
    execute(opened, "UPDATE public.dkim SET bits = 1024 WHERE id = 2")
    own = DesiredKey("example.com", "own", "ed25519")
    every = EveryHosted(
        (KeyPlan("rsa", "default"), KeyPlan("ed25519", "ed")),
        lambda name: name not in {"example.com", "out.example"},
    )
    found = compare(opened, ready, [own], every)
    assert found.missing == (
        own,
        DesiredKey("a.example", "ed", "ed25519"),
        DesiredKey("b.example", "default"),
        DesiredKey("b.example", "ed", "ed25519"),
        DesiredKey("example.org", "ed", "ed25519"),
    )
    (report,) = found.reports
    assert "example.org" in report
    assert "1024 bits, not 2048" in report


def test_comparison_changes_nothing(opened, ready):
    put(opened, ready, "default")
    before = query(
        opened, "SELECT pg_current_xact_id_if_assigned() IS NULL, count(*) FROM public.dkim"
    )
    compare(opened, ready, [DesiredKey("example.com", "default")])
    compare(opened, ready, [DesiredKey("example.com", "default")])
    assert (
        query(opened, "SELECT pg_current_xact_id_if_assigned() IS NULL, count(*) FROM public.dkim")
        == before
    )


def test_rotated_key_counts_as_present_without_a_report(opened, ready):
    put(opened, ready, "default")
    put(opened, ready, "next", number=1, state="pending")
    move(opened, ready, "next", "active", why="rotation")
    found = compare(opened, ready, [DesiredKey("example.com", "default")])
    assert (found.missing, found.reports) == ((), ())
    key_changes.delete(opened, ready, "example.com", "default", "rotation")
    found = compare(opened, ready, [DesiredKey("example.com", "default")])
    assert (found.missing, found.reports) == ((), ())


def report(opened, ready, **desired):
    found = compare(opened, ready, [DesiredKey("example.com", **desired)])
    assert found.missing == ()
    (text,) = found.reports
    return text


def test_different_size_is_reported_and_not_changed(opened, ready):
    put(opened, ready, "default")
    assert "2048 bits, not 4096" in report(opened, ready, selector="default", bits=4096)


def test_selector_that_the_key_never_had_is_reported(opened, ready):
    put(opened, ready, "default")
    assert "has the selector 'default'" in report(opened, ready, selector="mail")


def test_selector_of_a_retired_key_is_not_used_again(opened, ready):
    put(opened, ready, "default")
    move(opened, ready, "default", "retired")
    assert "retired" in report(opened, ready, selector="default")


def test_selector_of_a_deleted_key_is_not_used_again(opened, ready):
    put(opened, ready, "default")
    key_changes.delete(opened, ready, "example.com", "default", "test", force=True)
    assert "deleted" in report(opened, ready, selector="default")


def test_pending_key_is_reported(opened, ready):
    put(opened, ready, "default", state="pending")
    assert "until it is activated" in report(opened, ready, selector="default")


def test_selector_of_another_algorithm_is_reported(opened, ready):
    put(opened, ready, "default")
    text = report(opened, ready, selector="default", algorithm="ed25519")
    assert "an rsa key has that selector" in text


def test_domain_that_is_an_alias_is_reported(opened, ready):
    put(opened, ready, "default")
    patterns.apply(opened, ready, {"example.org": ("example.com", "")})
    found = compare(opened, ready, [DesiredKey("example.org", "default")])
    assert found.missing == ()
    assert "example.org is signed by another key" in found.reports[0]


def test_key_of_an_address_is_separate_from_the_key_of_the_domain(opened, ready):
    put(opened, ready, "default")
    desired = DesiredKey("example.com", "ceo", address="ceo@example.com")
    assert compare(opened, ready, [desired]).missing == (desired,)
    put(opened, ready, "ceo", number=1, address="ceo@example.com")
    assert compare(opened, ready, [desired]).missing == ()
    assert states(opened) == {"default": "active", "ceo": "active"}


def test_activating_retires_the_key_that_was_active(opened, ready):
    put(opened, ready, "default")
    put(opened, ready, "next", number=1, state="pending")
    assert move(opened, ready, "next", "active").state == "active"
    assert states(opened) == {"default": "retired", "next": "active"}


def test_activating_leaves_other_algorithms_and_addresses_alone(opened, ready):
    put(opened, ready, "ceo", number=2, address="ceo@example.com")
    ed25519 = PrivateKey.generate("ed25519")
    key_changes.store(
        opened, ready, [(DesiredKey("example.com", "ed", "ed25519"), ed25519)], "test"
    )
    put(opened, ready, "next", number=1, state="pending")
    move(opened, ready, "next", "active", why="go")
    assert set(states(opened).values()) == {"active"}


def test_revoking_erases_the_private_key_and_keeps_the_public(opened, ready):
    put(opened, ready, "s")
    key = move(opened, ready, "s", "revoked", why="compromised")
    assert key.public == rsa_key().public_base64()
    assert query(opened, "SELECT key FROM public.dkim") == [(None,)]


def test_reason_reaches_the_history(opened, ready):
    put(opened, ready, "s")
    move(opened, ready, "s", "revoked", why="compromised")
    assert query(opened, "SELECT why FROM public.dkim_history ORDER BY id DESC LIMIT 1") == [
        ("compromised",)
    ]


def test_active_key_is_not_deleted_without_force(opened, ready):
    put(opened, ready, "s")
    with pytest.raises(StepRefused, match="retire it first"):
        key_changes.delete(opened, ready, "example.com", "s", "test")
    assert key_changes.delete(opened, ready, "example.com", "s", "test", force=True).selector == "s"
    assert states(opened) == {}


def test_test_run_of_a_deletion_finds_the_key_that_the_run_deletes(opened, ready):
    put(opened, ready, "Mail_2020", state="pending")
    opened.commit()
    settings = Settings(database=ready)
    assert keys_commands.delete(settings, "example.com", "other", test=True)["changes"] == {}
    planned = keys_commands.delete(settings, "example.com", "mail_2020", test=True)["changes"]
    assert keys_commands.delete(settings, "example.com", "mail_2020")["changes"] == planned
    assert planned == {"Mail_2020._domainkey.example.com": {"old": "pending", "new": None}}


def test_generation_tells_that_another_run_has_stored_the_key(ready, monkeypatch):
    def generate_late(*_):
        with db.session(ready) as connection:
            put(connection, ready, "default", number=1)
        return rsa_key(0)

    monkeypatch.setattr(PrivateKey, "generate", generate_late)
    found = keys_commands.generate(Settings(database=ready), "example.com", "default")
    assert (found["existed"], found["changes"]) == (True, {})
    assert found["public_key"] == rsa_key(1).public_base64()


def test_deleted_key_leaves_its_history(opened, ready):
    put(opened, ready, "s")
    key_changes.delete(opened, ready, "example.com", "s", "moved away", force=True)
    assert query(opened, "SELECT to_state, why FROM public.dkim_history ORDER BY id") == [
        ("active", "test"),
        (None, "moved away"),
    ]


def test_row_of_another_tool_is_completed(opened, ready):
    insert_as_howto(opened, "example.com", "default", traditional_pem())
    ((_, key),), reports = complete_rows(opened, ready)
    assert (key.state, key.bits, key.public) == ("active", 2048, rsa_key().public_base64())
    assert reports == ()
    assert complete_rows(opened, ready) == ([], ())


def test_damaged_key_stops_signing_and_is_reported(opened, ready):
    lines = traditional_pem().splitlines(keepends=True)
    damaged = "".join([lines[0], *reversed(lines[1:-1]), lines[-1]])
    # The damaged text has the form of a key, and the table's trigger checks only the form.
    insert_as_howto(opened, "example.com", "default", damaged)
    assert states(opened) == {"default": "active"}
    ((before, after),), (text,) = complete_rows(opened, ready)
    assert (before.state, after.state) == ("active", "pending")
    assert after.public is None
    assert "example.com, selector 'default'" in text
    assert lines[1].strip() not in text
    assert states(opened) == {"default": "pending"}


def test_names_over_the_given_limit_are_odd(opened, ready):
    put(opened, ready, "default")
    long = f"{'long.' * 10}example"
    execute(
        opened,
        "INSERT INTO public.dkim (selector, key, domain, state)"
        " VALUES ('default', %s, %s, 'pending')",
        (rsa_key(0).pem(), long),
    )
    complete_rows(opened, ready)
    assert [key.domain for key in keys_table.odd(opened, ready, len(long) - 1)] == [long]
    assert keys_table.odd(opened, ready, len(long)) == []


@pytest.mark.parametrize("longest", [100, 230])
def test_odd_rows_are_found_by_their_index_alone(opened, ready, longest):
    put(opened, ready, "default")
    execute(
        opened,
        "INSERT INTO public.dkim (selector, key, domain, state)"
        " VALUES ('default', 'no key', 'odd.example', 'pending'), ('b c', 'none', %s, 'pending')",
        (f"{'long.' * 50}example",),
    )
    read = (
        "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relid = 'public.dkim'::regclass",
        "SELECT current_setting('enable_seqscan'),"
        " current_setting('max_parallel_workers_per_gather')",
    )
    before = [query(opened, statement) for statement in read]
    odd = {key.domain for key in keys_table.odd(opened, ready, longest)}
    unread = {key.domain for key in incomplete(opened, ready)}
    assert odd == unread == {"odd.example", f"{'long.' * 50}example"}
    assert [query(opened, statement) for statement in read] == before


def test_missing_schema_is_reported(database, connection):
    with pytest.raises(DatabaseError, match=r"dkim\.database"), safe_errors.errors_translated():
        keys_table.list_keys(connection, database)


def test_hosted_domain_in_upper_case_is_compared_in_lower_case(opened, ready):
    execute(opened, "INSERT INTO public.domains (domain) VALUES ('Upper.example')")
    every = EveryHosted((KeyPlan("rsa", "s"),), lambda name: name == "upper.example")
    found = compare(opened, ready, [], every)
    assert found.missing == (DesiredKey("upper.example", "s"),)


def test_owner_who_is_not_a_superuser_can_manage_keys(ready):
    with db.session(ready) as connection:
        execute(connection, f'GRANT "{ready.keys_owner}" TO {ready.owner}')
    with session_as(ready, ready.owner) as connection:
        put(connection, replace(ready), "s")
        move(connection, ready, "s", "retired")
        assert states(connection) == {"s": "retired"}


def test_selector_that_a_rotation_chose_is_not_reported(opened, ready):
    put(opened, ready, "default")
    pair = (DesiredKey("example.com", "mail-20261122"), rsa_key(1))
    key_changes.store(opened, ready, [pair], "rotation: the next key", "pending")
    move(opened, ready, "mail-20261122", "active")
    found = compare(opened, ready, [DesiredKey("example.com", "mail")])
    assert (found.missing, found.reports) == ((), ())
