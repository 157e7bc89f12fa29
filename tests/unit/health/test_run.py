"""The registry of checks, the doctor's run of it, and the collection for monitoring."""

import re
import time
from pathlib import Path

import pytest
from dkim_formula.errors import DatabaseError, FormulaError, InvalidValue
from dkim_formula.health import cache, run
from dkim_formula.health.commands import check_format, doctor
from dkim_formula.health.model import (
    Finding,
    Host,
    Results,
    Sample,
    right,
    timestamp,
    unknown,
    wrong,
)
from dkim_formula.health.run import CHECKS, MONITORED, Check
from dkim_formula.settings import read
from dkim_formula.settings.model import Monitoring, Settings

READING = read({"domains": ["example.com"]})
NO_FOLDER = "/nonexistent"


def raise_(error):
    raise error


def no_service_runs(_service):
    return False


def checks(*made):
    return [Check(name, lambda host, one=one: [one], **more) for name, one, more in made]


def results(*made):
    return [
        (one["check"], one["ok"])
        for one in doctor(READING, NO_FOLDER, no_service_runs, checks(*made))
    ]


def test_findings_come_in_the_order_of_the_checks():
    made = (("a", right("a", "x"), {}), ("b", wrong("b", "y", "do"), {}))
    assert results(*made) == [("a", True), ("b", False)]


@pytest.mark.parametrize(
    ("first", "expected"),
    [(right("a", ""), True), (wrong("a", "", "do"), None), (unknown("a", ""), None)],
)
def test_check_is_skipped_unless_the_checks_that_it_needs_pass(first, expected):
    made = (("a", first, {}), ("b", right("b", ""), {"needs": ("a",)}))
    assert results(*made)[1] == ("b", expected)


@pytest.mark.parametrize(
    ("first", "expected"),
    [(right("a", ""), True), (wrong("a", "", "do"), None), (unknown("a", ""), True)],
)
def test_check_is_skipped_after_a_check_that_failed(first, expected):
    made = (("a", first, {}), ("b", right("b", ""), {"after": ("a",)}))
    assert results(*made)[1] == ("b", expected)


def test_check_that_hangs_fails_and_the_next_check_runs():
    hanging = Check("a", lambda host: time.sleep(600), seconds=0.2)
    found = doctor(
        READING, NO_FOLDER, no_service_runs, [hanging, *checks(("b", right("b", ""), {}))]
    )
    assert [one["ok"] for one in found] == [False, True]
    assert "0.2 s" in found[0]["message"]
    assert found[0]["remedy"]


def test_check_with_an_unexpected_exception_is_unknown_without_its_text():
    broken = Check("a", lambda host: raise_(ValueError("a secret")))
    found = doctor(READING, NO_FOLDER, no_service_runs, [broken])
    assert [(one["ok"], "secret" in str(one)) for one in found] == [(None, False)]


def test_error_of_the_formula_is_the_problem():
    broken = Check("a", lambda host: raise_(FormulaError("main.cf is gone")))
    (one,) = doctor(READING, NO_FOLDER, no_service_runs, [broken])
    assert (one["check"], one["ok"], one["message"]) == ("a", False, "main.cf is gone")
    assert one["remedy"] == "see the reason"


def test_invalid_pillar_is_the_first_finding():
    found = doctor(read({"domains": {"exa mple": {}}}), NO_FOLDER, no_service_runs, CHECKS[:1])
    assert found[0]["ok"] is False
    assert "'exa mple'" in found[0]["message"]


def test_documentation_has_every_check():
    text = (Path(__file__).resolve().parents[3] / "docs" / "doctor.md").read_text()
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    names = " ".join(rows)
    assert [one.name for one in CHECKS if not re.search(f"`[^`]*{one.name}`", names)] == []


def test_doctor_knows_since_when_a_problem_lasts_by_the_calls_that_found_it(tmp_path):
    at = time.time() - 7200
    memory = {"a": {"check": "a", "last": at + 7000, "items": {"": at}}}
    cache.write_first_found(str(tmp_path), memory)
    made = checks(("a", wrong("a", "", "do"), {}), ("b", wrong("b", "", "do"), {}))
    first, second = doctor(READING, str(tmp_path), no_service_runs, made)
    assert (first["since"], second["since"]) == (timestamp(at), None)
    assert cache.read_first_found(str(tmp_path)) == memory


