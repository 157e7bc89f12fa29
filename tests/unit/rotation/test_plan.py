"""Plans of requests in single states; ``test_histories.py`` runs complete histories of keys."""

import ast
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from dkim_formula.keys import refusals
from dkim_formula.keys.model import Key, Slot
from dkim_formula.keys.removed_domains import Orphans
from dkim_formula.rotation import plan as plan_module
from dkim_formula.rotation.gate import Evidence
from dkim_formula.rotation.plan import Activate, Advance, Retire, Rotate, RotateDue, outlook, plan
from dkim_formula.rotation.revoke import Revoke
from dkim_formula.rotation.state import RotationState, desired_value
from dkim_formula.rotation.waiting_times import RetireFor
from dkim_formula.settings.model import (
    Database,
    Delegation,
    Domain,
    KeyPlan,
    Rotation,
    Settings,
)

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc)
SPEC = KeyPlan("ed25519", "default")
DOMAIN = Domain("example.com", keys=(SPEC,))
SLOT = Slot("example.com", "", "ed25519")
SETTINGS = Settings(
    database=Database(),
    domains={"example.com": DOMAIN},
    rotation=Rotation(every=100, spread=0, retire_for=0, revoke_for=50, margin=10),
)


def key(number, state, selector=None, **values):
    times = dict.fromkeys(("created", "activated", "retired", "revoked"))
    if state not in ("standby", "pending"):
        times[{"active": "activated"}.get(state, state)] = NOW
    row = {
        "id": number,
        "domain": "example.com",
        "selector": selector or f"s{number}",
        "algorithm": "ed25519",
        "bits": 256,
        "state": state,
        "address": "",
        "public": "abc",
    }
    return Key(**{**row, **times, **values})


def known(*keys, settings=SETTINGS, visible=(), **values):
    """Return a state with some keys. The records of ``visible`` have been ok for a day."""
    evidence = {
        one.id: Evidence(
            NOW, "ok", "", desired_value(settings, one), NOW - timedelta(days=1), 30, 60
        )
        for one in visible
    }
    state = RotationState(
        settings,
        RetireFor(100, "the queue"),
        frozenset({"example.com"}),
        keys,
        evidence=evidence,
        observed=evidence,
        used={"example.com": {one.selector for one in keys}},
    )
    return replace(state, **values)


def moves(planned):
    return [(move.key.selector, move.from_state, move.to_state) for move in planned.moves]


def advanced(*keys, **values):
    return moves(plan(known(*keys, **values), Advance(), NOW))


ACTIVE, PENDING = key(1, "active"), key(2, "pending")


# --- Which pending key signs ----------------------------------------------------------------------


def test_first_key_signs_at_once():
    assert advanced(PENDING) == [("s2", "pending", "active")]


def test_first_key_waits_with_first_key_waits():
    waiting = replace(SETTINGS, rotation=replace(SETTINGS.rotation, first_key_waits=True))
    assert advanced(PENDING, settings=waiting) == []
    visible = advanced(PENDING, settings=waiting, visible=[PENDING])
    assert visible == [("s2", "pending", "active")]


@pytest.mark.parametrize("reason", [refusals.REFUSED, refusals.SIGNED_AS])
def test_first_key_waits_if_an_import_found_a_reason(reason):
    refused = {"example.com": reason}
    assert advanced(PENDING, refused=refused) == []
    (wait,) = outlook(known(PENDING, refused=refused), Advance(), NOW).waiting
    assert wait.decision.waits_for.startswith(reason)
    assert "dkim.activate example.com s2 force=True" in wait.decision.waits_for


def test_unreadable_key_never_signs():
    assert advanced(key(2, "pending", public=None)) == []
    (wait,) = outlook(known(key(2, "pending", public=None)), Advance(), NOW).waiting
    assert "delete the row" in wait.decision.waits_for


def test_newest_pending_key_signs_next_and_older_ones_never_sign():
    newer = key(3, "pending")
    both = [PENDING, newer]
    assert advanced(ACTIVE, *both, visible=both) == [("s3", "pending", "active")]
    assert advanced(PENDING, key(3, "active"), visible=[PENDING]) == [("s2", "pending", "revoked")]


def test_nothing_signs_before_the_run_has_observed_its_record():
    state = known(ACTIVE, PENDING, visible=[PENDING])
    assert moves(plan(replace(state, observed=None), Advance(), NOW)) == []
    assert moves(plan(state, Advance(), NOW)) == [("s2", "pending", "active")]


# --- New keys -------------------------------------------------------------------------------------


def rotated(*keys, request=None, **values):
    state = known(*keys, **values)
    return plan(state, request or Rotate({SLOT: SPEC}), NOW)


