"""The state of a fleet as text."""

from dkim_formula.fleet import overview

DATABASE = {"reached": True, "host": "db1", "standby": False, "lag": None, "problem": ""}
REPORT = {
    "formula": "0.1.0",
    "opendkim": "2.11.0",
    "daemons": {"opendkim": True},
    "sockets": {"/run/opendkim.sock": True},
    "database": DATABASE,
    "selftest": {"ok": True, "at": "2026-01-01T00:00:00+00:00", "problems": []},
    "problems": [],
}


def host(**changed):
    report = {**REPORT, **changed}
    return {"id": "mail1", "roles": ["mail"], "salt": "3006.26", "problem": "", "report": report}


def row(**changed):
    return overview.text([host(**changed)]).splitlines()[1]


def test_host_without_problems_is_one_line_and_nothing_is_wrong():
    lines = overview.text([host()]).splitlines()
    assert lines[1].split() == (
        [
            "mail1",
            "mail",
            "up",
            "db1",
            "signs",
            "formula",
            "0.1.0,",
            "Salt",
            "3006.26,",
            "OpenDKIM",
            "2.11.0",
            "-",
        ]
    )
    assert lines[2:] == ["", "Nothing is wrong."]


def test_daemon_and_socket_that_are_down_are_named():
    assert "DOWN: opendkim" in row(daemons={"opendkim": False})
    assert "DOWN: /run/opendkim.sock" in row(sockets={"/run/opendkim.sock": False})


def test_standby_is_shown_with_its_lag():
    assert "db1 (standby)" in row(database={**DATABASE, "standby": True, "lag": 0.4})
    assert "db1 (standby, 90 s behind)" in row(database={**DATABASE, "standby": True, "lag": 90.0})


def test_each_problem_is_shown_once_with_its_remedy():
    away = {**DATABASE, "reached": False, "host": "", "problem": "no login"}
    problem = {"check": "unsigned", "message": "a.example has no key", "remedy": "make one"}
    problem |= {"items": ["a.example"], "count": 1}
    failed = {**REPORT["selftest"], "ok": False, "problems": ["no login"]}
    found = overview.text([host(database=away, selftest=failed, problems=[problem])])
    assert "NOT REACHED" in found
    assert "FAILED" in found
    assert found.splitlines()[3:] == ["mail1: no login", "mail1: a.example has no key -> make one"]


def test_host_that_does_not_answer_has_a_line():
    silent = {**host(), "report": None, "problem": "it does not answer"}
    assert overview.text([silent]).splitlines()[-1] == "mail1: it does not answer"


def test_fleet_without_a_host_shows_the_problem():
    found = overview.text([], ["dkim:fleet:mail: missing"])
    assert found.splitlines()[-1] == "dkim:fleet:mail: missing"
    assert "Nothing is wrong" not in found
