"""Health checks with a real database and name servers: when they report a problem."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import salt.loader
import salt.template
from dkim_formula import settings as pillar_settings
from dkim_formula.health import commands as health_commands
from dkim_formula.health import metrics as exposition
from dkim_formula.health import model
from dkim_formula.keys import commands as keys_commands
from dkim_formula.postgres import connection as db
from dkim_formula.settings import Reading
from functional.salt_loaders import TREE
from functional.server import execute, query, rsa_key
from support.exposition import parse

pytestmark = pytest.mark.one_release

DAY = 86400


def problem_items(site, fresh=True):
    """Return the checks that have problems, each with the problems' items."""
    found = health_commands.health(Reading(site.settings), site.folder, lambda _name: True, fresh)
    problems = {}
    for one in found["problems"]:
        problems.setdefault(one["check"], []).extend(one["items"])
    # No daemon runs beside these tests.
    of_daemon = ("service", "socket", "login")
    return {check: one for check, one in problems.items() if check not in of_daemon}


def metrics(site):
    return parse(health_commands.metrics(Reading(site.settings), site.folder, lambda _name: True))


def run(site, statement, arguments=None):
    with db.session(site.database, setup=True) as connection:
        execute(connection, statement, arguments)


def test_healthy_site_has_no_problem(healthy):
    assert problem_items(healthy) == {}


def test_key_is_too_old_one_week_after_its_rotation_was_due(healthy):
    healthy.pass_time(187 * DAY - 600)
    assert problem_items(healthy) == {}
    healthy.pass_time(1200)
    assert problem_items(healthy) == {"key-age": ["default._domainkey.example.com"]}


def test_age_limit_follows_the_pillar(healthy):
    healthy.pillar["rotation"] = {"every": 30}
    healthy.pillar["monitoring"] = {"overdue": 1}
    healthy.pass_time(31 * DAY - 600)
    assert problem_items(healthy) == {}
    healthy.pass_time(1200)
    assert problem_items(healthy) == {"key-age": ["default._domainkey.example.com"]}


def test_pending_key_is_stuck_after_a_week(healthy):
    keys_commands.generate(healthy.settings, "example.com", "next")
    healthy.publish("next")
    healthy.pass_time(7 * DAY - 600)
    assert problem_items(healthy) == {}
    healthy.pass_time(1200)
    assert problem_items(healthy) == {"rotation": ["next._domainkey.example.com"]}


@pytest.mark.parametrize(("state", "days"), [("retired", 14), ("revoked", 30)])
def test_retired_or_revoked_key_is_stuck_one_week_after_its_time(healthy, state, days):
    healthy.pillar["rotation"] = {"retire_for": 14, "revoke_for": 30}
    keys_commands.generate(healthy.settings, "example.com", "next")
    healthy.publish("next")
    run(healthy, "UPDATE public.dkim SET state = %s WHERE selector = 'default'", (state,))
    run(healthy, "UPDATE public.dkim SET state = 'active' WHERE selector = 'next'")
    healthy.publish("default")
    healthy.pass_time((days + 7) * DAY - 600)
    assert problem_items(healthy) == {}
    healthy.pass_time(1200)
    assert problem_items(healthy) == {"rotation": ["default._domainkey.example.com"]}


def test_excluded_domain_has_no_problem(healthy):
    healthy.pass_time(400 * DAY)
    healthy.pillar["domains"] = {"example.com": False, "example.org": False}
    assert problem_items(healthy) == {}


def test_hosted_domain_without_a_key_is_unsigned(healthy):
    healthy.pillar["domains"].pop("example.org")
    assert problem_items(healthy) == {"unsigned": ["example.org"]}


def test_database_of_a_newer_formula_is_reported_as_reachable(healthy):
    with db.session(healthy.database, setup=True) as connection:
        execute(connection, "INSERT INTO public.dkim_migration VALUES (99, 'of the future')")
    found = health_commands.health(
        Reading(healthy.settings), healthy.folder, lambda _name: True, True
    )
    (problem,) = [one for one in found["problems"] if one["check"] == "database"]
    assert "made by a newer formula" in problem["message"]
    assert "OpenDKIM continues to sign" in problem["remedy"]
    assert metrics(healthy)["dkim_database_up"] == {(): 1}


