"""The beacon in a running minion, and the timer's metrics, on a machine with problems."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from support import faults, salt, server
from support.exposition import parse
from support.machine import Machine
from support.share import short_form

# One release is enough; `bin/test soak` runs this file on both.
pytestmark = pytest.mark.one_release("trixie")

# The packages are installed: this file does not test their installation.
EQUIPPED = True

# A minion's default configuration directory. In this file bin/highstate uses it too.
CONFIG = "/etc/salt"
TEXTFILE = "/var/lib/prometheus/node-exporter/dkim.prom"
HEARD = "/root/heard"

MONITORING = {
    "beacon": True,
    "textfile": "/var/lib/prometheus/node-exporter",
    # The timer writes its first file at once. The tests request all later files, to save time.
    "textfile_every": "1h",
    "every": "1s",
    "database_every": "1s",
    # Nothing serves DNS on this machine, so each query would wait for its timeout.
    "dns_every": False,
    "down_for": "0s",
}
PILLAR = {"dkim": {"domains": {"example.com": {}}, "monitoring": MONITORING}}

MINION = """\
[Service]
Environment=PYTHONWARNINGS=ignore
ExecStart=/opt/salt/bin/salt-minion
"""
# Events for a master pass the minion's own event bus first, so that is where the test listens.
LISTENER = f"""\
import json, salt.config, salt.utils.event
options = salt.config.minion_config("{CONFIG}/minion")
with salt.utils.event.get_event("minion", opts=options, listen=True) as bus:
    with open("{HEARD}", "w") as heard:
        while True:
            event = bus.get_event(wait=1, full=True, tag="__beacons_return")
            for one in (event or {{"data": {{"beacons": []}}}})["data"]["beacons"]:
                print(json.dumps(one), file=heard, flush=True)
"""


class Site:
    """A mail host with a minion without a master, and a program that records its events."""

    def __init__(self, machine: Machine):
        self.machine = machine
        self.ignored = 0

    def apply(
        self, state: str = "state.highstate", test: bool = False, **monitoring: object
    ) -> salt.Run:
        pillar = {"dkim": {**PILLAR["dkim"], "monitoring": {**MONITORING, **monitoring}}}
        run = salt.apply(self.machine, state, test, pillar, minion=CONFIG)
        assert run.succeeded, str(run)
        return run

    def wait_for_event(self, kind: str, change: str) -> Mapping[str, Any]:
        """Wait for an event of a kind that is not ignored, and return its data."""
        found: list[Mapping[str, Any]] = []

        def heard() -> bool:
            events = [json.loads(line) for line in self.machine.read(HEARD).splitlines()]
            found[:] = [
                event
                for event in events[self.ignored :]
                if event["tag"].endswith(f"/dkim_health/{kind}/{change}")
            ]
            return bool(found)

        self.machine.wait_for(heard, deadline=90, what=f"an event {kind}/{change}")
        return found[0]["data"]

    def ignore_past_events(self) -> None:
        """Ignore all events until now."""
        self.ignored = len(self.machine.read(HEARD).splitlines())

    def new_metrics(self) -> Mapping[str, Mapping[tuple, float]]:
        """Write the metrics by the timer's service, and return them."""
        self.machine.run("systemctl start dkim-metrics.service")
        return parse(self.machine.read(TEXTFILE))


@pytest.fixture(scope="module")
def site(machine: Machine) -> Iterator[Site]:
    """A machine without faults, whose minion runs and has sent its first events."""
    salt.install_formula(machine, PILLAR)
    machine.write(f"{CONFIG}/minion.d/alone.conf", "master_type: disable\n")
    machine.write("/etc/systemd/system/salt-minion.service", MINION)
    machine.write("/root/listen.py", LISTENER)
    site = Site(machine)
    # No minion runs yet: the minion will start with these settings.
    site.apply()
    server.sql(
        machine,
        "CREATE TABLE domains (id serial PRIMARY KEY, domain text UNIQUE);"
        " INSERT INTO domains (domain) VALUES ('example.com')",
    )
    site.apply()
    machine.run("systemctl daemon-reload && systemctl start salt-minion")
    machine.wait_for(f"ls {CONFIG}/run/minion_event_*_pub.ipc")
    machine.run("systemd-run --unit=listen /opt/salt/bin/python /root/listen.py")
    machine.wait_for(f"test -e {HEARD} && test -e {CONFIG}/cache/dkim-health/results.json")
    return site


