"""Evidence that grows from observations, and the moves that it allows."""

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
from dkim_formula.rotation.timing import RetireFor
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


def test_record_is_seen_since_the_first_observation_that_found_it_right():
    assert evidence(observed(0), observed(5), observed(9)).visible_since == at(0)


@pytest.mark.parametrize("verdict", ["missing", "different", "duplicate", "inconsistent"])
def test_other_word_of_the_servers_starts_again(verdict):
    assert evidence(observed(0), observed(5, verdict)).visible_since is None
    assert evidence(observed(0), observed(5, verdict), observed(9)).visible_since == at(9)


@pytest.mark.parametrize("verdict", ["no answer", "lame", "no zone", "unchecked", "bogus"])
def test_silence_neither_starts_again_nor_counts(verdict):
    found = evidence(observed(0), observed(50, verdict))
    assert (found.visible_since, found.verdict) == (at(0), verdict)
    assert gate(observed(0), observed(50, verdict)).to_state is None
    assert gate(observed(0), observed(50, verdict), observed(51)).to_state == "active"


def test_silence_before_anything_was_seen_is_no_sight():
    assert evidence(observed(0, "no answer")).visible_since is None


DAY = 86400


def partly(seconds, **times):
    """An observation where one server is silent, and every other shows the record."""
    return observed(seconds, "no answer", else_ok=True, **times)


def test_gate_opens_a_day_later_beside_a_silent_server():
    early = gate(partly(0), partly(DAY + 39))
    assert early.to_state is None
    assert early.not_before == at(DAY + 40)
    assert "a day more" in early.waits_for
    assert gate(partly(0), partly(DAY + 40)).to_state == "active"
    assert gate(partly(DAY + 40)).to_state is None


def test_server_that_answers_again_has_to_show_the_record_for_the_whole_time():
    observations = (partly(0), partly(DAY - 1), observed(DAY))
    assert evidence(*observations).visible_since == at(DAY)
    assert gate(*observations, observed(DAY + 39)).to_state is None
    assert gate(*observations, observed(DAY + 40)).to_state == "active"


def test_server_that_showed_the_record_before_its_silence_starts_nothing_again():
    assert gate(observed(0), partly(30), observed(40)).to_state == "active"
    assert gate(observed(0), partly(30), observed(35), partly(DAY + 39)).to_state is None
    assert gate(observed(0), partly(30), partly(DAY + 40)).to_state == "active"


@pytest.mark.parametrize("verdict", ["missing", "inconsistent", "no answer"])
def test_silence_of_one_counts_no_more_once_servers_say_something_else(verdict):
    assert evidence(partly(0), observed(5, verdict)).visible_since is None
    assert gate(partly(0), observed(5, verdict), partly(DAY + 40)).to_state is None


def test_silence_of_every_server_is_never_enough():
    observations = [observed(seconds, "no answer") for seconds in range(0, 5 * DAY, DAY)]
    assert gate(*observations).to_state is None


def test_revoked_key_goes_a_day_later_beside_a_silent_server():
    def revoked(*observations):
        found = evidence(*observations)
        return may_be_deleted(at(-99), found, found.observed_at, 60).to_state

    assert revoked(partly(0), partly(DAY - 1)) is None
    assert revoked(partly(0), partly(DAY)) == GONE


def test_observation_that_another_run_has_overtaken_changes_nothing():
    found = evidence(observed(0, "missing"), observed(9))
    assert with_observation(found, observed(5, "missing"), at(10)) == found
    assert with_observation(found, observed(9, "missing"), at(10)) == found


def test_evidence_of_the_future_is_void():
    found = with_observation(evidence(observed(1000)), observed(5), at(6))
    assert found.visible_since == at(5)


def test_what_resolvers_remember_is_known_when_the_clock_was_put_back():
    before = evidence(observed(1000, "different", negative_ttl=900, other_ttl=600))
    found = with_observation(before, observed(5), at(6))
    assert (found.visible_since, found.negative_ttl, found.other_ttl) == (at(5), 900, 600)


