"""A fleet under a real Salt master, by the commands of docs/many-machines.md."""

import json
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress

import pytest
from support import faults, mail, server, zones
from support import fleet as fleets
from support.fleet import DATABASE, DOMAINS, MAIL1, MAIL2, MINIONS, NS, STANDBY, Fleet
from support.machine import ROOT, CommandFailed, Machine, NotInTime, salts
from support.traffic import Steady

# The older release of Salt is on this one; `bin/test soak` has no other.
pytestmark = pytest.mark.one_release(salts.RELEASE)

PAGE = (ROOT / "docs" / "many-machines.md").read_text(encoding="utf-8")
FILE = re.compile(r"^```yaml\n# (/srv/\S+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILES = dict(FILE.findall(PAGE))
COMMANDS = "\n".join(re.findall(r"^```bash\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
MONITORING = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
REACTOR_FILE = "/etc/salt/master.d/dkim-reactor.conf"
(REACTOR,) = re.findall(
    rf"^```yaml\n# {REACTOR_FILE}\n(.*?)^```$", MONITORING, re.DOTALL | re.MULTILINE
)
TOP = "/srv/pillar/top.sls"
FOR_MAIL = "/srv/pillar/dkim/mail.sls"
PASSWORD = "from-gpg-or-vault"

STOPPED = "It stopped at the first step that failed"
# What a run may touch on a mail host.
STATE = (
    "find /etc /usr/local/lib -type f -not -path '/etc/salt/*' | sort | xargs -d '\\n' md5sum; "
    "systemctl show --property=InvocationID opendkim opendkim-watchdog postfix"
)
# Salt writes a new file beside the old one; on a full disk it leaves the new one, empty.
LEFT_BY_SALT = re.compile(
    r"^d41d8cd98f00b204e9800998ecf8427e  /etc/opendkim\.conf\w{8}\n", re.MULTILINE
)
# Only the second mail host has it; all hosts have the change of a setting beside it.
BROKEN = {
    "a slip in the pillar": (
        "database: {sslrootcertt: /etc/ssl/certs/site-authority.pem}",
        "did you mean 'sslrootcert'?",
    ),
    "another authority": (
        "database: {sslrootcert: /etc/ssl/certs/strangers-authority.pem}",
        "certificate verify failed",
    ),
    "no route": ("{}", "No route to host"),
    "no space": ("{}", "No space left on device"),
}
# What brings a fault about on the second mail host, and what ends it. For a full disk /etc is a
# small file system with the same content for a while.
ROUTES = "; ".join(
    f"ip route {{action}} unreachable {fleets.NAMES[name]}/32" for name in (DATABASE, STANDBY)
)
BEGIN = {
    "no route": ROUTES.format(action="add"),
    "no space": "mkdir /run/full && mount -t tmpfs -o size=64m tmpfs /run/full && "
    "cp -a /etc/. /run/full && mount --bind /run/full /etc && "
    "! dd if=/dev/zero of=/etc/salt/filler bs=1k 2>/dev/null",
}
END = {"no route": ROUTES.format(action="delete"), "no space": "rm /etc/salt/filler"}
AWAY = {"no space": "umount --lazy /etc /run/full && rmdir /run/full"}
TEXTFILE = "/var/lib/prometheus/node-exporter/dkim.prom"
PUBLISHER = "/srv/pillar/dkim/publisher.sls"
# As if a month had passed since, for keys as for standby servers.
LATER = """
SET session_replication_role = replica;
UPDATE dkim SET retired_at = retired_at - interval '30 days' WHERE state = 'retired';
UPDATE dkim_replica
   SET mark_at = mark_at - interval '30 days', reached_at = reached_at - interval '30 days';
"""
# So many seconds' worth of settings: another value for each fault, so that each has a change.
LIFETIMES = dict(zip(BROKEN, (604800, 691200, 777600, 864000), strict=True))


@pytest.fixture(scope="module")
def site(release: str) -> Iterator[Fleet]:
    """The machines, with the page's files on the master."""
    with fleets.fleet(release) as site:
        for path, text in FILES.items():
            site.master.write(path, text)
        yield site


@pytest.fixture(scope="module")
def plan(site: Fleet) -> fleets.Orchestration:
    """What the fleet is told before the first run, with every host's state before and after."""
    page(site, "salt-run saltutil.sync_all")
    before = {name: server.state(site[name]).etc for name in MINIONS}
    found = fleets.orchestrate(site, "rollout", test=True)
    assert {name: server.state(site[name]).etc for name in MINIONS} == before
    return found


@pytest.fixture(scope="module")
def signing(site: Fleet, plan: fleets.Orchestration) -> Mapping[str, mail.Mailbox]:
    """Both mail hosts after the first roll-out."""
    done = fleets.orchestrate(site, "rollout")
    assert done.status == 0, str(done)
    assert done.failed == []
    assert set(done.changed) <= {*plan.changed, "Every host's settings are sound"}
    return {name: mail.Mailbox(site[name]) for name in (MAIL1, MAIL2)}


def page(site: Fleet, command: str) -> str:
    """What a command of the page prints on the master."""
    assert command in COMMANDS.splitlines(), f"docs/many-machines.md has no command {command!r}"
    return site.master.run(command, timeout=600).stdout


def restart_master(site: Fleet) -> None:
    """Return when the master has its new configuration and every minion is back."""
    site.master.run("systemctl restart salt-master")
    for name in MINIONS:
        site.master.wait_for(f"salt --timeout=2 {name} test.ping | grep -q True", 180)


def versions(site: Fleet) -> dict[str, str]:
    """The formula's version on each host, as the overview shows it."""
    found = json.loads(site.master.run("salt-run --out=json dkim.fleet format=data").stdout)
    return {one["id"]: one["report"]["formula"] for one in found["hosts"]}


def records(site: Fleet) -> dict[str, str]:
    """The records as the name server has them."""
    found: dict[str, str] = {}
    for domain in DOMAINS:
        found |= zones.key_records(site[NS], domain)
    return found


def signers(site: Fleet, box: mail.Mailbox) -> set[tuple[str, str]]:
    """Domain and selector of the one good signature of a message from each domain."""
    found = set()
    for domain in DOMAINS:
        message = mail.sent_by_smtp(box, f"someone@{domain}")
        (one,) = mail.signatures(box.machine, message, records(site))
        assert one.valid, str(one)
        found.add((one.domain, one.selector))
    return found


def test_plan_shows_each_step_and_changes_nothing(plan: fleets.Orchestration) -> None:
    assert plan.status == 0, str(plan)
    assert [name for name in plan.steps if name.endswith("signs")] == [
        f"{MAIL1} signs",
        f"{MAIL2} signs",
    ]
    assert f"{MAIL2} has the settings" in plan.changed


def test_one_command_has_both_mail_hosts_sign_with_the_same_keys(
    site: Fleet, signing: Mapping[str, mail.Mailbox]
) -> None:
    found = [signers(site, box) for box in signing.values()]
    assert found == [{(domain, "default") for domain in DOMAINS}] * 2


def test_second_command_changes_nothing(site: Fleet, signing: Mapping[str, mail.Mailbox]) -> None:
    again = fleets.orchestrate(site, "rollout")
    assert again.status == 0, str(again)
    assert again.changed == []


def test_secret_reaches_the_hosts_that_need_it_alone(site: Fleet) -> None:
    shown = {
        name: site.master.run(f"salt-run --out=json pillar.show_pillar {name}").stdout
        for name in MINIONS
    }
    assert f"salt-run pillar.show_pillar {MAIL1}" in COMMANDS
    with_password = {name for name, text in shown.items() if PASSWORD in text}
    assert with_password == {DATABASE, STANDBY, MAIL1, MAIL2}
    assert {name for name, text in shown.items() if zones.SECRET in text} == {DATABASE}


def test_one_look_shows_every_host(site: Fleet, signing: Mapping[str, mail.Mailbox]) -> None:
    told = page(site, "salt-run dkim.fleet")
    for name in (DATABASE, STANDBY, MAIL1, MAIL2):
        assert name in told
    found = json.loads(site.master.run("salt-run --out=json dkim.fleet format=data").stdout)
    hosts = {one["id"]: one for one in found["hosts"]}
    assert hosts[MAIL2]["salt"] == salts.VERSIONS[0]
    for name in (MAIL1, MAIL2):
        report = hosts[name]["report"]
        assert report["daemons"] == {"opendkim": True}
        assert set(report["sockets"].values()) == {True}
        assert report["database"]["host"] == DATABASE
        assert report["selftest"]["ok"]
        assert report["problems"] == []
    standby = hosts[STANDBY]["report"]["database"]
    assert (standby["standby"], standby["problem"]) == (True, "")
    assert found["problems"] == []
    assert PASSWORD not in json.dumps(found)


def test_one_look_names_what_is_wrong(site: Fleet, signing: Mapping[str, mail.Mailbox]) -> None:
    site[MAIL1].run("systemctl stop opendkim")
    site[MAIL2].run("systemctl stop salt-minion")
    told = page(site, "salt-run dkim.fleet")
    site[MAIL1].run("systemctl start opendkim")
    site[MAIL2].run("systemctl start salt-minion")
    lines = told.splitlines()
    assert any(line.startswith(MAIL1) and "DOWN: opendkim" in line for line in lines), told
    assert any(line.startswith(f"{MAIL2}: ") and "does not answer" in line for line in lines), told
    site.master.wait_for(f"salt --timeout=2 {MAIL2} test.ping | grep -q True")


@pytest.mark.parametrize("fault", BROKEN)
def test_fault_of_one_mail_host_stays_there(
    site: Fleet, signing: Mapping[str, mail.Mailbox], fault: str
) -> None:
    """The roll-out of a change stops; the first host signs on, the second is as it was."""
    slip, word = BROKEN[fault]
    setting = f"  opendkim: {{settings: {{SignatureTTL: {LIFETIMES[fault]}}}}}\n"
    site.master.write(FOR_MAIL, FILES[FOR_MAIL] + setting)
    site.master.write("/srv/pillar/dkim/slip.sls", f"dkim:\n  {slip}\n" if slip != "{}" else "{}\n")
    site.master.write(TOP, f"{FILES[TOP]}  'mail2*':\n    - dkim.slip\n")
    before = site[MAIL2].run(STATE).stdout
    site[MAIL2].run(BEGIN.get(fault, "true"))
    try:
        done = fleets.orchestrate(site, "rollout")
    finally:
        site[MAIL2].run(END.get(fault, "true"))
        site.master.write(TOP, FILES[TOP])
    assert done.status == 1
    assert word in str(done)
    assert done.steps[STOPPED]["comment"].startswith("The hosts of all later steps")
    assert done.steps[f"{MAIL2} signs"]["result"] is False
    assert LEFT_BY_SALT.sub("", site[MAIL2].run(STATE).stdout) == before
    site[MAIL2].run(AWAY.get(fault, "true"))
    for box in signing.values():
        assert signers(site, box)


def test_roll_out_goes_on_when_the_cause_is_gone(
    site: Fleet, signing: Mapping[str, mail.Mailbox]
) -> None:
    done = fleets.orchestrate(site, "rollout")
    assert done.status == 0, str(done)
    assert f"{MAIL2} has the settings" in done.changed
    lifetime = str(list(LIFETIMES.values())[-1])
    for name, box in signing.items():
        assert lifetime in site[name].read("/etc/opendkim.conf")
        assert signers(site, box)


def test_rotation_on_the_database_host_is_one_on_both_mail_hosts(
    site: Fleet, signing: Mapping[str, mail.Mailbox]
) -> None:
    publisher = "/srv/pillar/dkim/publisher.sls"
    site.master.write(publisher, FILES[publisher] + "  rotation: {margin: 0s}\n")
    page(site, "salt db1.example.net dkim.rotate example.com")
    states = "SELECT count(*) FROM dkim WHERE domain = 'example.com' AND state = 'retired'"

    def switched() -> bool:
        done = fleets.orchestrate(site, "rotate")
        assert done.status == 0, str(done)
        return server.sql(site[DATABASE], states) == "1"

    site.master.wait_for(switched, 180, "the new key of example.com signs")
    found = [dict(signers(site, box)) for box in signing.values()]
    assert found[0] == found[1]
    assert found[0]["example.com"] != "default"


def resume(site: Fleet) -> None:
    """The standby replays again. What comes in then may end the very session that asked for it."""
    with suppress(CommandFailed):
        server.sql(site[STANDBY], "SELECT pg_wal_replay_resume()")

    def replays() -> bool:
        with suppress(CommandFailed):
            return server.sql(site[STANDBY], "SELECT pg_is_wal_replay_paused()") == "f"
        return False

    site[STANDBY].wait_for(replays, 60, "the standby replays")


@pytest.fixture
def apart(site: Fleet, signing: Mapping[str, mail.Mailbox]) -> Iterator[None]:
    """Mail host 2 reads the standby, which stands still; timers run, and the master is away."""
    site.master.write(PUBLISHER, FILES[PUBLISHER] + "  rotation: {margin: 0s, schedule: 2s}\n")
    timer = "  monitoring: {textfile: /var/lib/prometheus/node-exporter, textfile_every: 2s}\n"
    site.master.write(FOR_MAIL, FILES[FOR_MAIL] + timer)
    done = fleets.orchestrate(site, "rollout")
    assert done.status == 0, str(done)
    server.sql(site[STANDBY], "SELECT pg_wal_replay_pause()")
    route = f"ip route {{}} unreachable {fleets.NAMES[DATABASE]}/32"
    site[MAIL2].run(f"{route.format('add')}; systemctl restart opendkim")
    site.master.run(f"salt --timeout=60 {DATABASE} dkim.rotate example.org")
    site.master.run("systemctl stop salt-master")
    site[DATABASE].run("systemctl restart salt-minion")
    yield
    site[MAIL2].run(f"{route.format('delete')}; systemctl restart opendkim")
    resume(site)
    site.master.write(PUBLISHER, FILES[PUBLISHER])
    restart_master(site)


@pytest.mark.usefixtures("apart")
def test_due_work_needs_no_master_and_waits_for_a_standby_that_stands_still(
    site: Fleet, signing: Mapping[str, mail.Mailbox]
) -> None:
    count = "SELECT count(*) FROM dkim WHERE domain = 'example.org' AND state = '{}'"
    primary = site[DATABASE]
    primary.wait_for(lambda: server.sql(primary, count.format("retired")) == "1", 180)
    site[MAIL1].run(f"rm -f {TEXTFILE}")
    site[MAIL1].wait_for(f"test -s {TEXTFILE}")
    found = {name: dict(signers(site, box))["example.org"] for name, box in signing.items()}
    assert found[MAIL1] != "default"
    assert found[MAIL2] == "default"
    server.sql(primary, LATER)
    primary.wait_for("journalctl -u dkim-rotation | grep -q 'not seen to have replayed'", 180)
    assert server.sql(primary, count.format("retired")) == "1"
    assert dict(signers(site, signing[MAIL2]))["example.org"] == "default"
    resume(site)
    site[MAIL2].wait_for(
        lambda: dict(signers(site, signing[MAIL2]))["example.org"] == found[MAIL1], 180
    )
    unreached = "SELECT count(*) FROM dkim_replica WHERE reached_at IS NULL"
    primary.wait_for(lambda: server.sql(primary, unreached) == "0", 180)
    server.sql(primary, LATER)
    primary.wait_for(lambda: server.sql(primary, count.format("revoked")) == "1", 180)
    for box in signing.values():
        assert dict(signers(site, box))["example.org"] == found[MAIL1]


def test_minions_of_two_tags_work_side_by_side_until_all_are_updated(
    site: Fleet, signing: Mapping[str, mail.Mailbox]
) -> None:
    """The next tag is on one mail host first, then on all."""
    old, new = (tag.removeprefix("v") for tag in fleets.TAGS)
    assert set(versions(site).values()) == {old}
    fleets.at_tag(site.master, fleets.TAGS[1])
    restart_master(site)
    site.master.run(f"salt --timeout=60 {MAIL2} saltutil.sync_all", timeout=300)
    assert versions(site) == {DATABASE: old, STANDBY: old, MAIL1: old, MAIL2: new}
    assert all(signers(site, box) for box in signing.values())
    page(site, "salt-run saltutil.sync_all")
    page(site, "salt-run dkim.hosts")
    done = fleets.orchestrate(site, "rollout")
    assert done.status == 0, str(done)
    assert set(versions(site).values()) == {new}
    assert all(signers(site, box) for box in signing.values())


def test_minion_that_is_behind_the_database_changes_nothing_and_signs(
    site: Fleet, signing: Mapping[str, mail.Mailbox]
) -> None:
    keys = "SELECT domain, selector, state FROM dkim ORDER BY 1, 2"
    before = server.sql(site[DATABASE], keys)
    server.sql(site[DATABASE], "INSERT INTO dkim_migration VALUES (2, 'of a newer release')")
    try:
        told = site.master.run(f"salt --timeout=60 {DATABASE} dkim.rotate example.com", check=False)
        done = fleets.orchestrate(site, "rollout")
        word = "the database has migration 2, made by a newer formula"
        assert word in told.stdout
        assert done.status == 1
        assert word in str(done)
        assert server.sql(site[DATABASE], keys) == before
        assert all(signers(site, box) for box in signing.values())
    finally:
        server.sql(site[DATABASE], "DELETE FROM dkim_migration WHERE number = 2")


@pytest.fixture
def reacting(site: Fleet, signing: Mapping[str, mail.Mailbox]) -> Iterator[None]:
    """The reactor of the guide on the master, and beacons that look each second or two."""
    often = "every: 2s, down_for: 1s, dns_every: 2s, differs_for: 1s"
    beacon = f"  monitoring: {{beacon: true, {often}}}\n"
    site.master.write(PUBLISHER, FILES[PUBLISHER] + beacon)
    site.master.write(FOR_MAIL, FILES[FOR_MAIL] + beacon)
    recipient = "postmaster@example.net"
    assert recipient in REACTOR
    text = REACTOR.replace(recipient, signing[MAIL1].address)
    site.master.write(REACTOR_FILE, text)
    restart_master(site)
    done = fleets.orchestrate(site, "rollout")
    assert done.status == 0, str(done)
    yield
    site.master.run(["rm", REACTOR_FILE])
    restart_master(site)


@pytest.mark.usefixtures("reacting")
def test_master_answers_an_event_by_mending_publishing_and_mail(
    site: Fleet, signing: Mapping[str, mail.Mailbox]
) -> None:
    site[MAIL1].run("systemctl stop opendkim")
    site[MAIL1].wait_for("systemctl is-active opendkim", 180, "the daemon is started again")
    assert signing[MAIL1].wait_for(f"DKIM at {MAIL1} service started")
    before = records(site)
    for name in before:
        zones.update(site[NS], f"delete {name} TXT")
    assert records(site) == {}
    site[NS].wait_for(lambda: records(site) == before, 180, "the records are published again")
    assert signers(site, signing[MAIL1])


def test_minion_that_lost_its_pillar_changes_nothing(
    site: Fleet, signing: Mapping[str, mail.Mailbox]
) -> None:
    before = site[MAIL1].run(STATE).stdout
    site.master.write(TOP, f"base:\n  '{DATABASE}':\n    - dkim\n")
    try:
        with pytest.raises(CommandFailed, match="the pillar of this minion is empty"):
            site[MAIL1].run("salt-call --retcode-passthrough state.apply dkim.mail", timeout=300)
    finally:
        site.master.write(TOP, FILES[TOP])
    assert site[MAIL1].run(STATE).stdout == before
    assert signers(site, signing[MAIL1])


def test_fleet_without_an_answer_from_a_host_is_not_touched(
    site: Fleet, signing: Mapping[str, mail.Mailbox]
) -> None:
    site[MAIL2].run("systemctl stop salt-minion")
    done = fleets.orchestrate(site, "rollout")
    site[MAIL2].run("systemctl start salt-minion")
    assert done.status == 1
    assert list(done.steps) == ["The fleet can be worked on"]
    assert f"{MAIL2} does not answer" in str(done)
    site.master.wait_for(f"salt --timeout=2 {MAIL2} test.ping | grep -q True")


@contextmanager
def stopped(machine: Machine, units: str, start: str = "") -> Iterator[None]:
    """Units are ended by SIGKILL and stay away, until somebody starts them."""
    machine.run(f"systemctl kill --signal=KILL {units}; systemctl stop {units}")
    yield
    machine.run(start or f"systemctl start {units}")


@contextmanager
def unreachable(machine: Machine, name: str) -> Iterator[None]:
    """A machine's way to another one is cut."""
    route = f"unreachable {fleets.NAMES[name]}/32"
    machine.run(f"ip route add {route}")
    yield
    machine.run(f"ip route delete {route}")


# The machines have this host's clock, so none of them can be set off.
FAULTS: Mapping[str, Callable[[Fleet], AbstractContextManager[None]]] = {
    "master stopped": lambda site: stopped(site.master, "salt-master"),
    "minion killed": lambda site: stopped(site[MAIL2], "salt-minion"),
    "database failed over": lambda site: stopped(
        site[DATABASE], "'postgresql@*'", start=faults.START
    ),
    "way to the database cut": lambda site: unreachable(site[MAIL1], DATABASE),
    "way to the standby cut": lambda site: unreachable(site[MAIL2], STANDBY),
    "name server gone": lambda site: stopped(site[NS], "named"),
}


@pytest.mark.parametrize("long", [pytest.param(True, marks=pytest.mark.soak), False])
def test_mail_of_both_hosts_survives_faults(
    site: Fleet,
    signing: Mapping[str, mail.Mailbox],
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture,
    long: bool,
) -> None:
    """Nothing leaves unsigned, nothing is lost, and all is well when the causes are gone."""
    chance = random.Random(request.config.getoption("--seed"))
    end = time.monotonic() + (60 * request.config.getoption("--minutes") if long else 0)
    laid: list[str] = []
    before = troubles(site)
    with ExitStack() as stack:
        senders = [f"someone@{domain}" for domain in DOMAINS]
        boxes = [mail.Mailbox(site[name], f"fleet{long:d}") for name in signing]
        sent = [stack.enter_context(Steady(box, senders)) for box in boxes]
        while len(laid) < len(FAULTS) or time.monotonic() < end:
            laid += chance.sample(sorted(FAULTS), len(FAULTS))
            for name in laid[-len(FAULTS) :]:
                with FAULTS[name](site):
                    # What the seed chose: how long a fault lasts is the test itself.
                    time.sleep(chance.uniform(1, 8))
    for traffic in sent:
        outcome = traffic.outcome(records(site), deadline=600)
        told = f"{outcome.sent} sent, {len(outcome.refused)} tries refused, faults: {laid}"
        with capsys.disabled():
            print(f"\n    {told}")
        assert outcome.lost == [], told
        assert len(outcome.signatures) == outcome.sent, told
        assert outcome.unsigned == [], told
        assert all(valid for found in outcome.signatures.values() for valid, _, _ in found), told
    left: set[str] = set()

    def well() -> bool:
        left.clear()
        left.update(troubles(site) - before)
        return not left

    try:
        site.master.wait_for(well, 180, "the fleet is as well as before")
    except NotInTime as error:
        raise AssertionError(f"{error}: {sorted(left)}") from None


def troubles(site: Fleet) -> set[str]:
    """What the overview says is wrong, of the fleet and of its hosts."""
    found = json.loads(site.master.run("salt-run --out=json dkim.fleet format=data").stdout)
    left = set(found["problems"])
    for host in found["hosts"]:
        report = host["report"]
        told = [one["message"] for one in report["problems"]] if report else [host["problem"]]
        left |= {f"{host['id']}: {text}" for text in told}
    return left


def test_removal_leaves_mail_that_flows_and_every_key(
    site: Fleet, signing: Mapping[str, mail.Mailbox]
) -> None:
    keys = server.sql(site[DATABASE], "SELECT count(*) FROM dkim")
    page(site, "salt-run state.orchestrate dkim.orchestrate.remove")
    for box in signing.values():
        message = mail.sent_by_smtp(box, f"someone@{DOMAINS[0]}")
        assert mail.signatures(box.machine, message, {}) == []
    assert server.sql(site[DATABASE], "SELECT count(*) FROM dkim") == keys