@pytest.mark.parametrize(
    ("cause", "repair", "kinds"),
    short_form(
        [
            ("systemctl stop opendkim", "systemctl start opendkim", ["service", "socket"]),
            (
                "rm /var/spool/postfix/opendkim/opendkim.sock",
                "systemctl restart opendkim",
                ["socket"],
            ),
            (faults.STOP, faults.START, ["database"]),
            (
                "runuser -u postgres -- psql -d vmail -c"
                " \"INSERT INTO domains (domain) VALUES ('new.example')\"",
                "runuser -u postgres -- psql -d vmail -c"
                " \"DELETE FROM domains WHERE domain = 'new.example'\"",
                ["unsigned"],
            ),
            (
                "runuser -u postgres -- psql -d vmail -c"
                " \"UPDATE dkim SET activated_at = now() - interval '200 days'\"",
                "runuser -u postgres -- psql -d vmail -c 'UPDATE dkim SET activated_at = now()'",
                ["key-age"],
            ),
        ],
        2,
    ),
)
def test_beacon_sends_an_event_when_a_problem_starts_and_when_it_is_resolved(
    site: Site, cause: str, repair: str, kinds: list[str]
):
    site.ignore_past_events()
    site.machine.run(cause)
    for kind in kinds:
        event = site.wait_for_event(kind, "started")
        assert event["message"]
        assert event["remedy"]
    site.machine.run(repair)
    for kind in kinds:
        site.wait_for_event(kind, "resolved")


@pytest.mark.soak
def test_beacon_repeats_no_event_after_a_restart_of_the_minion(site: Site):
    site.machine.run("systemctl stop opendkim")
    site.wait_for_event("service", "started")
    site.ignore_past_events()
    site.machine.run(f"systemctl restart salt-minion && {faults.STOP}")
    site.wait_for_event("database", "started")
    site.machine.run(f"{faults.START}; systemctl start opendkim")
    site.wait_for_event("service", "resolved")
    lines = site.machine.read(HEARD).splitlines()[site.ignored :]
    tags = [json.loads(line)["tag"] for line in lines]
    assert not [tag for tag in tags if tag.endswith("/service/started")]


def test_timer_writes_metrics_by_itself(site: Site):
    site.machine.wait_for(f"test -s {TEXTFILE}")
    assert site.machine.run(["stat", "-c", "%a %U", TEXTFILE]).stdout == "644 root\n"


def test_metrics_agree_with_the_events(site: Site):
    site.machine.run("systemctl stop opendkim")
    metrics = site.new_metrics()
    assert metrics["dkim_service_up"][(("service", "opendkim"),)] == 0
    assert metrics["dkim_problems"][(("check", "service"),)] == 1
    site.machine.run("systemctl start opendkim")
    metrics = site.new_metrics()
    assert metrics["dkim_problems"][(("check", "service"),)] == 0
    assert metrics["dkim_keys"] == {(("algorithm", "rsa"), ("state", "active")): 1}


def test_health_checks_write_no_line_to_the_mail_log(site: Site):
    log = site.machine.run("journalctl --no-pager --identifier=postfix/postfix-script").stdout
    assert "is running: PID" not in log


def test_second_run_changes_nothing(site: Site):
    assert site.apply("dkim.monitoring").changed == []


@pytest.mark.soak
def test_disabled_beacon_and_metrics_are_removed_and_can_be_enabled_again(site: Site):
    off = {"beacon": False, "textfile": False}
    announced = site.apply("dkim.monitoring", test=True, **off)
    done = site.apply("dkim.monitoring", **off)
    assert {one.id for one in announced.would_change} == {one.id for one in done.changed}
    paths = [TEXTFILE, f"{CONFIG}/minion.d/dkim-health.conf"]
    paths += [f"/etc/systemd/system/dkim-metrics.{kind}" for kind in ("service", "timer")]
    assert [path for path in paths if site.machine.exists(path)] == []
    # The running minion has unloaded the beacon.
    assert "dkim_health" not in beacons(site)
    site.apply("dkim.monitoring")
    assert "dkim_health" in beacons(site)
    site.machine.wait_for(f"test -e {TEXTFILE}")


def test_clean_leaves_no_beacon_and_no_metrics(site: Site):
    site.apply("dkim.monitoring.clean")
    left = f"ls {TEXTFILE} {CONFIG}/minion.d/dkim-health.conf /etc/systemd/system/dkim-metrics.*"
    assert site.machine.run(left, check=False).stdout == ""
    assert "dkim_health" not in beacons(site)


def beacons(site: Site) -> Mapping[str, object]:
    command = f"/opt/salt/bin/salt-call --local --config-dir {CONFIG} --out json beacons.list"
    output = site.machine.run(f"{command} return_yaml=False").stdout
    return json.loads(output)["local"] or {}
