"""The screen of the fleet: hosts that differ, and commands for the master."""

import shlex

import pytest
from dkim_formula.screens.commands import Asked, Terminal, draw
from dkim_formula.screens.doctor import command_on
from support import fleet_returns, returns


def drawn(found, width=140):
    return draw("fleet", found, Asked(), Terminal(width), returns.NOW).splitlines()


def alone(host):
    return drawn({"hosts": [host], "problems": []})


@pytest.mark.parametrize(
    ("command", "on_master"),
    [
        ("salt-call dkim.advance a.example", "salt mail1 dkim.advance a.example"),
        (
            "salt-call --out=txt dkim.delegations a.example format=text",
            "salt --out=txt mail1 dkim.delegations a.example format=text",
        ),
        (
            "journalctl -u 'postfix*' -n 50",
            """salt mail1 cmd.run 'journalctl -u '"'"'postfix*'"'"' -n 50'""",
        ),
        (
            "systemctl unmask opendkim && salt-call state.apply dkim.opendkim",
            "salt mail1 cmd.run 'systemctl unmask opendkim && salt-call state.apply dkim.opendkim'",
        ),
    ],
)
def test_command_of_a_minion_becomes_one_of_the_master(command, on_master):
    assert command_on("mail1", command) == on_master


def test_quoted_words_of_a_command_stay_quoted():
    command = "journalctl -u 'postfix*' -n 50"
    *first, last = shlex.split(command_on("mail1", command))
    assert (first, last) == (["salt", "mail1", "cmd.run"], command)


def test_no_command_is_for_the_minion_itself():
    lines = [line for line in drawn(fleet_returns.unhealthy()) if line.startswith("    ")]
    assert len(lines) > 5
    assert all(line.startswith("    salt ") for line in lines)


def test_host_with_a_problem_comes_before_an_unknown_one_and_both_before_the_others():
    hosts = [*fleet_returns.well()["hosts"], fleet_returns.database("db3", asked=["database"])]
    hosts += [fleet_returns.silent("mail9", ["mail"])]
    lines = drawn({"hosts": hosts, "problems": []})
    assert [line.split()[0] for line in lines[1:7]] == ["✗", "?", "✓", "✓", "✓", "✓"]
    assert lines[-1] == "✗ 6 hosts: 1 with a problem, 1 with an unknown check"


def test_socket_that_does_not_answer_is_a_fault_if_its_daemon_runs():
    lines = alone(fleet_returns.mail("mail1", sockets={"/run/opendkim.sock": False}))
    assert "a socket does not answer" in lines[1]
    assert lines[-1].startswith("✗")


def test_standby_that_stopped_its_replication_is_a_fault():
    host = fleet_returns.standby(0.0)
    host["report"]["database"]["problem"] = "the standby receives nothing from its primary"
    lines = alone(host)
    assert "replication stopped" in lines[1]
    assert "✗ the standby receives nothing from its primary" in lines


def test_error_of_a_host_that_answers_is_shown():
    host = {**fleet_returns.silent("mail1", ["mail"]), "salt": "3008.3", "problem": "no module"}
    lines = alone(host)
    assert "no report" in lines[1]
    assert lines[3:6] == ["mail1", "✗ no module", "    salt mail1 dkim.check"]


def test_report_of_an_older_formula_is_drawn():
    host = fleet_returns.mail("mail1", [returns.stopped_service()])
    for name in ("unknown", "checked", "needs_person"):
        del host["report"][name]
    for name in ("subject", "since"):
        del host["report"]["problems"][0][name]
    assert "✗ service: the service opendkim does not run" in alone(host)


def test_text_of_a_host_does_not_control_the_terminal():
    text = "\033]0;pwned\007"
    host = fleet_returns.mail(text, [returns.stopped_service()])
    assert all(line.isprintable() for line in alone(host))
    assert all(line.isprintable() for line in alone(fleet_returns.silent(text, ["mail"])))