def test_rotation_creates_one_new_key_for_an_active_key():
    planned = rotated(ACTIVE)
    assert moves(planned) == [("default-20261122", None, "pending")]
    assert moves(rotated(ACTIVE, PENDING)) == []
    assert [new.selector for new in planned.new_keys] == ["default-20261122"]


def test_new_key_of_an_empty_slot_signs_at_once():
    assert moves(rotated()) == [("default", None, "pending"), ("default", "pending", "active")]


def test_given_selector_takes_precedence_over_another_pending_key():
    request = Rotate({SLOT: SPEC}, "mine")
    assert moves(rotated(ACTIVE, PENDING, request=request)) == [("mine", None, "pending")]
    assert moves(rotated(ACTIVE, key(2, "pending", "mine"), request=request)) == []


def test_used_selector_is_never_used_again():
    planned = rotated(ACTIVE, used={"example.com": {"default-20261122"}})
    assert moves(planned) == [("default-20261122-2", None, "pending")]


@pytest.mark.parametrize("selector", ["Default-20261122", " default-20261122"])
def test_selector_of_a_key_in_another_spelling_is_not_used(selector):
    """DNS ignores case, so both keys would have their records at one name."""
    planned = rotated(key(1, "active", selector), used={"example.com": set()})
    assert moves(planned) == [("default-20261122-2", None, "pending")]


def test_delegated_domain_without_a_free_selector_is_a_problem():
    delegated = replace(DOMAIN, delegation=Delegation("keys.example", ("s1", "s2")))
    settings = replace(SETTINGS, domains={"example.com": delegated})
    planned = rotated(ACTIVE, key(2, "revoked"), settings=settings)
    assert moves(planned) == []
    assert "has no free selector" in planned.problems[0]
    assert moves(rotated(ACTIVE, settings=settings)) == [("s2", None, "pending")]


def test_rotation_that_another_run_has_just_finished_creates_no_key():
    planned = rotated(ACTIVE, activated={SLOT: "s1"})
    assert (moves(planned), planned.notes) == (
        [],
        ("example.com: another run has just activated the key s1",),
    )


def test_force_makes_the_next_key_active_and_notes_the_missing_evidence():
    planned = rotated(ACTIVE, PENDING, request=Rotate({SLOT: SPEC}, force=True))
    assert moves(planned) == [("s2", "pending", "active")]
    assert "without this evidence" in planned.notes[0]
    switched = rotated(
        ACTIVE, PENDING, request=Rotate({SLOT: SPEC}, force=True), activated={SLOT: "s1"}
    )
    assert moves(switched) == []


@pytest.mark.parametrize(("age", "is_due"), [(99, False), (100, True), (None, True)])
def test_key_is_due_at_its_age(age, is_due):
    activated = None if age is None else NOW - timedelta(seconds=age)
    old = key(1, "active", activated=activated)
    request = RotateDue(chosen={"example.com": DOMAIN})
    assert bool(rotated(old, request=request).new_keys) == is_due
    assert moves(rotated(old, request=RotateDue())) == []


def test_key_that_the_settings_do_not_desire_is_not_due():
    other = key(1, "active", algorithm="rsa", activated=NOW - timedelta(days=9))
    assert moves(rotated(other, request=RotateDue(chosen={"example.com": DOMAIN}))) == []


# --- Orphans --------------------------------------------------------------------------------------


def test_keys_of_a_removed_domain_are_retired_or_revoked():
    gone = Orphans(gone=frozenset({"example.com"}), due=frozenset({"example.com"}))
    assert advanced(ACTIVE, PENDING, orphans=gone) == [
        ("s1", "active", "retired"),
        ("s2", "pending", "revoked"),
    ]


RETIRED = key(1, "retired")
RETURNED = Orphans(returned=frozenset({1}), lost=(tuple(SLOT),))
LOST = Advance({SLOT: SPEC})


def test_returned_domain_gets_its_former_key_or_a_new_one():
    again = rotated(RETIRED, request=LOST, orphans=RETURNED, visible=[RETIRED])
    assert moves(again) == [("s1", "retired", "active")]
    new = rotated(RETIRED, request=LOST, orphans=RETURNED)
    assert moves(new) == [("default", None, "pending"), ("default", "pending", "active")]


def test_returned_domain_gets_no_new_key_before_dns_is_observed():
    state = replace(known(RETIRED, orphans=RETURNED), observed=None)
    assert moves(plan(state, LOST, NOW)) == []


