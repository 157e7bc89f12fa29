"""A fleet under a real Salt master, set up by the commands of docs/many-machines.md."""

import json
import random
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress

import pytest
from support import clock, faults, mail, server, zones
from support import fleet as fleets
from support.fleet import DATABASE, DOMAINS, MAIL1, MAIL2, MINIONS, NS, STANDBY, Fleet
from support.machine import ROOT, CommandFailed, Machine, NotInTime, salts
from support.traffic import Steady

# This release has the older Salt. `bin/test soak` runs this file on no other release.
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
SLIP = "/srv/pillar/dkim/slip.sls"
FOR_DATABASE = "/srv/pillar/dkim/database.sls"
FOR_MAIL = "/srv/pillar/dkim/mail.sls"
PASSWORD = "from-gpg-or-vault"

STOPPED = "The orchestration stopped at the first failed step"
# Prints the files and processes that a run may change on a mail host.
STATE = (
    "find /etc /usr/local/lib -type f -not -path '/etc/salt/*' | sort | xargs -d '\\n' md5sum; "
    "systemctl show --property=InvocationID opendkim opendkim-watchdog postfix"
)
# Salt writes a new file beside the old one. On a full disk it leaves the new file behind, empty.
LEFT_BY_SALT = re.compile(
    r"^d41d8cd98f00b204e9800998ecf8427e  /etc/opendkim\.conf\w{8}\n", re.MULTILINE
)
# Faults of the second mail host alone. In the same roll-out a setting changes on all hosts.
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
# Commands that cause a fault on the second mail host, and commands that end it. For a full disk,
# a small file system with the same content is mounted over /etc.
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
CLEAN_UP = {"no space": "umount --lazy /etc /run/full && rmdir /run/full"}
TEXTFILE = "/var/lib/prometheus/node-exporter/dkim.prom"
PUBLISHER = "/srv/pillar/dkim/publisher.sls"
# Backdates keys and standby servers by a month.
LATER = """
SET session_replication_role = replica;
UPDATE dkim SET retired_at = retired_at - interval '30 days' WHERE state = 'retired';
UPDATE dkim_replica
   SET mark_at = mark_at - interval '30 days', reached_at = reached_at - interval '30 days';
"""
# SignatureTTL in seconds: another value for each fault, so that each roll-out has a change.
LIFETIMES = dict(zip(BROKEN, (604800, 691200, 777600, 864000), strict=True))


@pytest.fixture(scope="module")
def site(release: str) -> Iterator[Fleet]:
    """The machines of the fleet, with the guide's files on the master."""
    with fleets.fleet(release) as site:
        for path, text in FILES.items():
            site.master.write(path, text)
        yield site


@pytest.fixture(scope="module")
def plan(site: Fleet) -> fleets.Orchestration:
    """The preview of the first roll-out. It changes nothing on any host."""
    run_from_guide(site, "salt-run saltutil.sync_all")
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
    assert set(done.changed) <= {*plan.changed, "Every host's settings are valid"}
    return {name: mail.Mailbox(site[name]) for name in (MAIL1, MAIL2)}


def run_from_guide(site: Fleet, command: str) -> str:
    """Run a command of the guide on the master, and return its output."""
    assert command in COMMANDS.splitlines(), f"docs/many-machines.md has no command {command!r}"
    return site.master.run(command, timeout=600).stdout


def restart_master(site: Fleet) -> None:
    """Restart the master with its new configuration, and wait until every minion answers."""
    site.master.run("systemctl restart salt-master")
    answers = "salt --timeout=5 --out=txt '*' test.ping | grep -c True"
    site.master.wait_for(f"test $({answers}) = {len(MINIONS)}", 180)


def versions(site: Fleet) -> dict[str, str]:
    """Return the formula's version on each host from the overview."""
    found = json.loads(site.master.run("salt-run --out=json dkim.fleet").stdout)
    return {one["id"]: one["report"]["formula"] for one in found["hosts"]}


def records(site: Fleet) -> dict[str, str]:
    """Return the key records of the name server."""
    found: dict[str, str] = {}
    for domain in DOMAINS:
        found |= zones.key_records(site[NS], domain)
    return found


def signers(site: Fleet, box: mail.Mailbox) -> set[tuple[str, str]]:
    """Return domain and selector of the one valid signature of a message from each domain."""
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


def test_both_mail_hosts_sign_with_the_same_keys_after_one_command(
    site: Fleet, signing: Mapping[str, mail.Mailbox]
) -> None:
    found = [signers(site, box) for box in signing.values()]
    assert found == [{(domain, "default") for domain in DOMAINS}] * 2


