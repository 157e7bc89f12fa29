"""The evidence that observations add up to, and the moves that it allows."""

from datetime import UTC, datetime, timedelta

import pytest
from dkim_formula.keys.model import GONE
from dkim_formula.rotation.gate import (
    Observation,
    may_be_deleted,
    may_be_revoked,
    may_sign,
    with_observation,
)
from dkim_formula.rotation.replicas import Mark, Replicas
from dkim_formula.rotation.waiting_times import RetireFor
from hypothesis import given
from hypothesis import strategies as st

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MARGIN = 10


def at(seconds):
    return START + timedelta(seconds=seconds)


def observed(seconds, verdict="ok", value="s p=1", **times):
    times = {"negative_ttl": 30, "ttl": 60 if verdict == "ok" else None, **times}
    return Observation(verdict, "", at(seconds), value, **times)


def evidence(*observations, now=None):
    found = None
    for one in observations:
        found = with_observation(found, one, one.at if now is None else at(now))
    return found


def gate(*observations, now=None, **settings):
    return may_sign(evidence(*observations, now=now), MARGIN, **settings)


def test_record_is_visible_since_the_first_observation_that_found_it_ok():
    assert evidence(observed(0), observed(5), observed(9)).visible_since == at(0)


@pytest.mark.parametrize("verdict", ["missing", "different", "duplicate", "inconsistent"])
def test_another_answer_of_the_servers_resets_visible_since(verdict):
    assert evidence(observed(0), observed(5, verdict)).visible_since is None
    assert evidence(observed(0), observed(5, verdict), observed(9)).visible_since == at(9)


@pytest.mark.parametrize("verdict", ["no answer", "lame", "no zone", "unchecked", "bogus"])
def test_observation_without_answers_neither_resets_visible_since_nor_opens_the_gate(verdict):
    found = evidence(observed(0), observed(50, verdict))
    assert (found.visible_since, found.verdict) == (at(0), verdict)
    assert gate(observed(0), observed(50, verdict)).to_state is None
    assert gate(observed(0), observed(50, verdict), observed(51)).to_state == "active"


def test_first_observation_without_answers_makes_no_record_visible():
    assert evidence(observed(0, "no answer")).visible_since is None


DAY = 86400


def partly(seconds, **times):
    """Return an observation in which one server gives no answer and all others show the record."""
    return observed(seconds, "no answer", else_ok=True, **times)


def test_gate_opens_a_day_later_if_a_server_gives_no_answer():
    early = gate(partly(0), partly(DAY + 39))
    assert early.to_state is None
    assert early.not_before == at(DAY + 40)
    assert "a day more" in early.waits_for
    assert gate(partly(0), partly(DAY + 40)).to_state == "active"
    assert gate(partly(DAY + 40)).to_state is None


def test_server_that_answers_again_must_show_the_record_for_the_whole_time():
    observations = (partly(0), partly(DAY - 1), observed(DAY))
    assert evidence(*observations).visible_since == at(DAY)
    assert gate(*observations, observed(DAY + 39)).to_state is None
    assert gate(*observations, observed(DAY + 40)).to_state == "active"


def test_silent_server_that_showed_the_record_before_does_not_reset_visible_since():
    assert gate(observed(0), partly(30), observed(40)).to_state == "active"
    assert gate(observed(0), partly(30), observed(35), partly(DAY + 39)).to_state is None
    assert gate(observed(0), partly(30), partly(DAY + 40)).to_state == "active"


@pytest.mark.parametrize("verdict", ["missing", "inconsistent", "no answer"])
def test_another_answer_ends_the_evidence_of_a_partly_silent_observation(verdict):
    assert evidence(partly(0), observed(5, verdict)).visible_since is None
    assert gate(partly(0), observed(5, verdict), partly(DAY + 40)).to_state is None


def test_gate_stays_closed_if_no_server_answers():
    observations = [observed(seconds, "no answer") for seconds in range(0, 5 * DAY, DAY)]
    assert gate(*observations).to_state is None


def test_revoked_key_is_deleted_a_day_later_if_a_server_gives_no_answer():
    def revoked(*observations):
        found = evidence(*observations)
        return may_be_deleted(at(-99), found, found.observed_at, 60).to_state

    assert revoked(partly(0), partly(DAY - 1)) is None
    assert revoked(partly(0), partly(DAY)) == GONE


def test_observation_older_than_the_evidence_changes_nothing():
    found = evidence(observed(0, "missing"), observed(9))
    assert with_observation(found, observed(5, "missing"), at(10)) == found
    assert with_observation(found, observed(9, "missing"), at(10)) == found


def test_evidence_with_a_future_time_is_dropped():
    found = with_observation(evidence(observed(1000)), observed(5), at(6))
    assert found.visible_since == at(5)


def test_ttls_stay_known_after_the_clock_was_set_back():
    before = evidence(observed(1000, "different", negative_ttl=900, other_ttl=600))
    found = with_observation(before, observed(5), at(6))
    assert (found.visible_since, found.negative_ttl, found.other_ttl) == (at(5), 900, 600)


def test_new_record_value_resets_visible_since_and_keeps_the_old_records_ttl():
    found = evidence(observed(0, ttl=600), observed(100, value="s p=2"))
    assert (found.visible_since, found.other_ttl) == (at(100), 600)


