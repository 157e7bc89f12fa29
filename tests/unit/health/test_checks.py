"""Messages and remedies for overdue keys, unsigned domains and wrong records."""

import re
from pathlib import Path

import pytest
from dkim_formula.dns.checked import Checked
from dkim_formula.health import check_dns
from dkim_formula.health.check_database import no_answer
from dkim_formula.health.check_keys import (
    Overdue,
    not_chosen_finding,
    overdue_finding,
    unsigned_finding,
)
from dkim_formula.health.model import differences
from dkim_formula.records import key_record
from dkim_formula.settings.model import Settings

NOW = 1_800_000_000.0


def overdue(check, state):
    key = Overdue("a._domainkey.example.com", state, NOW - 9)
    return overdue_finding(Settings(), check, [key], 1)


def checked(verdict, selector="a", detail=""):
    return Checked(key_record("example.com", selector, "rsa", "AAAA"), verdict, detail)


def about_records(*differing):
    return check_dns.finding(Settings(), differing, differing, "1 of 1 domains")


@pytest.mark.parametrize(
    ("found", "check", "words"),
    [
        (no_answer("it ended"), "database", ["it ended", "PostgreSQL"]),
        (
            overdue("key-age", "active"),
            "key-age",
            ["a._domainkey.example.com", "longer than 187d", "dkim.rotate"],
        ),
        (
            overdue("rotation", "retired"),
            "rotation",
            ["a._domainkey.example.com (retired)", "dkim.advance"],
        ),
        (
            unsigned_finding(["example.net"], "salt-call dkim.generate_missing"),
            "unsigned",
            ["example.net", "dkim.generate_missing"],
        ),
        (
            about_records(checked("missing")),
            "dns",
            ["a._domainkey.example.com TXT: missing", "dkim.check_dns", "dkim.records"],
        ),
    ],
)
def test_problem_has_a_message_and_a_remedy(found, check, words):
    assert (found.check, found.ok, found.count) == (check, False, 1)
    text = f"{found.message}; {found.remedy}"
    assert [word for word in words if word not in text] == []


def test_hosted_domain_that_the_pillar_does_not_name_is_unknown():
    found = not_chosen_finding(["example.net"])
    assert (found.ok, found.items) == (None, ("example.net",))
    assert "false" in found.remedy


@pytest.mark.parametrize("check", ["key-age", "rotation"])
def test_no_overdue_key_is_ok(check):
    assert overdue_finding(Settings(), check, [], 0).ok


def test_no_unsigned_domain_is_ok():
    assert unsigned_finding([], "").ok
    assert not_chosen_finding([]).ok


def test_problem_of_overdue_keys_starts_when_the_first_key_was_due():
    keys = [
        Overdue("a", "active", NOW - 9),
        Overdue("b", "active", NOW - 99),
        Overdue("c", "active", None),
    ]
    found = overdue_finding(Settings(), "key-age", keys, 3)
    assert (found.since, found.count, found.items) == (NOW - 99, 3, ("a", "b", "c"))


def test_message_names_five_domains_and_counts_the_rest():
    names = [f"d{number}.example" for number in range(5000)]
    found = unsigned_finding(names, "")
    assert "d4.example and 4995 more" in found.message
    assert "d5.example" not in found.message
    assert (len(found.items), found.count) == (1000, 5000)


def test_record_without_an_observation_comes_after_different_records():
    unchecked = checked("unchecked", "z")
    assert about_records(unchecked).ok is None
    found = about_records(unchecked, checked("different"))
    assert found.ok is False
    assert found.items == (
        "a._domainkey.example.com TXT: different",
        "z._domainkey.example.com TXT: unchecked",
    )


def test_advice_on_records_that_are_ok_is_in_the_message():
    found = check_dns.finding(Settings(), [checked("ok", detail="a lame server")], [], "1 domain")
    assert (found.ok, "a lame server" in found.message) == (True, True)


def test_remedy_for_one_old_key_rotates_its_domain_and_for_several_keys_all_due_keys():
    keys = [Overdue(f"a._domainkey.d{one}.example", "active", NOW) for one in range(2)]
    one = overdue_finding(Settings(), "key-age", keys[:1], 1)
    assert one.remedy.startswith("salt-call dkim.rotate d0.example;")
    several = overdue_finding(Settings(), "key-age", keys, 2)
    assert several.remedy.startswith("salt-call dkim.rotate_due;")


HEALTH = sorted((Path(__file__).resolve().parents[3] / "_utils/dkim_formula/health").glob("*.py"))


@pytest.mark.parametrize("path", HEALTH, ids=lambda path: path.name)
def test_commands_of_remedies_have_no_placeholder(path):
    commands = re.findall(r"salt-call [^\n]*", path.read_text(encoding="utf-8"))
    assert [one for one in commands if re.search(r"\b(DOMAIN|SELECTOR|NEW-\w+)\b", one)] == []


def test_difference_says_what_is_missing_what_is_not_desired_and_what_differs():
    changes = {
        "pg_hba.conf": {"old": None, "new": "local vmail"},
        "SELECT on users": {"old": "granted", "new": None},
        "CREATEROLE": {"old": True, "new": False},
    }
    assert differences(changes) == [
        "pg_hba.conf: 'local vmail' is missing",
        "SELECT on users: 'granted' is not desired",
        "CREATEROLE: True instead of False",
    ]