def test_hosted_domain_outside_the_pillar_may_be_unsigned(healthy):
    healthy.pillar["domains"].pop("example.org")
    healthy.pillar["monitoring"] = {"unsigned": "chosen"}
    assert problem_items(healthy) == {}


def test_case_of_a_hosted_domain_does_not_matter(healthy):
    run(healthy, "UPDATE public.domains SET domain = 'Example.com' WHERE domain = 'example.com'")
    assert problem_items(healthy) == {}


def test_domain_in_the_pillar_without_a_key_is_unsigned_even_if_not_hosted(healthy):
    healthy.pillar["domains"]["elsewhere.example"] = {}
    assert problem_items(healthy) == {"unsigned": ["elsewhere.example"]}


def test_alias_is_signed_with_the_key_of_another_domain(healthy):
    healthy.pillar["domains"]["example.org"] = {"alias_of": "example.com"}
    assert problem_items(healthy) == {"unsigned": ["example.org"]}
    healthy.make_keys()
    assert problem_items(healthy) == {}


def test_name_that_cannot_have_a_key_is_not_unsigned(healthy):
    run(healthy, "INSERT INTO public.domains (domain) VALUES ('ALL'), ('a b')")
    assert problem_items(healthy) == {}


@pytest.mark.parametrize("value", [None, "v=DKIM1; k=ed25519; p=AAAA"])
def test_different_or_missing_record_is_a_problem_until_it_is_correct(healthy, value):
    name = "default._domainkey.example.com"
    healthy.put(name, value, healthy.servers[:1])
    assert problem_items(healthy) == {"dns": [f"{name} TXT: inconsistent"]}
    healthy.put(name, value)
    verdict = "missing" if value is None else "different"
    assert problem_items(healthy) == {"dns": [f"{name} TXT: {verdict}"]}
    healthy.publish("default")
    assert problem_items(healthy) == {}


def test_record_of_a_revoked_key_may_be_missing(healthy):
    run(healthy, "UPDATE public.dkim SET state = 'revoked' WHERE selector = 'default'")
    keys_commands.generate(healthy.settings, "example.com", "next")
    healthy.publish("next")
    assert problem_items(healthy) == {"dns": ["default._domainkey.example.com TXT: different"]}
    healthy.put("default._domainkey.example.com", None)
    assert problem_items(healthy) == {}


def test_silent_name_server_is_a_problem(healthy):
    healthy.servers[0].silent = {"udp", "tcp"}
    assert problem_items(healthy) == {"dns": ["default._domainkey.example.com TXT: no answer"]}


def test_dns_is_asked_only_once_an_interval(healthy):
    problem_items(healthy)
    asked = len(healthy.servers[0].asked)
    assert asked
    for _ in range(3):
        problem_items(healthy, fresh=False)
    assert len(healthy.servers[0].asked) == asked


def test_dns_is_not_asked_if_dns_every_is_false(healthy):
    healthy.pillar["monitoring"] = {"dns_every": False}
    healthy.put("default._domainkey.example.com", None)
    assert problem_items(healthy) == {}
    assert healthy.servers[0].asked == []
    assert "dkim_dns_records" not in metrics(healthy)


def test_unreachable_database_is_a_problem_and_its_checks_are_unknown(healthy):
    healthy.database = replace(healthy.database, port=1)
    found = health_commands.health(
        Reading(healthy.settings), healthy.folder, lambda _name: True, True
    )
    assert "database" in [one["check"] for one in found["problems"]]
    unknown = [
        "database-clock",
        "dns",
        "key-age",
        "login",
        "orphaned-keys",
        "rotation",
        "unsigned",
    ]
    assert found["unknown"] == unknown


