"""A fleet under a real Salt master, by the commands of docs/many-machines.md."""

import json
import re
from collections.abc import Iterator, Mapping

import pytest
from support import fleet as fleets
from support import mail, server, zones
from support.fleet import DATABASE, DOMAINS, MAIL1, MAIL2, MINIONS, NS, STANDBY, Fleet
from support.machine import ROOT, CommandFailed, salts

# The older release of Salt is on this one; `bin/test soak` has no other.
pytestmark = pytest.mark.one_release(salts.RELEASE)

PAGE = (ROOT / "docs" / "many-machines.md").read_text(encoding="utf-8")
FILE = re.compile(r"^```yaml\n# (/srv/\S+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILES = dict(FILE.findall(PAGE))
COMMANDS = "\n".join(re.findall(r"^```bash\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
TOP = "/srv/pillar/top.sls"
FOR_MAIL = "/srv/pillar/dkim/mail.sls"
PASSWORD = "from-gpg-or-vault"

STOPPED = "It stopped at the first step that failed"
# What a run may touch on a mail host.
STATE = (
    "find /etc /usr/local/lib -type f -not -path '/etc/salt/*' | sort | xargs -d '\\n' md5sum; "
    "systemctl show --property=InvocationID opendkim opendkim-watchdog postfix"
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
}
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
LIFETIMES = dict(zip(BROKEN, (604800, 691200, 777600), strict=True))


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
    routes = "; ".join(
        f"ip route {{action}} unreachable {fleets.NAMES[name]}/32" for name in (DATABASE, STANDBY)
    )
    if fault == "no route":
        site[MAIL2].run(routes.format(action="add"))
    try:
        done = fleets.orchestrate(site, "rollout")
    finally:
        if fault == "no route":
            site[MAIL2].run(routes.format(action="delete"))
        site.master.write(TOP, FILES[TOP])
    assert done.status == 1
    assert word in str(done)
    assert done.steps[STOPPED]["comment"].startswith("The hosts of all later steps")
    assert done.steps[f"{MAIL2} signs"]["result"] is False
    assert site[MAIL2].run(STATE).stdout == before
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
    server.sql(site[STANDBY], "SELECT pg_wal_replay_resume()")
    site.master.run("systemctl start salt-master")
    site.master.write(PUBLISHER, FILES[PUBLISHER])
    for name in MINIONS:
        site.master.wait_for(f"salt --timeout=2 {name} test.ping | grep -q True", 180)


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
    server.sql(site[STANDBY], "SELECT pg_wal_replay_resume()")
    site[MAIL2].wait_for(
        lambda: dict(signers(site, signing[MAIL2]))["example.org"] == found[MAIL1], 180
    )
    unreached = "SELECT count(*) FROM dkim_replica WHERE reached_at IS NULL"
    primary.wait_for(lambda: server.sql(primary, unreached) == "0", 180)
    server.sql(primary, LATER)
    primary.wait_for(lambda: server.sql(primary, count.format("revoked")) == "1", 180)
    for box in signing.values():
        assert dict(signers(site, box))["example.org"] == found[MAIL1]


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


def test_removal_leaves_mail_that_flows_and_every_key(
    site: Fleet, signing: Mapping[str, mail.Mailbox]
) -> None:
    keys = server.sql(site[DATABASE], "SELECT count(*) FROM dkim")
    page(site, "salt-run state.orchestrate dkim.orchestrate.remove")
    for box in signing.values():
        message = mail.sent_by_smtp(box, f"someone@{DOMAINS[0]}")
        assert mail.signatures(box.machine, message, {}) == []
    assert server.sql(site[DATABASE], "SELECT count(*) FROM dkim") == keys