def test_other_formats_are_refused():
    with pytest.raises(InvalidValue, match="format: 'bind'"):
        check_format("bind")


def test_check_needs_only_checks_that_come_before_it():
    for number, check in enumerate(CHECKS):
        before = {one.name for one in CHECKS[:number]}
        assert {*check.needs, *check.after} <= before


def test_name_of_a_monitored_check_fits_into_a_tag():
    assert [name for name in MONITORED if not re.fullmatch("[a-z-]+", name)] == []


def test_delay_is_the_setting_of_the_check():
    monitoring = Monitoring(down_for=7, differs_for=8)
    assert [run.delay(monitoring, name) for name in ("service", "dns", "key-age")] == [7, 8, 0]


def test_finding_becomes_a_dictionary():
    assert Finding("a", "b", False, "c", "d", ("e",), 1, 0.0).to_dict() == {
        "check": "a",
        "subject": "b",
        "ok": False,
        "message": "c",
        "remedy": "d",
        "items": ["e"],
        "count": 1,
        "since": "1970-01-01T00:00:00+00:00",
    }


# --- Monitoring -----------------------------------------------------------------------------------


def collect(monkeypatch, cost, *made, settings=None):
    monkeypatch.setattr(run, "CHECKS", [Check(name, function, cost) for name, function in made])
    return run.collect(Host(settings or Settings()), cost)


def test_checks_of_other_costs_are_not_run(monkeypatch):
    monkeypatch.setattr(run, "CHECKS", [Check("a", lambda host: raise_(ValueError()), "dns")])
    assert run.collect(Host(Settings()), "local").findings == ()


def test_findings_and_samples_are_separated(monkeypatch):
    made = [right("a", "well"), Sample("dkim_keys", 2, {"state": "active"})]
    found = collect(monkeypatch, "local", ("a", lambda host: made))
    assert (list(found.findings), list(found.samples)) == (made[:1], made[1:])


def test_database_that_ends_the_session_is_a_problem_and_later_checks_are_unknown(monkeypatch):
    made = [
        ("database", lambda host: [Sample("dkim_database_up", 1), right("database", "well")]),
        ("orphaned-keys", lambda host: [right("orphaned-keys", "none")]),
        ("key-age", lambda host: raise_(DatabaseError("it ended the session"))),
        ("unsigned", lambda host: raise_(AssertionError)),
    ]
    found = collect(monkeypatch, "database", *made)
    assert [(one.check, one.ok) for one in found.findings] == [
        ("orphaned-keys", True),
        ("database", False),
    ]
    assert "it ended the session" in found.findings[1].message
    assert found.is_down("database")


def test_database_without_a_driver_is_a_problem(monkeypatch):
    found = [unknown("database", "no driver", "install it"), Sample("dkim_database_up", 0)]
    (finding,) = collect(monkeypatch, "database", ("database", lambda host: found)).findings
    assert (finding.ok, finding.count) == (False, 1)


def test_dns_that_does_not_answer_is_unknown(monkeypatch):
    found = collect(monkeypatch, "dns", ("dns", lambda host: raise_(FormulaError("no resolver"))))
    assert [(one.check, one.ok) for one in found.findings] == [("dns", None)]
    assert found.is_down("dns")


def test_records_without_an_observation_are_a_problem(monkeypatch):
    unchecked = unknown("dns", "1 record", items=("a TXT: unchecked",), count=1)
    (finding,) = collect(monkeypatch, "dns", ("dns", lambda host: [unchecked])).findings
    assert (finding.ok, finding.count) == (False, 1)


@pytest.mark.parametrize(("must_sign", "ok"), [("hosted", False), ("chosen", True)])
def test_pillar_decides_whether_hosted_domains_must_sign(monkeypatch, must_sign, ok):
    settings = Settings(monitoring=Monitoring(unsigned=must_sign))
    found = unknown("unsigned", "a.example", "", "not in the pillar", items=("a.example",), count=1)
    (finding,) = collect(
        monkeypatch, "database", ("unsigned", lambda host: [found]), settings=settings
    ).findings
    assert finding.ok is ok


def test_results_come_back_from_json():
    finding = Finding("a", "b", None, "c", "d", ("e",), 1, 2.5)
    kept = Results(3.0, (finding,), (Sample("dkim_keys", 2.0, {"state": "active"}),))
    assert Results.from_json(kept.to_json()) == kept