def test_second_command_changes_nothing(site: Fleet, signing: Mapping[str, mail.Mailbox]) -> None:
    again = fleets.orchestrate(site, "rollout")
    assert again.status == 0, str(again)
    assert again.changed == []


# Commands on the database host that delay a step of a roll-out.
JOBS = "/var/cache/salt/minion/proc"
BUSY = {
    "other states run": "salt-call state.single cmd.run 'sleep 60'",
    "the minion stalls": f"until grep -rqs dkim.dns {JOBS}; do sleep 0.1; done; "
    "systemctl kill --signal=STOP salt-minion; sleep 25; "
    "systemctl kill --signal=CONT salt-minion",
}


@pytest.mark.soak
@pytest.mark.parametrize("reason", BUSY)
def test_roll_out_waits_for_a_busy_host(
    site: Fleet, signing: Mapping[str, mail.Mailbox], reason: str
) -> None:
    host = site[DATABASE]
    with host.popen(BUSY[reason], stdout=subprocess.PIPE, text=True) as busy:
        host.wait_for("pgrep --exact sleep")
        done = fleets.orchestrate(site, "rollout")
        assert busy.poll() == 0
    assert done.status == 0, str(done)
    assert done.changed == []


def test_only_hosts_that_need_a_secret_get_it(site: Fleet) -> None:
    shown = {
        name: site.master.run(f"salt-run --out=json pillar.show_pillar {name}").stdout
        for name in MINIONS
    }
    assert f"salt-run pillar.show_pillar {MAIL1}" in COMMANDS
    with_password = {name for name, text in shown.items() if PASSWORD in text}
    assert with_password == {DATABASE, STANDBY, MAIL1, MAIL2}
    assert {name for name, text in shown.items() if zones.SECRET in text} == {DATABASE}


def test_overview_shows_every_host(site: Fleet, signing: Mapping[str, mail.Mailbox]) -> None:
    overview = run_from_guide(site, "salt-run dkim.fleet")
    for name in (DATABASE, STANDBY, MAIL1, MAIL2):
        assert name in overview
    found = json.loads(site.master.run("salt-run --out=json dkim.fleet").stdout)
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


@pytest.mark.soak
def test_overview_names_every_problem(site: Fleet, signing: Mapping[str, mail.Mailbox]) -> None:
    site[MAIL1].run("systemctl stop opendkim")
    site[MAIL2].run("systemctl stop salt-minion")
    overview = run_from_guide(site, "salt-run dkim.fleet")
    site[MAIL1].run("systemctl start opendkim")
    site[MAIL2].run("systemctl start salt-minion")
    table = overview.partition("\n\n")[0].splitlines()[1:]
    state = {line.split()[1]: line for line in table}
    assert "down: opendkim" in state[MAIL1], overview
    assert "does not answer" in state[MAIL2], overview
    assert f"    salt {MAIL1} state.apply dkim.opendkim" in overview.splitlines()
    site.master.wait_for(f"salt --timeout=2 {MAIL2} test.ping | grep -q True")


@pytest.mark.soak
@pytest.mark.parametrize("fault", BROKEN)
def test_fault_of_one_mail_host_stops_the_roll_out_and_changes_no_other_host(
    site: Fleet, signing: Mapping[str, mail.Mailbox], fault: str
) -> None:
    """The roll-out stops. The first host keeps signing, and the second host is unchanged."""
    slip, word = BROKEN[fault]
    setting = f"  opendkim: {{settings: {{SignatureTTL: {LIFETIMES[fault]}}}}}\n"
    site.master.write(FOR_MAIL, FILES[FOR_MAIL] + setting)
    site.master.write(SLIP, f"dkim:\n  {slip}\n" if slip != "{}" else "{}\n")
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
    assert done.steps[STOPPED]["comment"].startswith("No later step has run")
    assert done.steps[f"{MAIL2} signs"]["result"] is False
    assert LEFT_BY_SALT.sub("", site[MAIL2].run(STATE).stdout) == before
    site[MAIL2].run(CLEAN_UP.get(fault, "true"))
    for box in signing.values():
        assert signers(site, box)


@pytest.mark.soak
def test_next_roll_out_succeeds_once_the_fault_has_ended(
    site: Fleet, signing: Mapping[str, mail.Mailbox]
) -> None:
    done = fleets.orchestrate(site, "rollout")
    assert done.status == 0, str(done)
    assert f"{MAIL2} has the settings" in done.changed
    (lifetime,) = re.findall(r"SignatureTTL: (\d+)", site.master.read(FOR_MAIL))
    for name, box in signing.items():
        assert lifetime in site[name].read("/etc/opendkim.conf")
        assert signers(site, box)


