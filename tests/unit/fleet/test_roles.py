"""The roles of minions, and the problems that prevent work on a fleet."""

import pytest
from dkim_formula import settings
from dkim_formula.fleet import roles

MATCHED = {
    "database": ["db1"],
    "standby": ["db2"],
    "mail": ["mail2", "mail1"],
    "publisher": ["db1"],
}
ALL = ["db1", "db2", "mail1", "mail2"]


def reading(**fleet):
    return settings.read({"domains": ["example.com"], "fleet": fleet})


WHOLE = reading(database="db1", standby="db2", mail="mail*")


def test_publisher_is_the_database_host_unless_the_pillar_sets_another():
    assert roles.targets(WHOLE.settings.fleet)["publisher"] == "db1"
    other = reading(database="db1", mail="mail*", publisher="ns").settings.fleet
    assert roles.targets(other)["publisher"] == "ns"
    assert "standby" not in roles.targets(other)


def test_hosts_are_sorted_and_listed_once():
    found = roles.hosts(MATCHED)
    assert found["mail"] == ["mail1", "mail2"]
    assert found["all"] == ALL


def test_hosts_with_the_same_roles_are_asked_together():
    assert roles.by_roles(ALL, MATCHED) == {
        ("database", "publisher"): ["db1"],
        ("standby",): ["db2"],
        ("mail",): ["mail1", "mail2"],
    }


def test_complete_fleet_that_answers_has_no_problem():
    assert roles.problems(WHOLE, MATCHED, ALL) == []


@pytest.mark.parametrize(
    ("given", "matched", "answered", "expected"),
    [
        (WHOLE, MATCHED, ["db1", "db2", "mail1"], "mail2 does not answer"),
        (WHOLE, {**MATCHED, "mail": []}, ["db1", "db2"], "dkim:fleet:mail: 'mail*' matches no"),
        (reading(mail="mail*"), {"mail": ["mail1"]}, ["mail1"], "dkim:fleet:database: missing"),
        (reading(databse="db1"), {}, [], "dkim:fleet:databse: unknown key; did you mean"),
        (reading(database=["db1"], mail="m"), {"mail": ["m"]}, ["m"], "dkim:fleet:database: "),
        (settings.read(None), {}, [], "the pillar of this minion is empty"),
    ],
)
def test_each_problem_is_one_sentence(given, matched, answered, expected):
    (problem,) = roles.problems(given, matched, answered)
    assert expected in problem
