"""The settings of ``dkim:monitoring``."""

import pytest
from dkim_formula.settings import read
from dkim_formula.settings.monitoring import Monitoring, Report


def test_settings_accept_times_with_units_and_false():
    given = {"every": "30s", "dns_every": False, "repeat": "2h", "overdue": 3, "textfile": "/a/"}
    monitoring = read({"monitoring": given}).settings.monitoring
    assert (monitoring.every, monitoring.dns_every, monitoring.repeat, monitoring.overdue) == (
        30,
        None,
        7200,
        259200,
    )
    assert monitoring.textfile == "/a"


def test_report_needs_a_path_and_has_defaults():
    report = read({"monitoring": {"report": {"path": "/w/i.html"}}}).settings.monitoring.report
    assert report == Report("/w/i.html", "root", 900)
    given = {"path": "/w/i.html", "group": "www-data", "every": "1h"}
    report = read({"monitoring": {"report": given}}).settings.monitoring.report
    assert report == Report("/w/i.html", "www-data", 3600)
    assert read({"monitoring": {"report": False}}).settings.monitoring.report is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("path", None),
        ("path", "index.html"),
        ("path", "/etc/passwd"),
        ("path", "/a b.html"),
        ("group", "a b"),
        ("group", 7),
        ("every", "1s"),
        ("title", "x"),
    ],
)
def test_wrong_setting_of_the_report_is_named(key, value):
    given = {"path": "/w/i.html", key: value}
    problems = read({"monitoring": {"report": given}}).problems
    assert [one for one in problems if one.startswith(f"dkim:monitoring:report:{key}: ")]


@pytest.mark.parametrize("value", [True, "/w/i.html", [], {}])
def test_report_without_a_path_is_named(value):
    problems = read({"monitoring": {"report": value}}).problems
    assert [one for one in problems if one.startswith("dkim:monitoring:report")]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("every", 60),
        ("every", "0s"),
        ("every", True),
        ("down_for", "-1s"),
        ("textfile", "metrics"),
        ("textfile", "/a b"),
        ("textfile", "/a%n"),
        ("unsigned", "all"),
        ("beacon", "on fire"),
        ("thresholds", {}),
    ],
)
def test_wrong_setting_is_named_and_replaced_by_its_default(key, value):
    reading = read({"monitoring": {key: value}})
    assert [
        problem for problem in reading.problems if problem.startswith(f"dkim:monitoring:{key}: ")
    ]
    assert reading.settings.monitoring == Monitoring()
