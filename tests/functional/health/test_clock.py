"""The check that this machine's clock and the database's agree, on each kind of host."""

import re
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from dkim_formula.health import check_clock, model, remote_database
from dkim_formula.health.model import Host

pytestmark = pytest.mark.one_release


def set_clock(monkeypatch, seconds):
    wrong = SimpleNamespace(time=lambda: time.time() + seconds)
    monkeypatch.setattr(check_clock, "time", wrong)


@pytest.mark.parametrize(
    ("seconds", "message"),
    [
        (0, None),
        (30, None),
        (-30, None),
        (86400, "PostgreSQL's clock is 86[34]\\d\\d s behind this machine's"),
        (-86400, "PostgreSQL's clock is 86[34]\\d\\d s ahead of this machine's"),
    ],
)
def test_clock_that_differs_by_more_than_a_minute_is_a_problem(
    healthy, monkeypatch, seconds, message
):
    set_clock(monkeypatch, seconds)
    (found,) = check_clock.with_database(Host(healthy.settings))
    assert found.ok is (message is None)
    if message:
        assert re.fullmatch(message, found.message)
        assert "timedatectl" in found.remedy


def test_host_that_only_signs_asks_by_the_readers_login(healthy, monkeypatch):
    asked = []

    def ask(host, statement):
        asked.append(statement)
        return ["db.example.com", time.time() - 3600]

    monkeypatch.setattr(remote_database, "ask", ask)
    monkeypatch.setattr(model, "OPENDKIM", sys.executable)
    healthy.database = replace(healthy.database, host="db.example.com")
    (found,) = check_clock.with_database(Host(healthy.settings))
    assert len(asked) == 1
    assert found.message == "PostgreSQL's clock is 3600 s behind this machine's"


@pytest.mark.parametrize("where", [{"host": "db.example.com"}, {"port": 1}])
def test_host_that_can_not_ask_the_database_has_no_problem_of_its_clock(
    healthy, monkeypatch, where
):
    """One host has no OpenDKIM, whose login it would use. The other's database is away."""
    monkeypatch.setattr(model, "OPENDKIM", "/no-opendkim")
    healthy.database = replace(healthy.database, **where)
    (found,) = check_clock.with_database(Host(healthy.settings))
    assert found.ok is None