READER, RENAMED = "vmail-dkim-reader", "vmail-dkim-reader-2"
FORMER = "The database has no role of former settings"


def readers(site: Fleet) -> set[str]:
    """Return the readers on the database host, and those that the access files of a host name."""
    names = f"('{READER}'), ('{RENAMED}')"
    existing = f"SELECT n FROM (VALUES {names}) AS v (n) WHERE n IN (SELECT rolname FROM pg_roles)"
    named = f"SELECT n FROM (VALUES {names}) AS v (n), pg_hba_file_rules WHERE n = ANY (user_name)"
    found = [server.sql(site[DATABASE], existing)]
    found += [server.sql(site[name], named) for name in (DATABASE, STANDBY)]
    return {name for text in found for name in text.split()}


@pytest.fixture
def renamed(site: Fleet, signing: Mapping[str, mail.Mailbox]) -> Iterator[None]:
    """The pillar has another name and password for the reader. The former ones are set again."""
    kept = {path: site.master.read(path) for path in (FOR_DATABASE, FOR_MAIL)}
    for path, text in kept.items():
        assert text.count("auth: password") == text.count(PASSWORD) == 1
        new = text.replace(PASSWORD, f"another-{PASSWORD}")
        end = "\n      " if path == FOR_DATABASE else ", "
        site.master.write(path, new.replace("auth:", f"name: {RENAMED}{end}auth:"))
    yield
    for path, text in kept.items():
        site.master.write(path, text)
    done = fleets.orchestrate(site, "rollout")
    assert done.status == 0, str(done)


@pytest.mark.soak
@pytest.mark.usefixtures("renamed")
def test_mail_host_logs_in_as_the_former_reader_until_its_turn(
    site: Fleet, signing: Mapping[str, mail.Mailbox]
) -> None:
    """The second host has no session while the roll-out changes the database and then fails."""
    slip, word = BROKEN["another authority"]
    site.master.write(SLIP, f"dkim:\n  {slip}\n")
    site.master.write(TOP, f"{FILES[TOP]}  'mail2*':\n    - dkim.slip\n")
    site[MAIL2].run("systemctl stop opendkim")
    try:
        done = fleets.orchestrate(site, "rollout")
    finally:
        site[MAIL2].run("systemctl restart opendkim")
        site.master.write(TOP, FILES[TOP])
    assert done.status == 1
    assert word in str(done)
    assert done.steps[f"{MAIL1} signs"]["result"]
    assert done.steps[FORMER]["result"] is False
    assert readers(site) == {READER, RENAMED}
    site[MAIL2].wait_for("test -S /var/spool/postfix/opendkim/opendkim.sock")
    assert signers(site, signing[MAIL1]) == signers(site, signing[MAIL2])
    done = fleets.orchestrate(site, "rollout")
    assert done.status == 0, str(done)
    assert FORMER in done.changed
    assert readers(site) == {RENAMED}
    assert signers(site, signing[MAIL1]) == signers(site, signing[MAIL2])


def test_rotation_on_the_database_host_takes_effect_on_both_mail_hosts(
    site: Fleet, signing: Mapping[str, mail.Mailbox]
) -> None:
    site.master.write(PUBLISHER, FILES[PUBLISHER] + "  rotation: {margin: 0s}\n")
    run_from_guide(site, "salt db1.example.net dkim.rotate example.com")
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
    """Resume the standby's replay. The replayed changes may end the session that requested it."""
    with suppress(CommandFailed):
        server.sql(site[STANDBY], "SELECT pg_wal_replay_resume()")

    def replays() -> bool:
        with suppress(CommandFailed):
            return server.sql(site[STANDBY], "SELECT pg_is_wal_replay_paused()") == "f"
        return False

    site[STANDBY].wait_for(replays, 60, "the standby replays")


@pytest.fixture
def without_master(site: Fleet, signing: Mapping[str, mail.Mailbox]) -> Iterator[None]:
    """Mail host 2 reads the standby, whose replay is paused. Timers run, and the master is down."""
    site.master.write(PUBLISHER, FILES[PUBLISHER] + "  rotation: {margin: 0s, schedule: 10s}\n")
    timer = "  monitoring: {textfile: /var/lib/prometheus/node-exporter, textfile_every: 10s}\n"
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
    # The next roll-out removes the timers. They would take processor time from all other tests.
    site.master.write(PUBLISHER, FILES[PUBLISHER])
    site.master.write(FOR_MAIL, FILES[FOR_MAIL])
    restart_master(site)


