"""The events about problems, and their times."""

import json
from dataclasses import replace

from dkim_formula.health.events import events
from dkim_formula.health.model import Results, right, unknown, wrong
from dkim_formula.settings.model import Monitoring
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_800_000_000.0
MONITORING = Monitoring(down_for=60, differs_for=3600, repeat=86400)
WELL = (right("service", "opendkim runs", "opendkim"),)
DOWN = (wrong("service", "the service opendkim does not run", "start it", "opendkim"),)
# The findings of a database that answers, and of a database that is down.
SIGNED = (right("database", "it answers"), right("unsigned", "none"))
AWAY = (wrong("database", "it is away", "start it"), unknown("unsigned", "skipped"))


def listing(check, items):
    """Return a finding about items; without items the check passed."""
    if not items:
        return right(check, "well")
    items = tuple(items)
    return wrong(check, f"wrong: {items[0]}", "mend it", items=items, count=len(items))


UNSIGNED = (right("database", "it answers"), listing("unsigned", ["example.net"]))


class Calls:
    """Calls of a beacon, a minute apart."""

    def __init__(self, monitoring=MONITORING):
        self.monitoring = monitoring
        self.now = NOW
        self.memory = {}

    def call(self, minutes=1, dns=(), local=WELL, database=SIGNED):
        self.now += 60 * minutes
        results = [
            Results(self.now, local),
            Results(self.now, database),
            Results(self.now, (listing("dns", dns),)),
        ]
        new, self.memory = events(self.monitoring, results, self.memory, self.now)
        # The memory is kept as JSON between calls.
        self.memory = json.loads(json.dumps(self.memory))
        return [(one.finding.check, one.change) for one in new]


def test_service_is_reported_once_after_it_has_been_down_for_the_delay():
    calls = Calls()
    assert calls.call(local=DOWN) == []
    assert calls.call(local=DOWN) == [("service", "started")]
    assert calls.call(local=DOWN) == []
    assert calls.call() == [("service", "resolved")]
    assert calls.call() == []


def test_service_that_is_up_again_before_the_delay_is_not_reported():
    calls = Calls()
    assert calls.call(local=DOWN) == []
    assert calls.call() == []
    assert calls.call(local=DOWN) == []


def test_problem_is_repeated_at_the_interval_of_the_settings():
    calls = Calls()
    calls.call(local=DOWN)
    calls.call(local=DOWN)
    assert calls.call(minutes=24 * 60 - 1, local=DOWN) == []
    assert calls.call(local=DOWN) == [("service", "continues")]
    assert calls.call(local=DOWN) == []


def test_problem_is_not_repeated_if_repetition_is_off():
    calls = Calls(replace(MONITORING, repeat=None))
    calls.call(local=DOWN)
    calls.call(local=DOWN)
    assert calls.call(minutes=10**6, local=DOWN) == []


def test_record_is_reported_when_a_later_check_confirms_it():
    calls = Calls()
    assert calls.call(dns=["a"]) == []
    assert calls.call(minutes=59, dns=["a"]) == []
    assert calls.call(dns=["a"]) == [("dns", "started")]


def test_old_results_of_dns_confirm_no_problem():
    first = Results(NOW, (listing("dns", ["a"]),))
    memory = {}
    for hours in range(5):
        later = NOW + hours * 3600
        new, memory = events(MONITORING, [Results(later, WELL), first], memory, later)
        assert new == []


def test_each_record_is_reported_after_its_own_delay():
    calls = Calls()
    calls.call(dns=["a"])
    calls.call(minutes=60, dns=["a"])
    assert calls.call(dns=["a", "b"]) == []
    assert calls.call(minutes=60, dns=["a", "b"]) == [("dns", "increased")]
    assert calls.call(dns=["b"]) == []
    assert calls.call() == [("dns", "resolved")]


def test_clock_that_was_set_back_does_not_delay_events_for_ever():
    calls = Calls()
    calls.call(local=DOWN)
    calls.now -= 10**6
    assert calls.call(local=DOWN) == []
    assert calls.call(local=DOWN) == [("service", "started")]


def test_unknown_result_neither_starts_nor_resolves_a_problem():
    calls = Calls()
    assert calls.call(database=UNSIGNED) == [("unsigned", "started")]
    assert calls.call(database=AWAY) == []
    assert calls.call(database=AWAY) == [("database", "started")]
    assert calls.call(database=UNSIGNED) == [("database", "resolved")]
    assert calls.call() == [("unsigned", "resolved")]


def test_missing_result_neither_starts_nor_resolves_a_problem():
    calls = Calls()
    assert calls.call(database=UNSIGNED) == [("unsigned", "started")]
    assert calls.call(database=()) == []
    assert calls.call() == [("unsigned", "resolved")]


def test_problem_of_an_unknown_service_is_not_resolved_by_another_service_that_runs():
    both = (*DOWN, right("service", "postfix runs", "postfix"))
    gone = (unknown("service", "not installed", subject="opendkim"), both[1])
    calls = Calls()
    calls.call(local=both)
    assert calls.call(local=both) == [("service", "started")]
    assert calls.call(local=gone) == []
    assert calls.call(local=both[1:]) == [("service", "resolved")]


def test_event_has_the_start_of_the_problem_and_twenty_names_at_most():
    names = [f"d{number}.example" for number in range(30)]
    results = [Results(NOW, (listing("unsigned", names),))]
    (one,), _ = events(MONITORING, results, {}, NOW)
    data = one.to_dict()
    assert data["since"] == "2027-01-15T08:00:00+00:00"
    assert (len(data["items"]), data["count"]) == (20, 30)
    json.dumps(data)


def test_event_has_the_start_of_its_finding():
    results = [Results(NOW, (replace(UNSIGNED[1], since=NOW - 86400),))]
    (one,), _ = events(MONITORING, results, {}, NOW)
    assert one.to_dict()["since"] == "2027-01-14T08:00:00+00:00"


@given(st.lists(st.tuples(st.booleans(), st.sets(st.sampled_from("abc"))), max_size=30))
def test_started_and_resolved_events_alternate(history):
    calls = Calls(Monitoring(down_for=0, differs_for=60, repeat=120))
    reported = {}
    for up, wrong_records in [*history, (True, set())]:
        for check, change in calls.call(local=WELL if up else DOWN, dns=sorted(wrong_records)):
            reported.setdefault(check, []).append(change)
    for changes in reported.values():
        marks = [change for change in changes if change in ("started", "resolved")]
        assert marks == ["started", "resolved"] * (len(marks) // 2)
        assert changes[0] == "started"
        assert changes[-1] == "resolved"
