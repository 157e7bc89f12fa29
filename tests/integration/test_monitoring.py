"""A beacon in a minion that runs, and metrics that a timer writes, on a machine with problems."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from support import faults, salt, server
from support.exposition import parse
from support.machine import Machine

# One release tells; `bin/test soak` runs it on both.
pytestmark = pytest.mark.one_release("trixie")

# The machine has the packages: this file is not about installing.
EQUIPPED = True
WARM = True

# Where a minion has its configuration, and bin/highstate puts it for this file.
CONFIG = "/etc/salt"
TEXTFILE = "/var/lib/prometheus/node-exporter/dkim.prom"
HEARD = "/root/heard"

MONITORING = {
    "beacon": True,
    "textfile": "/var/lib/prometheus/node-exporter",
    # The timer's first file comes at once; later ones are asked for here, to save the cores.
    "textfile_every": "1h",
    "every": "1s",
    "database_every": "1s",
    # Nothing serves DNS on this machine, and a look takes its time.
    "dns_every": False,
    "down_for": "0s",
}
PILLAR = {"dkim": {"domains": {"example.com": {}}, "monitoring": MONITORING}}

MINION = """\
[Service]
Environment=PYTHONWARNINGS=ignore
ExecStart=/opt/salt/bin/salt-minion
"""
# What the minion sends to a master, where it has one, goes over its own event bus first.
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
    """A mail host with a minion that has no master, and somebody who listens to its events."""

    def __init__(self, machine: Machine):
        self.machine = machine
        self.told = 0

    def apply(
        self, state: str = "state.highstate", test: bool = False, **monitoring: object
    ) -> salt.Run:
        pillar = {"dkim": {**PILLAR["dkim"], "monitoring": {**MONITORING, **monitoring}}}
        run = salt.apply(self.machine, state, test, pillar, minion=CONFIG)
        assert run.succeeded, str(run)
        return run

    def wait_for_event(self, kind: str, change: str) -> Mapping[str, Any]:
        """The next event of that kind that has not been waited for yet."""
        found: list[Mapping[str, Any]] = []

        def heard() -> bool:
            events = [json.loads(line) for line in self.machine.read(HEARD).splitlines()]
            found[:] = [
                event
                for event in events[self.told :]
                if event["tag"].endswith(f"/dkim_health/{kind}/{change}")
            ]
            return bool(found)

        self.machine.wait_for(heard, deadline=90, what=f"an event {kind}/{change}")
        return found[0]["data"]

    def forget(self) -> None:
        """Only what is told from now on counts."""
        self.told = len(self.machine.read(HEARD).splitlines())

    def new_metrics(self) -> Mapping[str, Mapping[tuple, float]]:
        """Written now, by the timer's own service."""
        self.machine.run("systemctl start dkim-metrics.service")
        return parse(self.machine.read(TEXTFILE))


@pytest.fixture(scope="module")
def site(machine: Machine) -> Iterator[Site]:
    """A machine in order, with the minion up and the first events past."""
    salt.install_formula(machine, PILLAR)
    machine.write(f"{CONFIG}/minion.d/alone.conf", "master_type: disable\n")
    machine.write("/etc/systemd/system/salt-minion.service", MINION)
    machine.write("/root/listen.py", LISTENER)
    site = Site(machine)
    # No minion runs yet: this is what the first one starts with.
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
    ("broken", "mended", "kinds"),
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
)
def test_problem_is_told_when_it_begins_and_when_it_ends(
    site: Site, broken: str, mended: str, kinds: list[str]
):
    site.forget()
    site.machine.run(broken)
    for kind in kinds:
        event = site.wait_for_event(kind, "started")
        assert event["message"]
        assert event["remedy"]
    site.machine.run(mended)
    for kind in kinds:
        site.wait_for_event(kind, "resolved")


def test_restarted_minion_runs_the_beacon_and_tells_nothing_twice(site: Site):
    site.machine.run("systemctl stop opendkim")
    site.wait_for_event("service", "started")
    site.forget()
    site.machine.run(f"systemctl restart salt-minion && {faults.STOP}")
    site.wait_for_event("database", "started")
    site.machine.run(f"{faults.START}; systemctl start opendkim")
    site.wait_for_event("service", "resolved")
    told = [json.loads(line)["tag"] for line in site.machine.read(HEARD).splitlines()[site.told :]]
    assert not [tag for tag in told if tag.endswith("/service/started")]


def test_timer_writes_metrics_by_itself(site: Site):
    site.machine.wait_for(f"test -s {TEXTFILE}")
    assert site.machine.run(["stat", "-c", "%a %U", TEXTFILE]).stdout == "644 root\n"


def test_metrics_say_what_the_events_say(site: Site):
    site.machine.run("systemctl stop opendkim")
    metrics = site.new_metrics()
    assert metrics["dkim_service_up"][(("service", "opendkim"),)] == 0
    assert metrics["dkim_problems"][(("check", "service"),)] == 1
    site.machine.run("systemctl start opendkim")
    metrics = site.new_metrics()
    assert metrics["dkim_problems"][(("check", "service"),)] == 0
    assert metrics["dkim_keys"] == {(("algorithm", "rsa"), ("state", "active")): 1}


def test_no_look_leaves_a_line_in_the_mail_log(site: Site):
    log = site.machine.run("journalctl --no-pager --identifier=postfix/postfix-script").stdout
    assert "is running: PID" not in log


def test_second_run_changes_nothing(site: Site):
    assert site.apply("dkim.monitoring").changed == []


def test_what_is_wanted_no_more_goes_and_comes_back(site: Site):
    off = {"beacon": False, "textfile": False}
    announced = site.apply("dkim.monitoring", test=True, **off)
    done = site.apply("dkim.monitoring", **off)
    assert {one.id for one in announced.would_change} == {one.id for one in done.changed}
    paths = [TEXTFILE, f"{CONFIG}/minion.d/dkim-health.conf"]
    paths += [f"/etc/systemd/system/dkim-metrics.{kind}" for kind in ("service", "timer")]
    assert [path for path in paths if site.machine.exists(path)] == []
    # A minion that runs has heard of it.
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