def test_other_text_in_the_record_starts_again_and_is_remembered_by_its_ttl():
    found = evidence(observed(0, ttl=600), observed(100, value="s p=2"))
    assert (found.visible_since, found.other_ttl) == (at(100), 600)


def test_largest_times_are_kept_until_the_record_is_seen():
    found = evidence(
        observed(0, "missing", negative_ttl=900),
        observed(5, "different", other_ttl=40),
        observed(9),
    )
    assert (found.negative_ttl, found.other_ttl) == (900, 40)


def test_key_signs_when_its_record_was_seen_for_the_hold():
    assert gate(observed(0), observed(39)).to_state is None
    assert gate(observed(0), observed(39)).not_before == at(40)
    assert gate(observed(0), observed(40)).to_state == "active"


def test_hold_is_the_longer_of_what_resolvers_may_remember():
    before = observed(0, "different", negative_ttl=30, other_ttl=300)
    assert gate(before, observed(1), observed(310)).not_before == at(311)
    assert gate(before, observed(1), observed(311)).to_state == "active"


def test_one_observation_is_never_enough():
    assert may_sign(evidence(observed(0, negative_ttl=0)), 0).not_before == at(1)


def test_unknown_negative_ttl_is_waited_for():
    decided = gate(observed(0, negative_ttl=None), observed(10**6, negative_ttl=None))
    assert decided.to_state is None
    assert "SOA" in decided.waits_for


def test_without_a_observation_nothing_signs():
    decided = gate()
    assert (decided.to_state, decided.not_before) == (None, None)
    assert decided.missing


def test_missing_evidence_is_told_in_full():
    decided = gate(observed(0, "missing"))
    assert len(decided.missing) == 2
    assert "missing" in decided.waits_for
    assert "40s" in decided.waits_for


def test_key_that_comes_back_under_its_name_waits_for_the_old_one_to_be_forgotten():
    assert gate(observed(0), observed(100), least=3600).not_before == at(3610)


def test_retired_key_stays_for_its_time():
    assert may_be_revoked(at(0), at(99), RetireFor(100, "x")).not_before == at(100)
    assert may_be_revoked(at(0), at(99), RetireFor(100, "x")).to_state is None
    assert may_be_revoked(at(0), at(100), RetireFor(100, "x")).to_state == "revoked"


def standbys(*marks):
    """Two standbys, each with marks of the moments (at, reached)."""
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
def test_retired_key_stays_from_when_every_standby_shows_the_switch(marks, to_state, not_before):
    decided = may_be_revoked(at(0), at(130), RetireFor(100, "x"), standbys(*marks))
    assert (decided.to_state, decided.not_before) == (to_state, not_before)
    if to_state is None and not_before is None:
        assert "192.0.2.11" in decided.waits_for
        assert "192.0.2.12" not in decided.waits_for


def test_revoked_key_goes_when_its_time_is_over_and_dns_shows_nothing_of_it():
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
def test_moment_in_the_future_is_never_a_reason_to_go_on(moment, ahead):
    later = at(moment + ahead)
    assert may_be_revoked(later, at(moment), RetireFor(1, "x")).to_state is None
    assert may_be_deleted(later, evidence(observed(moment)), at(moment), 1).to_state is None


def test_unknown_moment_is_waited_for_by_people():
    decided = may_be_revoked(None, at(0), RetireFor(1, "x"))
    assert (decided.to_state, decided.not_before) == (None, None)
    assert decided.waits_for


@given(st.lists(st.tuples(st.integers(1, 50), st.sampled_from(["ok", "missing", "no answer"]))))
def test_key_signs_only_after_an_unbroken_sight_as_long_as_the_hold(steps):
    now, observations = 0, []
    for wait, verdict in steps:
        now += wait
        observations.append(observed(now, verdict))
    decided = gate(*observations) if observations else gate()
    seen = []
    for one in observations:
        if one.verdict == "ok":
            seen.append(one.at)
        elif one.verdict == "missing":
            seen.clear()
    is_open = (
        bool(observations)
        and observations[-1].verdict == "ok"
        and seen[-1] - seen[0] >= timedelta(seconds=40)
    )
    assert (decided.to_state == "active") == is_open
