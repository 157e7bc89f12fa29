"""
Typos in the pillar of a machine that signs: the run fails and changes nothing on the machine.

The short form tries some typos, which ``--seed`` chooses. ``bin/test soak`` tries all of them.
"""

import json
import random

import pytest
from support import mail, salt, server
from support.machine import Machine
from support.share import short_form

EQUIPPED = True
# One release is enough; `bin/test soak` runs this file on both.
pytestmark = pytest.mark.one_release("trixie")

DOMAINS = ["example.com", "example.org"]
PILLAR = {
    "dkim": {
        "defaults": {"algorithm": ["rsa", "ed25519"]},
        "domains": DOMAINS,
        "opendkim": {"settings": {"SignatureTTL": 604800}},
        "monitoring": {"beacon": True, "textfile": "/var/lib/prometheus/node-exporter"},
    }
}
TRIED = 3
# A value that the daemon refuses, a list that it would misread, and two forms of a missing pillar.
ALWAYS = [
    {**PILLAR["dkim"], "defaults": {"algorithm": ["rsa", "ed25518"]}},
    {**PILLAR["dkim"], "opendkim": {"settings": {"InternalHosts": "/etc/no-such-file"}}},
    {},
    None,
]

# Runs in Salt's Python, which has PyYAML. The test host may lack it.
TYPOS = (
    f"import json, sys; sys.path.insert(0, '{salt.TREE}/tests'); from support.typos import typos; "
    "print(json.dumps([[typo.place, typo.pillar] for typo in typos()]))"
)

UNITS = "opendkim opendkim-ed25519 opendkim-watchdog postfix postgresql dkim-metrics.timer"
PROCESSES = (
    "systemctl show --property=Id,ActiveState,SubState,UnitFileState,MainPID,FragmentPath,"
    f"ExecMainStartTimestamp {UNITS}; pgrep --list-name --exact 'opendkim|master|postgres'; "
    "systemctl list-units --all --plain --no-legend --type=service | grep -c ."
)
SPOOL = (
    "find /var/spool/postfix /usr/local/lib /var/lib/prometheus -not -path '*/pid/*' "
    "-not -name '*.prom' -type f,l,d,s | sort | xargs -d '\\n' stat --format='%n %U:%G %a'"
)


@pytest.fixture(scope="module")
def signing(machine: Machine) -> mail.Mailbox:
    salt.install_formula(machine, PILLAR)
    for _ in range(2):
        run = salt.apply(machine)
        assert run.succeeded, str(run)
    return mail.Mailbox(machine)


@pytest.fixture
def unchanged(signing: mail.Mailbox):
    """A machine of which the fixture asserts that the test changed nothing and mail is signed."""
    machine = signing.machine
    before = machine_state(machine)
    yield machine
    salt.set_pillar(machine, PILLAR)
    assert machine_state(machine) == before
    message = mail.sent_by_smtp(signing, f"someone@{DOMAINS[0]}")
    assert mail.headers(message).count("DKIM-Signature:") == 2


def machine_state(machine: Machine) -> list[str]:
    state = server.state(machine)
    lines = [*state.etc.splitlines(), *state.packages.splitlines(), *state.databases.splitlines()]
    processes = machine.run(PROCESSES).stdout.splitlines()
    return [*lines, *processes, *machine.run(SPOOL).stdout.splitlines()]


def assert_refused(machine: Machine, pillar: object, name: str) -> None:
    run = salt.apply(machine, pillar={"dkim": pillar})
    assert not run.succeeded, name
    assert run.changed == [], f"{name}\n{run}"
    assert run.states == [] or run.states[0].function == "dkim.checked", f"{name}\n{run}"


def test_invalid_or_missing_pillar_changes_nothing(unchanged: Machine) -> None:
    for pillar in ALWAYS:
        assert_refused(unchanged, pillar, str(pillar))


@pytest.mark.parametrize("all_of_them", short_form([False, True]))
def test_typo_in_any_key_changes_nothing(
    unchanged: Machine, request: pytest.FixtureRequest, all_of_them: bool
) -> None:
    found = json.loads(unchanged.run(["/opt/salt/bin/python", "-c", TYPOS]).stdout)
    assert len(found) > 150
    if not all_of_them:
        found = random.Random(request.config.getoption("--seed")).sample(found, TRIED)
    for place, pillar in found:
        assert_refused(unchanged, pillar, place)


def test_test_run_reports_the_error_too(unchanged: Machine) -> None:
    run = salt.apply(unchanged, test=True, pillar={"dkim": ALWAYS[1]})
    assert not run.succeeded
    assert "/etc/no-such-file" in run.states[0].comment
    assert run.would_change == []


# This test is the last one: it removes the formula's set-up.
@pytest.mark.parametrize("pillar", short_form([{"dkim": {"databse": {}}}, {"dkim": {}}, {}]))
def test_clean_needs_no_pillar(signing: mail.Mailbox, pillar: dict) -> None:
    machine = signing.machine
    moved = {"opendkim_config": "/etc/opendkim/signer.conf", "socket_directory": "milter"}
    machine.run(["install", "-d", "/etc/opendkim"])
    run = salt.apply(machine, pillar={"dkim": {**PILLAR["dkim"], "lookup": moved}})
    assert run.succeeded, str(run)
    assert machine.exists("/etc/opendkim/signer.conf")
    salt.set_pillar(machine, pillar)
    run = salt.apply(machine, "dkim.clean")
    assert run.succeeded, str(run)
    for path in (
        "/etc/opendkim/signer.conf",
        "/etc/opendkim/signer-ed25519.conf",
        "/etc/systemd/system/opendkim-ed25519.service",
        "/etc/systemd/system/opendkim-watchdog.service",
        "/etc/systemd/system/opendkim.service.d/dkim-formula.conf",
        "/etc/systemd/system/dkim-metrics.timer",
        "/var/spool/postfix/milter",
    ):
        assert not machine.exists(path), path
    assert "opendkim" not in machine.run(["postconf", "-n"]).stdout
    assert "vmail-dkim-reader" not in machine.run("cat /etc/postgresql/*/main/pg_hba.conf").stdout
    assert machine.run("pgrep --exact opendkim", check=False).stdout == ""
    assert salt.apply(machine, "dkim.clean").changed == []
    assert "DKIM-Signature:" not in mail.headers(mail.sent_by_smtp(signing, "someone@example.com"))
