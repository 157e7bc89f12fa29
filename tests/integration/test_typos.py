"""
A slip in the pillar of a machine that signs: the run fails, and nothing of the machine differs.

The short form tries some of the slips, which ``--seed`` chooses; ``bin/test soak`` tries all.
"""

import json
import random

import pytest
from support import mail, salt, server
from support.machine import Machine

EQUIPPED = True
WARM = True
# One release tells; `bin/test soak` runs it on both.
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
TRIED = 6
# A value that the daemon refuses, a list that it would misread, and the pillar that did not arrive.
ALWAYS = [
    {**PILLAR["dkim"], "defaults": {"algorithm": ["rsa", "ed25518"]}},
    {**PILLAR["dkim"], "opendkim": {"settings": {"InternalHosts": "/etc/no-such-file"}}},
    {},
    None,
]

# This host need not have PyYAML; Salt does.
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
def untouched(signing: mail.Mailbox):
    """Compares the machine with what it was, and has its mail signed twice still."""
    machine = signing.machine
    before = everything(machine)
    yield machine
    salt.set_pillar(machine, PILLAR)
    assert everything(machine) == before
    message = mail.sent_by_smtp(signing, f"someone@{DOMAINS[0]}")
    assert mail.headers(message).count("DKIM-Signature:") == 2


def everything(machine: Machine) -> list[str]:
    state = server.state(machine)
    lines = [*state.etc.splitlines(), *state.packages.splitlines(), *state.databases.splitlines()]
    processes = machine.run(PROCESSES).stdout.splitlines()
    return [*lines, *processes, *machine.run(SPOOL).stdout.splitlines()]


def refuse(machine: Machine, pillar: object, told: str) -> None:
    run = salt.apply(machine, pillar={"dkim": pillar})
    assert not run.succeeded, told
    assert run.changed == [], f"{told}\n{run}"
    assert run.states == [] or run.states[0].function == "dkim.checked", f"{told}\n{run}"


def test_pillar_that_can_not_be_meant_changes_nothing(untouched: Machine) -> None:
    for pillar in ALWAYS:
        refuse(untouched, pillar, str(pillar))


@pytest.mark.parametrize("all_of_them", [pytest.param(True, marks=pytest.mark.soak), False])
def test_slip_in_any_key_changes_nothing(
    untouched: Machine, request: pytest.FixtureRequest, all_of_them: bool
) -> None:
    found = json.loads(untouched.run(["/opt/salt/bin/python", "-c", TYPOS]).stdout)
    assert len(found) > 150
    if not all_of_them:
        found = random.Random(request.config.getoption("--seed")).sample(found, TRIED)
    for place, pillar in found:
        refuse(untouched, pillar, place)


def test_test_run_tells_of_the_slip_too(untouched: Machine) -> None:
    run = salt.apply(untouched, test=True, pillar={"dkim": ALWAYS[1]})
    assert not run.succeeded
    assert "/etc/no-such-file" in run.states[0].comment
    assert run.would_change == []


# Last: it takes the formula away, as a pillar that did not arrive must not.
@pytest.mark.parametrize("pillar", [{}, {"dkim": {}}, {"dkim": {"databse": {}}}])
def test_clean_needs_no_pillar(signing: mail.Mailbox, pillar: dict) -> None:
    machine = signing.machine
    moved = {"opendkim_config": "/etc/opendkim/signer.conf", "socket_directory": "milter"}
    machine.run(["install", "-d", "/etc/opendkim"])
    run = salt.apply(machine, pillar={"dkim": {**PILLAR["dkim"], "lookup": moved}})
    assert run.succeeded, str(run)
    assert machine.exists("/etc/opendkim/signer.conf")
    salt.set_pillar(machine, pillar)
    gone = salt.apply(machine, "dkim.clean")
    assert gone.succeeded, str(gone)
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
