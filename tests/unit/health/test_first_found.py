"""The start of each problem, by the calls that have found it."""

from dataclasses import replace

import pytest
from dkim_formula.health import commands, first_found, run
from dkim_formula.health.first_found import LONGEST_GAP, dated, updated
from dkim_formula.health.model import Results, right, timestamp, unknown, wrong
from dkim_formula.settings import read

NOW = 1_800_000_000.0
DOWN = wrong("service", "it does not run", "start it", "postfix")
WELL = right("service", "it runs", "postfix")


def calls(*results):
    """Return the problems of the last of some results, each a time and findings."""
    memory = {}
    for at, *findings in results:
        memory = updated(memory, [Results(at, tuple(findings))])
    return {one.name: one.since for one in dated(findings, memory, at) if one.ok is False}


def records(*names):
    return wrong("dns", "records are wrong", "publish them", items=names, count=len(names))


def test_problem_began_when_it_was_first_found():
    assert calls((NOW, DOWN), (NOW + 60, DOWN), (NOW + 120, DOWN)) == {"service postfix": NOW}


def test_problem_that_was_resolved_begins_anew():
    assert calls((NOW, DOWN), (NOW + 60, WELL), (NOW + 120, DOWN)) == {"service postfix": NOW + 120}


def test_earlier_time_of_the_check_itself_counts():
    known = replace(DOWN, since=NOW - 500)
    assert calls((NOW, DOWN), (NOW + 60, known)) == {"service postfix": NOW - 500}
    late = replace(DOWN, since=NOW + 50)
    assert calls((NOW, DOWN), (NOW + 60, late)) == {"service postfix": NOW}


def test_unknown_result_does_not_end_a_problem():
    asked = unknown("dns", "no name server could be asked")
    assert calls((NOW, records("a")), (NOW + 60, asked), (NOW + 120, records("a"))) == {"dns": NOW}


def test_only_the_present_records_count():
    found = (NOW, records("a")), (NOW + 60, records("a", "b")), (NOW + 120, records("b"))
    assert calls(*found[:2]) == {"dns": NOW}
    assert calls(*found) == {"dns": NOW + 60}


@pytest.mark.parametrize(("gap", "begins"), [(LONGEST_GAP, NOW), (LONGEST_GAP + 1, None)])
def test_problem_that_no_call_confirmed_for_long_begins_anew(gap, begins):
    at = NOW + gap
    assert calls((NOW, DOWN), (at, DOWN)) == {"service postfix": begins or at}


def test_clock_that_was_set_back_leaves_no_future_start():
    assert calls((NOW, DOWN), (NOW - 3600, DOWN)) == {"service postfix": NOW - 3600}


def test_findings_without_a_problem_have_no_start():
    passed, not_known = dated((WELL, unknown("dns", "")), {}, NOW)
    assert (passed.since, not_known.since) == (None, None)


def test_health_keeps_the_start_of_a_problem_for_the_next_call(tmp_path, monkeypatch):
    reading = read({"domains": {"exa mple": {}}})

    def since(now):
        monkeypatch.setattr("dkim_formula.health.run.time.time", lambda: now)
        found = commands.health(reading, str(tmp_path), lambda _service: True)["problems"]
        return {one["check"]: one["since"] for one in found}["settings"]

    assert since(NOW) == timestamp(NOW)
    assert since(NOW + 600) == timestamp(NOW)
    assert first_found.LONGEST_GAP > 600
    (event,) = [
        one
        for one in commands.new_events(reading, str(tmp_path), lambda _service: True)
        if one["check"] == "settings"
    ]
    assert event["since"] == timestamp(NOW)


def test_health_and_doctor_ask_systemd_and_the_beacon_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr("dkim_formula.health.model.OPENDKIM", str(tmp_path))
    monkeypatch.setattr(commands, "stopped_at", lambda _service: NOW)
    monkeypatch.setattr(commands, "_asked", lambda _reading: ())
    services = [check for check in run.CHECKS if check.name == "service"]
    monkeypatch.setattr(run, "CHECKS", services)
    pillar = {"domains": ["a.example"], "monitoring": {"down_for": "0s"}}
    call = (read(pillar), str(tmp_path), lambda _service: False)
    (event,) = [one for one in commands.new_events(*call) if one["subject"] == "opendkim"]
    assert event["since"] > timestamp(0)
    assert event["since"] != timestamp(NOW)
    found = [*commands.health(*call)["problems"], *commands.doctor(*call, services)]
    starts = [one["since"] for one in found if one["subject"] == "opendkim"]
    assert starts == [min(timestamp(NOW), event["since"])] * 2