def test_one_plan_has_new_keys_for_a_due_key_and_a_returned_domain():
    old = key(3, "active", domain="example.org", activated=NOW - timedelta(days=9))
    both = {"example.com": DOMAIN, "example.org": replace(DOMAIN, name="example.org")}
    state = known(
        RETIRED,
        old,
        settings=replace(SETTINGS, domains=both),
        domains=frozenset(both),
        orphans=RETURNED,
        used={"example.com": {"s1"}, "example.org": {"s3"}},
    )
    planned = plan(state, RotateDue({SLOT: SPEC}, chosen=both), NOW)
    assert moves(planned) == [
        ("default-20261122", None, "pending"),
        ("default", None, "pending"),
        ("default", "pending", "active"),
    ]
    assert {(one.domain, one.state) for one in state.after(planned.moves, NOW).keys} == {
        ("example.com", "retired"),
        ("example.com", "active"),
        ("example.org", "active"),
        ("example.org", "pending"),
    }


def test_new_standby_key_beside_another_domains_new_key():
    due = {"activated": NOW - timedelta(days=9)}
    old = key(4, "active", domain="example.org", **due)
    both = {"example.com": DOMAIN, "example.org": replace(DOMAIN, name="example.org")}
    state = known(
        key(1, "active", **due),
        STANDBY,
        old,
        settings=replace(WITH_STANDBY, domains=both),
        visible=[STANDBY],
        domains=frozenset(both),
    )
    planned = plan(state, RotateDue(chosen=both), NOW)
    assert moves(planned) == [
        ("s2", "standby", "pending"),
        (NEXT_NAME, None, "pending"),
        ("s2", "pending", "active"),
        (NEXT_NAME, None, "standby"),
    ]
    after = state.after(planned.moves, NOW).keys
    assert sorted((one.domain, one.selector, one.state) for one in after) == [
        ("example.com", NEXT_NAME, "standby"),
        ("example.com", "s1", "retired"),
        ("example.com", "s2", "active"),
        ("example.org", NEXT_NAME, "pending"),
        ("example.org", "s4", "active"),
    ]


def test_domain_outside_the_batch_gets_no_new_key():
    other = Slot("example.org", "", "ed25519")
    assert moves(rotated(RETIRED, request=Advance({other: SPEC}), orphans=RETURNED)) == []


# --- Single keys ----------------------------------------------------------------------------------


@pytest.mark.parametrize("request_of", [Activate, Retire, Revoke])
def test_request_for_a_deleted_key_moves_nothing(request_of):
    planned = plan(known(ACTIVE), request_of(PENDING), NOW)
    assert (planned.moves, planned.refused) == ((), "")


def test_refused_request_moves_nothing():
    for request in (
        Activate(key(1, "revoked")),
        Retire(ACTIVE),
        Retire(key(1, "pending")),
        Revoke(ACTIVE),
        Revoke(key(1, "retired")),
    ):
        planned = plan(known(request.key), request, NOW)
        assert planned.refused.startswith("example.com, selector 's1': ")
        assert planned.moves == ()


def test_compromised_key_is_replaced_in_one_plan():
    planned = plan(known(ACTIVE), Revoke(ACTIVE, compromised=True), NOW)
    assert moves(planned) == [
        ("default-20261122", None, "pending"),
        ("default-20261122", "pending", "active"),
    ]
    assert planned.moves[-1].replaced_becomes == "revoked"
    consequence, early_signature = planned.notes
    assert "does not verify any more" in consequence
    assert "default-20261122._domainkey.example.com signs before" in early_signature
    after = known(ACTIVE).after(planned.moves, NOW)
    assert {one.selector: one.state for one in after.keys} == {
        "s1": "revoked",
        "default-20261122": "active",
    }


def test_pending_key_with_the_most_evidence_replaces_a_compromised_one():
    newer = key(3, "pending")
    planned = plan(
        known(ACTIVE, PENDING, newer, visible=[PENDING]), Revoke(ACTIVE, compromised=True), NOW
    )
    assert moves(planned) == [("s2", "pending", "active")]


def test_observation_before_a_revocation_is_no_evidence_of_the_empty_record():
    state = known(ACTIVE, visible=[ACTIVE])
    planned = plan(state, Revoke(ACTIVE, force=True), NOW)
    assert (state.observed.keys(), state.after(planned.moves, NOW).observed) == ({1}, {})


# --- Standby keys ---------------------------------------------------------------------------------

STANDBY = key(2, "standby", created=NOW)
NEXT_NAME = "default-20261122"
WITH_STANDBY = replace(SETTINGS, rotation=replace(SETTINGS.rotation, standby=True))


def kept(*keys, **values):
    return advanced(*keys, settings=WITH_STANDBY, **values)


