"""The formula's main functions on older releases of Salt. All other files test the newest one."""

from collections.abc import Iterator, Mapping

import pytest
from support import mail, salt
from support.machine import CommandFailed, Machine, salts

pytestmark = pytest.mark.one_release(salts.RELEASE)

# A minion's default configuration directory. In this file bin/highstate uses it too.
CONFIG = "/etc/salt"
TEXTFILE = "/var/lib/prometheus/node-exporter/dkim.prom"
PILLAR = {
    "dkim": {
        "domains": {"example.com": {}, "example.org": {"algorithm": "ed25519"}},
        "postfix": {"milter_default_action": "tempfail"},
        "rotation": {"schedule": "1h"},
        "monitoring": {
            "beacon": True,
            "textfile": "/var/lib/prometheus/node-exporter",
            "every": "1s",
            "down_for": "0s",
            # Nothing serves DNS on this machine, so each query would wait for its timeout.
            "dns_every": False,
        },
        "lookup": {"python_wheels": "/srv/wheels"},
    }
}
MINION = """\
[Service]
Environment=PYTHONWARNINGS=ignore
ExecStart=/opt/salt/bin/salt-minion
"""


@pytest.fixture(scope="module", params=salts.VERSIONS)
def machine(release: str, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A machine with that release of Salt and packages, but without an index of Python packages."""
    with Machine(release, layers=salts.layers(request.param), warm_salt=True) as fresh:
        found = fresh.run(["/opt/salt/bin/salt-call", "--version"]).stdout
        assert request.param in found
        fresh.run("rm /etc/pip.conf")
        salt.install_formula(fresh, PILLAR)
        yield fresh


@pytest.fixture(scope="module")
def runs(machine: Machine) -> Mapping[str, salt.Run]:
    """The results of three consecutive runs."""
    return {
        "announced": salt.apply(machine, test=True, minion=CONFIG),
        "applied": salt.apply(machine, minion=CONFIG),
        "again": salt.apply(machine, minion=CONFIG),
    }


@pytest.fixture(scope="module")
def signing(machine: Machine, runs: Mapping[str, salt.Run]) -> Machine:
    assert runs["applied"].succeeded, str(runs["applied"])
    return machine


def assert_signed(machine: Machine, *domains: str) -> None:
    records = {one["name"]: one["value"] for one in salt.call(machine, "dkim.records")}
    box = mail.Mailbox(machine)
    for domain in domains:
        message = mail.sent_by_smtp(box, f"someone@{domain}")
        assert [one.valid for one in mail.signatures(machine, message, records)] == [True]


def test_run_touches_what_was_announced(runs: Mapping[str, salt.Run]) -> None:
    announced, applied = runs["announced"], runs["applied"]
    assert announced.succeeded, str(announced)
    assert applied.succeeded, str(applied)
    touched = {one.id for one in (*announced.changed, *announced.would_change)}
    assert {one.id for one in applied.changed} <= touched


def test_python_packages_come_from_the_folder_of_wheels(runs: Mapping[str, salt.Run]) -> None:
    state = runs["applied"]["Salt's Python has the PostgreSQL driver"]
    assert "psycopg2-binary" in str(state.changes)


def test_second_run_changes_nothing(runs: Mapping[str, salt.Run]) -> None:
    assert runs["again"].succeeded, str(runs["again"])
    assert runs["again"].changed == []


def test_mail_is_signed(signing: Machine) -> None:
    assert_signed(signing, "example.com", "example.org")


def test_check_and_doctor_find_no_problem(signing: Machine) -> None:
    assert salt.call(signing, "dkim.check")["problems"] == []
    _, found = salt.ask(signing, "dkim.doctor")
    # The records are not published, and a container does not set its own clock.
    assert {one["check"] for one in found if one["ok"] is False} <= {"DNS"}, found


def test_key_is_rotated_and_the_new_one_signs(signing: Machine) -> None:
    done = salt.call(signing, "dkim.rotate", "example.com", selector="next", force=True)
    assert done["changes"]["next._domainkey.example.com"]["new"] == "active"
    results = salt.call(signing, "dkim.selftest", "example.com")
    assert [(one["selector"], one["verified_by_database"]) for one in results] == [("next", True)]
    assert_signed(signing, "example.com")


def test_wrong_argument_and_wrong_pillar_are_reported_by_name(signing: Machine) -> None:
    with pytest.raises(CommandFailed, match="no key with the selector"):
        salt.call(signing, "dkim.retire", "example.com", "never", force=True)
    wrong = {"dkim": {**PILLAR["dkim"], "rotation": {"every": "5y"}}}
    run = salt.apply(signing, "dkim.rotation", pillar=wrong, minion=CONFIG)
    salt.set_pillar(signing, PILLAR)
    assert "dkim:rotation:every" in str(run)
    assert run.changed == []


@pytest.mark.soak
def test_metrics_are_written(signing: Machine) -> None:
    signing.wait_for(f"grep -q '^dkim_service_up.* 1$' {TEXTFILE}")


@pytest.mark.soak
def test_beacon_reports_a_stopped_daemon(signing: Machine) -> None:
    reported = f"{CONFIG}/cache/dkim-health/reported.json"
    signing.write(f"{CONFIG}/minion.d/alone.conf", "master_type: disable\n")
    signing.write("/etc/systemd/system/salt-minion.service", MINION)
    signing.run("systemctl daemon-reload && systemctl start salt-minion")
    signing.wait_for(f"test -e {CONFIG}/cache/dkim-health/results.json")
    signing.run("systemctl stop opendkim")
    signing.wait_for(f"grep -q opendkim {reported}")
    signing.run("systemctl start opendkim")
    signing.wait_for(f"! grep -q '\"service' {reported}")