@pytest.mark.soak
@pytest.mark.usefixtures("without_master")
def test_due_moves_need_no_master_and_wait_for_a_standby_with_paused_replay(
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
    primary.wait_for("journalctl -u dkim-rotation | grep -q 'not known to have replayed'", 180)
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


@pytest.mark.soak
def test_minions_of_two_versions_work_side_by_side_until_all_are_updated(
    site: Fleet, signing: Mapping[str, mail.Mailbox]
) -> None:
    """One mail host gets the next tag first, then all hosts get it."""
    old, new = (tag.removeprefix("v") for tag in fleets.TAGS)
    assert set(versions(site).values()) == {old}
    fleets.at_tag(site.master, fleets.TAGS[1])
    restart_master(site)
    site.master.run(f"salt --timeout=60 {MAIL2} saltutil.sync_all", timeout=300)
    assert versions(site) == {DATABASE: old, STANDBY: old, MAIL1: old, MAIL2: new}
    assert all(signers(site, box) for box in signing.values())
    run_from_guide(site, "salt-run saltutil.sync_all")
    run_from_guide(site, "salt-run dkim.hosts")
    done = fleets.orchestrate(site, "rollout")
    assert done.status == 0, str(done)
    assert set(versions(site).values()) == {new}
    assert all(signers(site, box) for box in signing.values())


@pytest.mark.soak
def test_minion_with_an_older_formula_than_the_database_changes_nothing_and_signs(
    site: Fleet, signing: Mapping[str, mail.Mailbox]
) -> None:
    keys = "SELECT domain, selector, state FROM dkim ORDER BY 1, 2"
    before = server.sql(site[DATABASE], keys)
    server.sql(site[DATABASE], "INSERT INTO dkim_migration VALUES (2, 'of a newer release')")
    try:
        rotate = f"salt --timeout=60 {DATABASE} dkim.rotate example.com"
        result = site.master.run(rotate, check=False)
        done = fleets.orchestrate(site, "rollout")
        word = "the database has migration 2, made by a newer formula"
        assert word in result.stdout
        assert done.status == 1
        assert word in str(done)
        assert server.sql(site[DATABASE], keys) == before
        assert all(signers(site, box) for box in signing.values())
    finally:
        server.sql(site[DATABASE], "DELETE FROM dkim_migration WHERE number = 2")


@pytest.mark.soak
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


@pytest.mark.soak
def test_roll_out_changes_nothing_while_a_host_does_not_answer(
    site: Fleet, signing: Mapping[str, mail.Mailbox]
) -> None:
    site[MAIL2].run("systemctl stop salt-minion")
    done = fleets.orchestrate(site, "rollout")
    site[MAIL2].run("systemctl start salt-minion")
    assert done.status == 1
    assert list(done.steps) == ["The fleet is ready"]
    assert f"{MAIL2} does not answer" in str(done)
    site.master.wait_for(f"salt --timeout=2 {MAIL2} test.ping | grep -q True")


@contextmanager
def stopped(machine: Machine, units: str, start: str = "") -> Iterator[None]:
    """Kill units by SIGKILL, and start them again at the end."""
    machine.run(f"systemctl kill --signal=KILL {units}; systemctl stop {units}")
    yield
    machine.run(start or f"systemctl start {units}")


@contextmanager
def unreachable(machine: Machine, name: str) -> Iterator[None]:
    """Block a machine's route to another machine."""
    route = f"unreachable {fleets.NAMES[name]}/32"
    machine.run(f"ip route add {route}")
    yield
    machine.run(f"ip route delete {route}")


FAULTS: Mapping[str, Callable[[Fleet], AbstractContextManager[None]]] = {
    "master stopped": lambda site: stopped(site.master, "salt-master"),
    "minion killed": lambda site: stopped(site[MAIL2], "salt-minion"),
    "database failed over": lambda site: stopped(
        site[DATABASE], "'postgresql@*'", start=faults.START
    ),
    "way to the database cut": lambda site: unreachable(site[MAIL1], DATABASE),
    "way to the standby cut": lambda site: unreachable(site[MAIL2], STANDBY),
    "name server gone": lambda site: stopped(site[NS], "named"),
    "clock a day slow": lambda site: clock.off_by(site[MAIL2], -1),
}


@pytest.mark.soak
@pytest.mark.parametrize("days", [1, -1])
def test_mail_host_whose_clock_is_wrong_signs_and_is_shown(
    site: Fleet, signing: Mapping[str, mail.Mailbox], days: int
) -> None:
    before = problems(site)
    with clock.off_by(site[MAIL2], days):
        site.master.wait_for(f"salt --timeout=2 {MAIL2} test.ping | grep -q True", 180)
        (problem,) = problems(site) - before
        message = mail.sent_by_smtp(signing[MAIL2], f"someone@{DOMAINS[0]}")
    direction = "behind" if days > 0 else "ahead of"
    assert re.search(rf"^{MAIL2}: PostgreSQL's clock is 86\d{{3}} s {direction} this", problem)
    (one,) = mail.signatures(site[MAIL1], message, records(site))
    assert abs(int(one.tags["t"]) - time.time() - days * 86400) < 600
    # dkimpy refuses a signature from the future.
    assert one.valid is (days < 0), str(one)
    site.master.wait_for(f"salt --timeout=2 {MAIL2} test.ping | grep -q True", 180)
    assert problems(site) <= before


@pytest.mark.soak
@pytest.mark.parametrize("long", [False, True])
def test_mail_of_both_hosts_survives_faults(
    site: Fleet,
    signing: Mapping[str, mail.Mailbox],
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture,
    long: bool,
) -> None:
    """No message is lost or unsigned, and the fleet has no new problem after the faults."""
    chance = random.Random(request.config.getoption("--seed"))
    end = time.monotonic() + (60 * request.config.getoption("--minutes") if long else 0)
    caused: list[str] = []
    before = problems(site)
    with ExitStack() as stack:
        senders = [f"someone@{domain}" for domain in DOMAINS]
        boxes = [mail.Mailbox(site[name], f"fleet{long:d}") for name in signing]
        sent = [stack.enter_context(Steady(box, senders)) for box in boxes]
        while len(caused) < len(FAULTS) or time.monotonic() < end:
            caused += chance.sample(sorted(FAULTS), len(FAULTS))
            for name in caused[-len(FAULTS) :]:
                with FAULTS[name](site):
                    # The seed chooses how long a fault lasts. The test needs this pause.
                    time.sleep(chance.uniform(1, 8))
    for traffic in sent:
        outcome = traffic.outcome(records(site), deadline=600)
        summary = f"{outcome.sent} sent, {len(outcome.refused)} tries refused, faults: {caused}"
        with capsys.disabled():
            print(f"\n    {summary}")
        assert outcome.lost == [], summary
        assert len(outcome.signatures) == outcome.sent, summary
        assert outcome.unsigned == [], summary
        assert all(valid for found in outcome.signatures.values() for valid, _, _ in found), summary
    left: set[str] = set()

    def recovered() -> bool:
        left.clear()
        left.update(problems(site) - before)
        return not left

    try:
        site.master.wait_for(recovered, 180, "the fleet has no new problem")
    except NotInTime as error:
        raise AssertionError(f"{error}: {sorted(left)}") from None


def problems(site: Fleet) -> set[str]:
    """Return the problems of the fleet and of its hosts from the overview."""
    found = json.loads(site.master.run("salt-run --out=json dkim.fleet").stdout)
    left = set(found["problems"])
    for host in found["hosts"]:
        report = host["report"]
        told = [one["message"] for one in report["problems"]] if report else [host["problem"]]
        left |= {f"{host['id']}: {text}" for text in told}
    return left


@pytest.fixture
def reacting(site: Fleet, signing: Mapping[str, mail.Mailbox]) -> Iterator[None]:
    """The guide's reactor on the master, and beacons that check every ten seconds."""
    often = "every: 10s, down_for: 1s, dns_every: 10s, differs_for: 1s"
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


@pytest.mark.soak
@pytest.mark.usefixtures("reacting")
def test_reactor_restarts_a_daemon_publishes_records_and_sends_mail(
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


def test_removal_keeps_every_key_and_mail_is_delivered_unsigned(
    site: Fleet, signing: Mapping[str, mail.Mailbox]
) -> None:
    keys = server.sql(site[DATABASE], "SELECT count(*) FROM dkim")
    run_from_guide(site, "salt-run state.orchestrate dkim.orchestrate.remove")
    for box in signing.values():
        message = mail.sent_by_smtp(box, f"someone@{DOMAINS[0]}")
        assert mail.signatures(box.machine, message, {}) == []
    assert server.sql(site[DATABASE], "SELECT count(*) FROM dkim") == keys
