"""Results that are kept between two calls, and the time of the next checks."""

import os
import stat

import pytest
from dkim_formula.health import cache
from dkim_formula.health.commands import record_abort
from dkim_formula.health.model import Finding, Results, Sample
from dkim_formula.settings import Reading
from dkim_formula.settings.model import Monitoring, Settings

NOW = 1_800_000_000.0
UP = {cost: Results(NOW, samples=(Sample(f"dkim_{cost}_up", 1),)) for cost in ("database", "dns")}
DOWN = Results(NOW, samples=(Sample("dkim_database_up", 0),))


def due(monitoring, now, kept=None):
    """Return the costs whose checks are due."""
    kept = UP if kept is None else kept
    return [cost for cost in ("database", "dns") if cache.is_due(monitoring, kept, cost, now)]


def test_kept_results_are_for_root_alone_and_are_read_unchanged(tmp_path):
    folder = str(tmp_path / "kept")
    with cache.locked(folder, wait=False) as has_lock:
        assert has_lock
    finding = Finding("key-age", "", False, "too old", "rotate", ("a",), 1, None)
    kept = {**UP, "database": Results(NOW, (finding,), (Sample("dkim_keys", 1, {"a": "b"}),))}
    cache.write_results(folder, kept)
    assert cache.read_results(folder) == kept
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(f"{folder}/results.json").st_mode) == 0o600


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"database": {"at": 1, "new": 2}}',
        '{"dns": 3}',
        '{"dns": {"at": "x", "findings": [], "samples": []}}',
        '{"dns": {"at": 1, "findings": [{"items": []}], "samples": []}}',
    ],
)
def test_incomplete_file_counts_as_missing(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    (tmp_path / "reported.json").write_text(text)
    assert cache.read_results(str(tmp_path)) == {}
    assert isinstance(cache.read_reported(str(tmp_path)), dict)


@pytest.mark.parametrize(
    "entry",
    [
        "x",
        {},
        {"check": "a", "last": 1},
        {"check": "a", "last": "x", "items": {}},
        {"check": "a", "last": 1, "items": {"b": None}},
        {"last": 1, "items": {}},
    ],
)
def test_incomplete_memory_of_first_problems_is_left_out(tmp_path, entry):
    complete = {"check": "dns", "last": NOW, "items": {"a TXT": NOW}}
    cache.write_first_found(str(tmp_path), {"a": entry, "dns": complete})
    assert cache.read_first_found(str(tmp_path)) == {"dns": complete}


def test_only_one_process_at_a_time_runs_the_checks(tmp_path):
    folder = str(tmp_path)
    with cache.locked(folder, wait=False), cache.locked(folder, wait=False) as has_lock:
        assert not has_lock


def test_database_and_dns_have_separate_intervals():
    monitoring = Monitoring(database_every=300, dns_every=3600)
    assert due(monitoring, NOW + 299) == []
    assert due(monitoring, NOW + 300) == ["database"]
    later = {**UP, "database": Results(NOW + 3400)}
    assert due(monitoring, NOW + 3599, later) == []
    assert due(monitoring, NOW + 3600, later) == ["dns"]


def test_database_that_is_down_is_asked_at_each_call():
    monitoring = Monitoring(every=60, database_every=300)
    assert due(monitoring, NOW + 59, {**UP, "database": DOWN}) == []
    assert due(monitoring, NOW + 60, {**UP, "database": DOWN}) == ["database"]


def test_dns_is_never_asked_if_its_interval_is_off(tmp_path):
    monitoring = Monitoring(dns_every=None)
    assert due(monitoring, NOW + 10**6, {}) == ["database"]
    kept = cache.refresh(monitoring, str(tmp_path), lambda: NOW, lambda cost: UP[cost], fresh=True)
    assert kept.keys() == {"database"}


def test_time_is_read_after_the_wait_for_another_process(tmp_path):
    # Results of that process would seem to be from before the clock was set back.
    free = []

    def clock():
        with cache.locked(str(tmp_path), wait=False) as is_free:
            free.append(is_free)
        return NOW

    assert cache.refresh(Monitoring(), str(tmp_path), clock, lambda cost: UP[cost]) == UP
    assert free == [False]


@pytest.mark.parametrize(("database_at", "killed"), [(3500, "dns"), (3300, "database")])
def test_killed_check_is_of_the_database_only_if_the_database_was_due(
    tmp_path, database_at, killed
):
    settings = Settings(monitoring=Monitoring(database_every=300, dns_every=3600))
    kept = {"database": Results(NOW + database_at), "dns": Results(NOW)}
    cache.write_results(str(tmp_path), kept)
    record_abort(Reading(settings, (), ()), str(tmp_path), NOW + 3600)
    after = cache.read_results(str(tmp_path))
    assert [cost for cost in kept if after[cost] != kept[cost]] == [killed]
    assert "did not finish" in after[killed].findings[0].message


def test_results_from_before_the_clock_was_set_back_are_due_again():
    assert due(Monitoring(), NOW - 10) == ["database", "dns"]
