"""The part of a host's report about the results of its checks."""

import pytest
from dkim_formula.fleet.host import findings, needs_person
from dkim_formula.health.run import CHECKS, LOCAL, MONITORED
from support import returns
from support.fleet_returns import checked
from support.rotations import NOW


def unknown(*roles, asked=(), **more):
    return findings(checked(asked=asked, **more), roles)["unknown"]


def test_dns_that_was_never_asked_is_unknown_on_the_database_host():
    assert unknown("database", asked=["database"]) == ["dns"]
    assert unknown("database", asked=["database", "dns"]) == []
    found = findings(checked(asked=["database"]), ["database"])
    assert found["checked"] == {"database": returns.at(minutes=-2), "dns": None}


def test_host_is_not_expected_to_know_the_checks_of_another_role():
    assert unknown("mail", asked=["database"], is_signer=True) == []
    assert unknown("mail") == ["database-clock", "login"]
    assert unknown("standby") == []
    local = {check.name for check in CHECKS if check.cost == LOCAL}
    assert local >= {"service", "socket", "settings"}
    assert set(unknown("database", "mail")) == set(MONITORED) - {"database"} - local


@pytest.mark.parametrize(
    ("roles", "checks"),
    [(["mail"], ["service"]), (["database"], ["dns"]), (["standby"], [])],
)
def test_host_reports_the_problems_of_its_roles(roles, checks):
    found = checked([returns.stopped_service(), returns.wrong_records()])
    problems = findings(found, roles)["problems"]
    assert [one["check"] for one in problems] == checks
    assert all(one["remedy"] for one in problems)


def test_start_of_a_problem_is_reported():
    (problem,) = findings(checked([returns.stopped_service()]), ["mail"])["problems"]
    assert problem["since"] == returns.at(hours=-3)
    assert problem["subject"] == "opendkim"


def test_domain_that_needs_a_person_is_named_once_with_the_reason():
    wrong = [
        returns.key("b.example", "s1", dns="missing"),
        returns.key("b.example", "s2", dns="lame"),
    ]
    damaged = returns.key("a.example", problem="the key is missing")
    found = needs_person([*wrong, damaged, returns.key("c.example"), *returns.held_keys()], NOW)
    assert found["count"] == 5
    reasons = {one["domain"]: one["reason"] for one in found["domains"]}
    assert reasons["a.example"] == "the key is missing"
    assert reasons["b.example"] == "the record of s1 is not in DNS as desired: missing"
    assert "until a person decides" in reasons["customer1.example"]


def test_many_domains_are_counted():
    keys = [returns.key(f"d{number:02}.example", dns="missing") for number in range(30)]
    found = needs_person(keys, NOW)
    assert found["count"] == 30
    assert [one["domain"] for one in found["domains"]] == [f"d{n:02}.example" for n in range(20)]
