"""Evidence that grows from looks, and the steps that it allows."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from dkim_formula.rotation import decision
from dkim_formula.rotation.decision import Slot
from dkim_formula.rotation.evidence import Look, after
from hypothesis import given
from hypothesis import strategies as st

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SIGNS = Slot(signs="default")
MARGIN = 10


def at(seconds):
    return START + timedelta(seconds=seconds)


def look(seconds, verdict="right", value="s p=1", **times):
    times = {"negative_ttl": 30, "ttl": 60 if verdict == "right" else None, **times}
    return Look(verdict, "", at(seconds), value, **times)


def evidence(*looks, now=None):
    found = None
    for one in looks:
        found = after(found, one, one.at if now is None else at(now))
    return found


def gate(*looks, slot=SIGNS, now=None, **settings):
    return decision.pending(True, slot, evidence(*looks, now=now), MARGIN, **settings)


def test_record_is_seen_since_the_first_look_that_found_it_right():
    assert evidence(look(0), look(5), look(9)).seen_since == at(0)


@pytest.mark.parametrize("verdict", ["absent", "differs", "two records", "disagrees"])
def test_other_word_of_the_servers_starts_again(verdict):
    assert evidence(look(0), look(5, verdict)).seen_since is None
    assert evidence(look(0), look(5, verdict), look(9)).seen_since == at(9)


@pytest.mark.parametrize("verdict", ["silent", "lame", "no zone", "not checked", "DNSSEC failure"])
def test_silence_neither_starts_again_nor_counts(verdict):
    found = evidence(look(0), look(50, verdict))
    assert (found.seen_since, found.verdict) == (at(0), verdict)
    assert gate(look(0), look(50, verdict)).step is None
    assert gate(look(0), look(50, verdict), look(51)).step == "active"


def test_silence_before_anything_was_seen_is_no_sight():
    assert evidence(look(0, "silent")).seen_since is None


DAY = 86400


def partly(seconds, **times):
    """A look at which one server is silent, and every other shows the record."""
    return look(seconds, "silent", else_right=True, **times)


def test_gate_opens_a_day_later_beside_a_silent_server():
    early = gate(partly(0), partly(DAY + 39))
    assert early.step is None
    assert early.until == at(DAY + 40)
    assert "a day more" in early.waits_for
    assert gate(partly(0), partly(DAY + 40)).step == "active"
    assert gate(partly(DAY + 40)).step is None


def test_server_that_answers_again_has_to_show_the_record_for_the_whole_time():
    looks = (partly(0), partly(DAY - 1), look(DAY))
    assert evidence(*looks).seen_since == at(DAY)
    assert gate(*looks, look(DAY + 39)).step is None
    assert gate(*looks, look(DAY + 40)).step == "active"


def test_server_that_showed_the_record_before_its_silence_starts_nothing_again():
    assert gate(look(0), partly(30), look(40)).step == "active"
    assert gate(look(0), partly(30), look(35), partly(DAY + 39)).step is None
    assert gate(look(0), partly(30), partly(DAY + 40)).step == "active"


@pytest.mark.parametrize("verdict", ["absent", "disagrees", "silent"])
def test_silence_of_one_counts_no_more_once_servers_say_something_else(verdict):
    assert evidence(partly(0), look(5, verdict)).seen_since is None
    assert gate(partly(0), look(5, verdict), partly(DAY + 40)).step is None


def test_silence_of_every_server_is_never_enough():
    looks = [look(seconds, "silent") for seconds in range(0, 5 * DAY, DAY)]
    assert gate(*looks).step is None


def test_revoked_key_goes_a_day_later_beside_a_silent_server():
    def revoked(*looks):
        found = evidence(*looks)
        return decision.revoked(at(-99), found, found.looked_at, 60).step

    assert revoked(partly(0), partly(DAY - 1)) is None
    assert revoked(partly(0), partly(DAY)) == decision.GONE


def test_look_that_another_run_has_overtaken_changes_nothing():
    found = evidence(look(0, "absent"), look(9))
    assert after(found, look(5, "absent"), at(10)) == found
    assert after(found, look(9, "absent"), at(10)) == found


def test_evidence_of_the_future_is_void():
    found = after(evidence(look(1000)), look(5), at(6))
    assert found.seen_since == at(5)


def test_what_resolvers_remember_is_known_when_the_clock_was_put_back():
    before = evidence(look(1000, "differs", negative_ttl=900, other_ttl=600))
    found = after(before, look(5), at(6))
    assert (found.seen_since, found.negative_ttl, found.other_ttl) == (at(5), 900, 600)


def test_other_text_in_the_record_starts_again_and_is_remembered_by_its_ttl():
    found = evidence(look(0, ttl=600), look(100, value="s p=2"))
    assert (found.seen_since, found.other_ttl) == (at(100), 600)


def test_largest_times_are_kept_until_the_record_is_seen():
    found = evidence(look(0, "absent", negative_ttl=900), look(5, "differs", other_ttl=40), look(9))
    assert (found.negative_ttl, found.other_ttl) == (900, 40)


def test_key_signs_when_its_record_was_seen_for_the_hold():
    assert gate(look(0), look(39)).step is None
    assert gate(look(0), look(39)).until == at(40)
    assert gate(look(0), look(40)).step == "active"


def test_hold_is_the_longer_of_what_resolvers_may_remember():
    before = look(0, "differs", negative_ttl=30, other_ttl=300)
    assert gate(before, look(1), look(310)).until == at(311)
    assert gate(before, look(1), look(311)).step == "active"


def test_one_look_is_never_enough():
    assert decision.pending(True, SIGNS, evidence(look(0, negative_ttl=0)), 0).until == at(1)


def test_unknown_negative_ttl_is_waited_for():
    decided = gate(look(0, negative_ttl=None), look(10**6, negative_ttl=None))
    assert decided.step is None
    assert "SOA" in decided.waits_for


def test_without_a_look_nothing_signs():
    decided = gate()
    assert (decided.step, decided.until) == (None, None)
    assert decided.missing


def test_missing_evidence_is_told_in_full():
    decided = gate(look(0, "absent"))
    assert len(decided.missing) == 2
    assert "absent" in decided.waits_for
    assert "40s" in decided.waits_for


def test_first_key_signs_at_once_unless_it_is_to_wait():
    assert gate(slot=Slot()).step == "active"
    assert gate(slot=Slot(), first_waits=True).step is None
    assert gate(look(0), look(40), slot=Slot(), first_waits=True).step == "active"


def test_key_that_comes_back_under_its_name_waits_for_the_old_one_to_be_forgotten():
    assert gate(look(0), look(100), least_hold=3600).until == at(3610)


def test_unreadable_key_never_signs():
    assert decision.pending(False, Slot(), evidence(look(0), look(99)), MARGIN).step is None


def test_newest_pending_key_goes_first_and_the_others_never():
    assert gate(look(0), look(99), slot=replace(SIGNS, candidate=False)).step is None
    assert gate(slot=replace(SIGNS, candidate=False, superseded=True)).step == "revoked"


def test_retired_key_stays_for_its_time():
    assert decision.retired(at(0), at(99), 100, "x").until == at(100)
    assert decision.retired(at(0), at(99), 100, "x").step is None
    assert decision.retired(at(0), at(100), 100, "x").step == "revoked"


def test_revoked_key_goes_when_its_time_is_over_and_dns_shows_nothing_of_it():
    def revoked(now, *looks):
        return decision.revoked(at(0), evidence(*looks), at(now), 100)

    assert revoked(99, look(99)).until == at(100)
    assert revoked(100, look(100)).step == "gone"
    assert revoked(100).step is None
    for verdict in ("differs", "two records", "silent", "disagrees"):
        decided = revoked(500, look(500, verdict))
        assert (decided.step, decided.until) == (None, None)
        assert verdict in decided.waits_for


@given(st.integers(-(10**8), 10**8), st.integers(1, 10**8))
def test_moment_in_the_future_is_never_a_reason_to_go_on(moment, ahead):
    later = at(moment + ahead)
    assert decision.retired(later, at(moment), 1, "x").step is None
    assert decision.revoked(later, evidence(look(moment)), at(moment), 1).step is None


def test_unknown_moment_is_waited_for_by_people():
    decided = decision.retired(None, at(0), 1, "x")
    assert (decided.step, decided.until) == (None, None)
    assert decided.waits_for


@given(st.lists(st.tuples(st.integers(1, 50), st.sampled_from(["right", "absent", "silent"]))))
def test_key_signs_only_after_an_unbroken_sight_as_long_as_the_hold(steps):
    now, looks = 0, []
    for wait, verdict in steps:
        now += wait
        looks.append(look(now, verdict))
    decided = gate(*looks) if looks else gate()
    seen = []
    for one in looks:
        if one.verdict == "right":
            seen.append(one.at)
        elif one.verdict == "absent":
            seen.clear()
    is_open = (
        bool(looks) and looks[-1].verdict == "right" and seen[-1] - seen[0] >= timedelta(seconds=40)
    )
    assert (decided.step == "active") == is_open