def test_largest_ttls_are_kept_until_the_record_is_visible():
    found = evidence(
        observed(0, "missing", negative_ttl=900),
        observed(5, "different", other_ttl=40),
        observed(9),
    )
    assert (found.negative_ttl, found.other_ttl) == (900, 40)


def test_key_signs_when_its_record_was_visible_for_the_required_time():
    assert gate(observed(0), observed(39)).to_state is None
    assert gate(observed(0), observed(39)).not_before == at(40)
    assert gate(observed(0), observed(40)).to_state == "active"


def test_required_time_follows_the_longest_ttl_in_resolver_caches():
    before = observed(0, "different", negative_ttl=30, other_ttl=300)
    assert gate(before, observed(1), observed(310)).not_before == at(311)
    assert gate(before, observed(1), observed(311)).to_state == "active"


def test_one_observation_is_never_enough():
    assert may_sign(evidence(observed(0, negative_ttl=0)), 0).not_before == at(1)


def test_gate_stays_closed_while_the_negative_ttl_is_unknown():
    decided = gate(observed(0, negative_ttl=None), observed(10**6, negative_ttl=None))
    assert decided.to_state is None
    assert "SOA" in decided.waits_for


def test_gate_stays_closed_without_an_observation():
    decided = gate()
    assert (decided.to_state, decided.not_before) == (None, None)
    assert decided.missing


def test_decision_lists_all_missing_evidence():
    decided = gate(observed(0, "missing"))
    assert len(decided.missing) == 2
    assert "missing" in decided.waits_for
    assert "40s" in decided.waits_for


def test_key_with_a_reused_selector_waits_until_caches_drop_the_old_record():
    assert gate(observed(0), observed(100), least=3600).not_before == at(3610)


def test_retired_key_stays_for_its_time():
    assert may_be_revoked(at(0), at(99), RetireFor(100, "x")).not_before == at(100)
    assert may_be_revoked(at(0), at(99), RetireFor(100, "x")).to_state is None
    assert may_be_revoked(at(0), at(100), RetireFor(100, "x")).to_state == "revoked"


def standbys(*marks):
    """Return two standbys, each with marks at the times (at, reached)."""
    return Replicas(
        [
            Mark(name, at(mark), None if reached is None else at(reached))
            for name in ("192.0.2.11", "192.0.2.12")
            for mark, reached in marks
        ]
        + [Mark("192.0.2.12", at(1000), at(1000))]
    )


@pytest.mark.parametrize(
    ("marks", "to_state", "not_before"),
    [
        ([(-5, -5), (10, None)], None, None),
        ([(-5, -5)], None, None),
        ([(10, 40)], None, at(140)),
        ([(10, 40), (20, 90)], None, at(140)),
        ([(10, None), (20, 25)], "revoked", None),
        ([(0, 0)], "revoked", None),
    ],
)
def test_retired_keys_time_begins_when_every_standby_shows_the_switch(marks, to_state, not_before):
    decided = may_be_revoked(at(0), at(130), RetireFor(100, "x"), standbys(*marks))
    assert (decided.to_state, decided.not_before) == (to_state, not_before)
    if to_state is None and not_before is None:
        assert "192.0.2.11" in decided.waits_for
        assert "192.0.2.12" not in decided.waits_for


def test_revoked_key_is_deleted_after_its_time_when_dns_shows_no_record():
    def revoked(now, *observations):
        return may_be_deleted(at(0), evidence(*observations), at(now), 100)

    assert revoked(99, observed(99)).not_before == at(100)
    assert revoked(100, observed(100)).to_state == "gone"
    assert revoked(100).to_state is None
    for verdict in ("different", "duplicate", "no answer", "inconsistent"):
        decided = revoked(500, observed(500, verdict))
        assert (decided.to_state, decided.not_before) == (None, None)
        assert verdict in decided.waits_for


@given(st.integers(-(10**8), 10**8), st.integers(1, 10**8))
def test_future_time_never_allows_a_move(now, ahead):
    later = at(now + ahead)
    assert may_be_revoked(later, at(now), RetireFor(1, "x")).to_state is None
    assert may_be_deleted(later, evidence(observed(now)), at(now), 1).to_state is None


def test_unknown_time_of_retirement_never_allows_a_move():
    decided = may_be_revoked(None, at(0), RetireFor(1, "x"))
    assert (decided.to_state, decided.not_before) == (None, None)
    assert decided.waits_for


@given(st.lists(st.tuples(st.integers(1, 50), st.sampled_from(["ok", "missing", "no answer"]))))
def test_key_signs_only_after_the_record_was_visible_without_a_break_for_the_required_time(steps):
    now, observations = 0, []
    for wait, verdict in steps:
        now += wait
        observations.append(observed(now, verdict))
    decided = gate(*observations) if observations else gate()
    visible = []
    for one in observations:
        if one.verdict == "ok":
            visible.append(one.at)
        elif one.verdict == "missing":
            visible.clear()
    is_open = (
        bool(observations)
        and observations[-1].verdict == "ok"
        and visible[-1] - visible[0] >= timedelta(seconds=40)
    )
    assert (decided.to_state == "active") == is_open