def test_host_that_only_signs_does_not_check_keys(healthy):
    healthy.database = replace(healthy.database, host="db.example.com")
    reading = Reading(healthy.settings)
    found = health_commands.health(reading, healthy.folder, lambda _name: True, True)
    # No server answers at that host.
    assert {one["check"] for one in found["problems"]} - {"service", "socket"} == {"login"}
    assert found["unknown"] == [
        "database",
        "database-clock",
        "dns",
        "key-age",
        "orphaned-keys",
        "rotation",
        "unsigned",
    ]
    assert not health_commands.is_due(reading, healthy.folder)
    found = metrics(healthy)
    assert set(found["dkim_reader_login_up"].values()) == {0}
    assert "dkim_database_up" not in found


def test_database_without_the_formulas_tables_is_a_problem(healthy):
    run(healthy, "ALTER TABLE public.dkim RENAME TO other")
    assert "database" in problem_items(healthy)


def test_metrics_count_keys_domains_and_records(healthy):
    keys_commands.generate(healthy.settings, "example.com", "next")
    healthy.pillar["domains"].pop("example.org")
    found = metrics(healthy)
    for name, samples in found.items():
        declared = set(exposition.METRICS[name].labels)
        assert {frozenset(dict(labels)) for labels in samples} == {frozenset(declared)}
    assert found["dkim_keys"] == {
        (("algorithm", "ed25519"), ("state", "active")): 1,
        (("algorithm", "ed25519"), ("state", "pending")): 1,
    }
    (oldest,) = found["dkim_oldest_active_key_timestamp_seconds"].values()
    assert abs(oldest - time.time()) < DAY
    (due,) = found["dkim_next_rotation_timestamp_seconds"].values()
    every, spread = healthy.settings.rotation.every, healthy.settings.rotation.spread
    assert every - spread <= due - oldest <= every
    assert set(found["dkim_rotations_due"].values()) == {0}
    assert found["dkim_domains_hosted"] == {(): 2}
    assert found["dkim_domains_unsigned"] == {(): 1}
    assert found["dkim_dns_records"] == {
        (("verdict", "missing"),): 1,
        (("verdict", "ok"),): 1,
    }
    assert found["dkim_dns_records_wrong"][(("of", "pending"), ("verdict", "missing"))] == 1
    assert sum(found["dkim_dns_records_wrong"].values()) == 1
    assert found["dkim_dns_domains"][(("verdict", "missing"),)] == 1
    assert found["dkim_domain_dns_records_wrong"] == {(("domain", "example.com"),): 1}
    assert (("check", "unsigned"), ("item", "example.org")) in found["dkim_problem_info"]


@pytest.mark.parametrize(
    ("days", "expected"), [(100, set()), (170, {"30"}), (181, {"1", "7", "30"})]
)
def test_rotations_that_are_due_soon_are_counted(healthy, days, expected):
    healthy.pass_time(days * DAY)
    found = metrics(healthy)["dkim_rotations_due"]
    counted = {dict(labels)["within_days"] for labels, number in found.items() if number}
    assert counted >= expected
    assert bool(counted) == bool(expected)


def test_expiry_of_the_readers_password_is_a_metric(healthy):
    reader = {"auth": "password", "password": "word"}
    healthy.database = replace(healthy.database, reader=read_reader(reader))
    assert "dkim_reader_password_expiry_timestamp_seconds" not in metrics(healthy)
    name = healthy.database.reader.name
    run(healthy, f"CREATE ROLE \"{name}\" LOGIN VALID UNTIL '2030-01-01 00:00:00+00'")
    shutil.rmtree(healthy.folder)
    assert metrics(healthy)["dkim_reader_password_expiry_timestamp_seconds"] == {(): 1893456000}
    run(healthy, f"ALTER ROLE \"{name}\" VALID UNTIL 'infinity'")
    shutil.rmtree(healthy.folder)
    assert "dkim_reader_password_expiry_timestamp_seconds" not in metrics(healthy)


def read_reader(given):
    return pillar_settings.read({"database": {"reader": given}}).settings.database.reader