def test_active_key_gets_a_standby_key_if_the_settings_ask_for_one():
    assert kept(ACTIVE) == [(NEXT_NAME, None, "standby")]
    assert kept(ACTIVE, PENDING) == []
    assert kept(ACTIVE, STANDBY) == []
    assert advanced(ACTIVE) == []
    assert advanced(ACTIVE, STANDBY) == [("s2", "standby", "revoked")]


@pytest.mark.parametrize("visible", [True, False])
def test_rotation_uses_the_standby_key_after_the_gate_has_checked_it(visible):
    state = known(ACTIVE, STANDBY, settings=WITH_STANDBY, visible=[STANDBY] if visible else [])
    planned = moves(plan(state, Rotate({SLOT: SPEC}), NOW))
    assert planned[0] == ("s2", "standby", "pending")
    assert planned[1:] == (
        [("s2", "pending", "active"), (NEXT_NAME, None, "standby")] if visible else []
    )
    stored = replace(state, observed={})
    assert moves(plan(stored, Rotate({SLOT: SPEC}), NOW)) == planned[:1]


def test_rotation_to_another_selector_leaves_the_standby_key_unchanged():
    state = known(ACTIVE, STANDBY, settings=WITH_STANDBY, visible=[STANDBY])
    planned = plan(state, Rotate({SLOT: SPEC}, "other"), NOW)
    assert moves(planned) == [("other", None, "pending")]


@pytest.mark.parametrize("seconds", [149, 150])
def test_standby_key_is_replaced_at_its_age_limit(seconds):
    old = key(2, "standby", created=NOW - timedelta(seconds=seconds))
    replaced = [("s2", "standby", "revoked"), (NEXT_NAME, None, "standby")]
    assert kept(ACTIVE, old, visible=[old]) == ([] if seconds < 150 else replaced)


def test_standby_key_that_is_older_than_the_active_key_is_replaced():
    assert kept(STANDBY, key(3, "active")) == [
        ("s2", "standby", "revoked"),
        (NEXT_NAME, None, "standby"),
    ]


def test_visible_standby_key_replaces_a_compromised_key_before_a_pending_key_does():
    newer = key(3, "pending")
    state = known(ACTIVE, STANDBY, newer, settings=WITH_STANDBY, visible=[STANDBY])
    planned = plan(replace(state, observed=None), Revoke(ACTIVE, compromised=True), NOW)
    assert moves(planned) == [("s2", "standby", "active")]
    assert planned.moves[0].replaced_becomes == "revoked"
    assert not any("before every resolver" in note for note in planned.notes)


def test_suddenly_removed_domain_keeps_its_standby_key():
    gone = Orphans(gone=frozenset({"example.com"}), sudden="all at once")
    assert kept(ACTIVE, STANDBY, orphans=gone) == []
    assert advanced(ACTIVE, STANDBY, orphans=gone) == []
    assert kept(ACTIVE, orphans=gone) == []
    due = replace(gone, due=gone.gone, sudden="")
    assert ("s2", "standby", "revoked") in kept(ACTIVE, STANDBY, orphans=due)


# --- Purity ---------------------------------------------------------------------------------------

PURE = (
    "plan",
    "revoke",
    "new_keys",
    "moves",
    "state",
    "gate",
    "replicas",
    "due_dates",
    "waiting_times",
)
ROOM = Path(plan_module.__file__).parent
# Modules that the pure modules may import; with a set, only these names of the module.
ALLOWED = {
    "__future__": None,
    "collections.abc": None,
    "dataclasses": None,
    "datetime": {"datetime", "timedelta"},
    "functools": {"cached_property"},
    "hashlib": None,
    "dns.zones": {"is_manual"},
    "errors": None,
    "keys.desired": {
        "domain_settings",
        "first_key_waits",
        "has_standby",
        "is_chosen",
        "is_desired",
        "key_problem",
        "record_of",
    },
    "keys.model": None,
    "keys.removed_domains": {"Orphans", "WHY", "WHY_BACK"},
    "keys.refusals": {"first_key_waits_for"},
    "private_key": {"DEFAULT_BITS"},
    "record_names": None,
    "records": None,
    "settings": {"selector_naming"},
    "settings.duration": None,
    "settings.model": None,
    "text": {"timestamp"},
    **dict.fromkeys(PURE),
}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("module", PURE)
def test_plan_reads_no_database_dns_clock_file_or_postfix(module):
    for package, name in imports(ROOM / f"{module}.py"):
        assert package in ALLOWED, f"{module} imports {package}"
        assert ALLOWED[package] is None or name in ALLOWED[package], f"{module} imports {name}"


@pytest.mark.parametrize("module", PURE)
def test_plan_calls_no_clock(module):
    calls = [
        node.attr
        for node in ast.walk(ast.parse((ROOM / f"{module}.py").read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    ]
    assert not {"now", "utcnow", "today"} & set(calls)