def test_key_that_another_tool_inserted_is_counted_and_its_record_checked(healthy):
    run(
        healthy,
        "INSERT INTO public.dkim (domain, selector, key, state)"
        " VALUES ('example.com', 'other', %s, 'active')",
        (rsa_key(0).pem(),),
    )
    before = rows(healthy)
    assert problem_items(healthy) == {"dns": ["other._domainkey.example.com TXT: missing"]}
    assert metrics(healthy)["dkim_keys"][(("algorithm", "rsa"), ("state", "active"))] == 1
    assert rows(healthy) == before


def rows(site):
    with db.session(site.database, setup=True) as connection:
        return query(connection, "SELECT id, xmin::text, public_key FROM public.dkim ORDER BY id")


def test_beacon_asks_neither_database_nor_dns(healthy):
    call = (Reading(healthy.settings), healthy.folder)
    assert health_commands.is_due(*call)
    assert {one["check"] for one in health_commands.new_events(*call, lambda _name: True)} <= {
        "service",
        "socket",
    }
    assert healthy.servers[0].asked == []
    health_commands.gather(*call)
    assert healthy.servers[0].asked
    assert not health_commands.is_due(*call)


def test_beacon_starts_no_process_and_asks_for_each_daemon_once(healthy, monkeypatch):
    def started(*_arguments, **_named):
        raise AssertionError("a process was started")

    for module, name in ((subprocess, "Popen"), (os, "fork"), (os, "posix_spawn")):
        monkeypatch.setattr(module, name, started)
    monkeypatch.setattr(model, "OPENDKIM", sys.executable)
    asked = []
    health_commands.new_events(Reading(healthy.settings), healthy.folder, asked.append)
    assert asked == [daemon.service for daemon in model.Host(healthy.settings).daemons]


def test_aborted_check_is_reported(healthy):
    call = (Reading(healthy.settings), healthy.folder)
    health_commands.gather(*call)
    health_commands.record_abort(*call, time.time() + DAY)
    healthy.pillar["monitoring"] = {"down_for": "0s"}
    reading = Reading(healthy.settings)
    events = health_commands.new_events(reading, healthy.folder, lambda _name: True)
    (event,) = (one for one in events if one["check"] == "database")
    assert (event["change"], "did not finish" in event["message"]) == ("started", True)


REACTOR = {
    "publisher": "db1",
    "mend": True,
    "mail": {
        "minion": "mail1",
        "recipient": "postmaster@example.net",
        "sender": "dkim@example.net",
    },
}


def reactions(loaded, event, settings):
    """Return the steps of the master's reactor for an event, by name."""
    # A master renders a reactor with the event's data, which include the minion.
    return salt.template.compile_template(
        ":string:",
        salt.loader.render({**loaded.opts, "dkim_reactor": settings}, loaded.functions),
        "jinja|yaml",
        [],
        [],
        input_data=(TREE / "dkim" / "reactor" / "health.sls").read_text(encoding="utf-8"),
        data={**event, "id": "mail.example.net"},
    )


@pytest.mark.parametrize("change", ["started", "resolved"])
def test_reactor_sends_mail_and_repairs(healthy, loaded, change):
    healthy.pillar["monitoring"] = {"down_for": "0s"}
    events = health_commands.new_events(
        Reading(healthy.settings), healthy.folder, lambda _name: False
    )
    event = {**next(one for one in events if one["check"] == "service"), "change": change}
    rendered = reactions(loaded, event, REACTOR)
    (mail,) = rendered["a mail is sent"]["local.cmd.run"][1]["args"][2].values()
    assert event["message"] in mail
    assert ("OpenDKIM is repaired" in rendered) == (change == "started")
    assert "records are published" not in rendered
    published = reactions(loaded, {**event, "check": "dns"}, REACTOR)
    assert ("records are published" in published) == (change == "started")
    assert "OpenDKIM is repaired" not in published


def test_reactor_without_settings_does_nothing(healthy, loaded):
    event = {"check": "dns", "change": "started", "message": "x", "remedy": "y"}
    assert not reactions(loaded, event, {})
