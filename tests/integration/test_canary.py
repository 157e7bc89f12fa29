"""
A search for private keys, passwords, verifiers and TSIG secrets outside their allowed paths.

The test calls every function of the formula once while every program logs as much as it can: a Salt
master and a minion at log level «all», PostgreSQL, OpenDKIM. Then it searches the whole machine.
"""

import base64
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from support import faults, mail, salt, server
from support.canary import Find, Hunt, Markers
from support.machine import Machine

# One release is enough; `bin/test soak` runs this file on both.
pytestmark = pytest.mark.one_release("bookworm")

# The packages are installed: this file does not test their installation.
EQUIPPED = True
# The secrets must not show in the processes that an administrator starts.
WARM = False

ADMIN, READER, PLANTED = "canary-admin-0b6d2f91", "canary-reader-93be77a2", "canary-planted-57"
WRONG = "canary-wrong-4c2e80d5"
TSIG, WRONG_TSIG = b"canary-tsig-7f3a9c1e5b2d8460", b"canary-other-tsig-1d6b3e9a"
TEXTS = {
    "admin's password": ADMIN,
    "reader's password": READER,
    "wrong password": WRONG,
    "TSIG secret": TSIG,
    "wrong TSIG secret": WRONG_TSIG,
    "planted": PLANTED,
}
PILLAR_SECRETS = TEXTS.keys() - {"planted"}
EXPORTED, IMPORTED, DAMAGED = "/root/exported.pem", "/root/mail.private", "/root/damaged.private"
PILLAR = "/srv/pillar/dkim.sls"

# Paths that must hold a secret. Salt keeps the master's copy of the pillar (minion_data_cache).
ALLOWED = {
    PILLAR: PILLAR_SECRETS,
    "/var/cache/dkim-formula/minion/pillar/dkim.sls": PILLAR_SECRETS,
    "/var/cache/salt/master/pillar/mail.example.net.p": PILLAR_SECRETS,
    "/etc/bind/named.conf": {"TSIG secret"},
    "/etc/opendkim-pgpass": {"reader's password"},
    EXPORTED: {"key default._domainkey.example.com"},
    IMPORTED: {"imported key", "key imported._domainkey.example.org"},
    DAMAGED: {"imported key", "key imported._domainkey.example.org"},
}

NAMED = f"""
options {{ directory "/var/cache/bind"; listen-on {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  recursion no; dnssec-validation no; }};
key "dkim." {{ algorithm hmac-sha256; secret "{base64.b64encode(TSIG).decode()}"; }};
zone "example.com" {{ type primary; file "example.com.zone"; allow-update {{ key "dkim."; }}; }};
zone "example.org" {{ type primary; file "example.org.zone"; allow-update {{ key "dkim."; }}; }};
"""
ZONE = "$TTL 300\n@ SOA ns h 1 3600 3600 86400 30\n@ NS ns\nns A 127.0.0.1\n"

MASTER = """
interface: 127.0.0.1
user: root
auto_accept: true
worker_threads: 3
timeout: 120
gather_job_timeout: 60
log_level_logfile: all
file_roots: {base: [/srv/states, /srv/dkim-formula]}
pillar_roots: {base: [/srv/pillar]}
"""
MINION = """
master: 127.0.0.1
id: mail.example.net
log_level_logfile: all
cache_jobs: true
enable_fqdns_grains: false
enable_gpu_grains: false
"""
LOUD = {
    "log_statement": "'all'",
    "log_min_duration_statement": "0",
    "log_min_messages": "debug2",
    "log_min_error_statement": "debug5",
    "log_error_verbosity": "verbose",
    "log_parameter_max_length_on_error": "-1",
    "listen_addresses": "'*'",
    "shared_preload_libraries": "'auto_explain,pg_stat_statements'",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_nested_statements": "on",
    "pg_stat_statements.track": "'all'",
}
# These statements run in a session that logs nothing: the test does not examine its own set-up.
QUIET = (
    "SET log_statement = 'none'; SET log_min_duration_statement = -1;"
    " SET log_min_error_statement = 'panic'; SET pg_stat_statements.track_utility = off;"
)
SITE = f"""
CREATE ROLE admin SUPERUSER LOGIN PASSWORD '{ADMIN}';
CREATE DATABASE vmail;
\\c vmail
{QUIET}
CREATE EXTENSION pg_stat_statements;
CREATE TABLE domains (id serial PRIMARY KEY, domain text NOT NULL UNIQUE);
"""

# Calls through the master: each is a list of functions that the minion runs one after the other.
ASK = """\
import json, sys, salt.client
client = salt.client.LocalClient("/etc/salt/master")
for functions, arguments in json.load(sys.stdin):
    print(json.dumps(client.cmd("*", functions, arguments, timeout=300)))
"""

DAEMON = "/var/spool/postfix/opendkim/opendkim.sock"
MILTER = "unix:/opendkim/opendkim.sock"
# Arguments of the functions that need them. All others are called with a domain, and without.
ARGUMENTS: Mapping[str, Sequence[object]] = {
    "dkim.activate": ["example.com", "second"],
    "dkim.delete": ["example.com", "second", True],
    "dkim.export_key": ["example.com", "default", EXPORTED],
    "dkim.generate": ["example.com", "second"],
    "dkim.import_key": ["example.org", "imported", IMPORTED],
    "dkim.import_tables": [f"csl:old=example.org:imported:{IMPORTED}"],
    "dkim_opendkim.is_up_to_date": [DAEMON],
    "dkim.public_key": ["example.com", "default"],
    "dkim_opendkim.restart": ["opendkim", DAEMON],
    "dkim.retire": ["example.com", "second"],
    "dkim.revoke": ["example.com", "second", True],
    "dkim_opendkim.write_password_file": ["/etc/opendkim-pgpass", "opendkim"],
    "dkim_postfix.manage_milters": [[MILTER]],
    "dkim_postfix.remove_milters": [["inet:localhost:11332"]],
    "dkim_postgres.manage_role": ["vmail-dkim-reader", "pillar"],
    "dkim_postgres.remove_password": ["vmail-dkim-reader"],
}
# These run first, in this order, so that each has something to do.
FIRST = (
    "dkim.generate",
    "dkim.activate",
    "dkim.retire",
    "dkim.delete",
    "dkim.import_key",
    "dkim.import_tables",
    "dkim.export_key",
    "dkim_postgres.remove_password",
    "dkim_postgres.manage_role",
)


def pillar(password: str = ADMIN, secret: bytes = TSIG, **sections: object) -> dict[str, Any]:
    database = {
        "host": "mail.example.net",
        "manage": False,
        "user": "admin",
        "password": password,
        "sslmode": "verify-full",
        "sslrootcert": "/etc/ssl/certs/ssl-cert-snakeoil.pem",
        "reader": {"auth": "password", "password": READER},
    }
    key = {"name": "dkim.", "secret": base64.b64encode(secret).decode()}
    return {
        "dkim": {
            "database": database,
            "domains": {"example.com": {"algorithm": ["rsa", "ed25519"]}, "example.org": {}},
            "opendkim": {"settings": {"LogWhy": True, "SyslogSuccess": True}},
            "dns": {"publish": "rfc2136", "server": "127.0.0.1", "key": key, "timeout": 2},
            **sections,
        }
    }


@dataclass
class Site:
    """The machine, the secrets to search for, and the output of all calls."""

    machine: Machine
    markers: Markers
    output: list[str] = field(default_factory=list)

    def set_pillar(self, desired: Mapping[str, Any]) -> None:
        """Write the pillar. Each run of states reads it again."""
        # Without "#!yaml" Salt renders the file by Jinja first and logs the rendered text at level
        # «all» (docs/secrets.md).
        text = f"#!yaml\n{json.dumps(desired, indent=1)}\n"
        self.machine.write(PILLAR, text, mode=0o600)

    def ask(self, *batches: Sequence[Sequence[object]]) -> list[Any]:
        """Return the minion's answers to calls through the master."""
        done = self.machine.run(
            ["/opt/salt/bin/python", "-c", ASK], input=json.dumps(batches), timeout=300
        )
        self.output += [done.stdout, done.stderr]
        self.learn()
        return [json.loads(line)["mail.example.net"] for line in done.stdout.splitlines()]

    def apply(self, *arguments: str) -> dict[str, Any]:
        (returned,) = self.ask([["state.apply"], [arguments]])
        return returned["state.apply"]

    def run(self, command: str) -> None:
        """Run a command that may fail, and keep its output."""
        done = self.machine.run(command, check=False)
        self.output += [done.stdout, done.stderr]
        self.learn()

    def run_unlogged(self, statements: str) -> None:
        """Run SQL in the formula's database without any log of it."""
        command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "vmail"]
        self.machine.run(command, user="postgres", input=QUIET + statements)

    def learn(self) -> None:
        """Add every key and every verifier in the database to the secrets to search for."""
        if self.machine.run("pg_lsclusters -h | grep -q down", check=False).returncode == 0:
            return
        if not server.sql(self.machine, "SELECT to_regclass('public.dkim')"):
            return
        rows = server.sql(
            self.machine,
            "SELECT json_agg(ARRAY[selector || '._domainkey.' || domain, key, public_key])"
            " FROM dkim WHERE key IS NOT NULL AND public_key IS NOT NULL",
        )
        for name, key, public in json.loads(rows or "null") or []:
            self.markers.add_key(f"key {name}", key, public)
        roles = "SELECT rolname, rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL"
        for line in server.sql(self.machine, roles).splitlines():
            name, verifier = line.split("|")
            for part in verifier.rpartition("$")[2].split(":"):
                self.markers.add_text(f"{name}'s verifier", base64.b64decode(part))


@pytest.fixture(scope="module")
def site(machine: Machine) -> Site:
    """Servers that log as much as they can, and a Salt master with one minion."""
    machine.install("bind9")
    markers = Markers()
    for name, text in TEXTS.items():
        markers.add_text(name, text)
    for zone in ("example.com", "example.org"):
        machine.write(f"/var/cache/bind/{zone}.zone", ZONE, owner="bind:bind")
    machine.write("/etc/bind/named.conf", NAMED, mode=0o640, owner="root:bind")
    machine.run("systemctl restart named")
    settings = "".join(f"{name} = {value}\n" for name, value in LOUD.items())
    folder = machine.run("ls -d /etc/postgresql/*/main").stdout.strip()
    machine.write(f"{folder}/conf.d/loud.conf", settings, owner="postgres:postgres")
    hba = "hostssl all all 127.0.0.0/8 scram-sha-256\n" + machine.read(f"{folder}/pg_hba.conf")
    machine.write(f"{folder}/pg_hba.conf", hba, mode=0o640, owner="postgres:postgres")
    machine.run("systemctl restart postgresql")
    machine.run(["psql", "-X", "-q"], user="postgres", input=QUIET + SITE)
    salt.install_formula(machine)
    machine.write("/etc/salt/master", MASTER)
    machine.write("/etc/salt/minion", MINION)
    for path in ("/srv/states/top.sls", "/srv/pillar/top.sls"):
        machine.write(path, "base: {'*': [dkim]}\n")
    return Site(machine, markers)


@pytest.fixture(scope="module")
def hunt(site: Site) -> Iterator[Hunt]:
    """The search, which observes the machine while every function is called."""
    with Hunt(site.machine, site.markers, ALLOWED) as hunt:
        start_salt(site, hunt)
        set_up(site)
        call_everything(site)
        fail_in_every_way(site)
        crash(site)
        call_with_full_logging(site)
        plant(site)
        yield hunt


@pytest.fixture(scope="module")
def found(hunt: Hunt) -> set[Find]:
    """Every secret outside its allowed paths, also the planted one."""
    return hunt.leaks()


def start_salt(site: Site, hunt: Hunt) -> None:
    site.set_pillar(pillar())
    start = "systemd-run --quiet --unit=salt-{0} /opt/salt/bin/salt-{0}"
    site.machine.run(start.format("master"))
    # A minion that starts before the master retries every ten seconds.
    site.machine.wait_for("ss -Hltn | grep -q :4506", deadline=120)
    site.machine.run(start.format("minion"))
    ping = "/opt/salt/bin/salt --timeout=10 '*' test.ping | grep -q True"
    site.machine.wait_for(ping, deadline=180)
    for kind in ("master", "minion"):
        hunt.listen(kind)
    site.ask([["saltutil.sync_all"], [[]]])


def set_up(site: Site) -> None:
    site.apply("dkim", "test=True")
    states = site.apply("dkim")
    failed = [state for state in states.values() if state["result"] is False]
    assert failed == []
    site.machine.run(f"openssl genrsa -traditional -out {IMPORTED} 2048 && chmod 600 {IMPORTED}")
    pem = site.machine.read(IMPORTED)
    public = site.machine.run(f"openssl rsa -in {IMPORTED} -pubout -outform DER | base64 -w0")
    site.markers.add_key("imported key", pem, public.stdout)
    lines = pem.splitlines()
    site.machine.write(DAMAGED, "\n".join([*lines[:8], *lines[9:]]), mode=0o600)


def call_everything(site: Site) -> None:
    (listed,) = site.ask(
        [["sys.list_functions"], [["dkim", "dkim_postgres", "dkim_postfix"]]],
    )
    names = listed["sys.list_functions"]
    assert set(FIRST) <= set(names)
    ordered = [*FIRST, *sorted(set(names) - set(FIRST))]
    with_arguments = [list(ARGUMENTS.get(name, ["example.com"])) for name in ordered]
    without = [name for name in ordered if name not in ARGUMENTS]
    site.ask([ordered, with_arguments], [without, [[] for _ in without]])


def fail_in_every_way(site: Site) -> None:
    machine = site.machine
    machine.run("mkdir /mnt/full && mount -t tmpfs -o size=4k tmpfs /mnt/full")
    machine.run("cat /dev/zero > /mnt/full/filled || true")
    server.sql(machine, "ALTER TABLE dkim ADD CHECK (selector <> 'refused')")
    site.ask(
        [["dkim.import_key"], [["example.org", "imported", IMPORTED]]],
        [["dkim.import_key"], [["example.com", "default", IMPORTED]]],
        [["dkim.import_key"], [["example.com", "damaged", DAMAGED]]],
        [["dkim.import_key"], [["example.com", "refused", IMPORTED]]],
        [["dkim.import_tables"], [[f"csl:a=example.com:damaged:{DAMAGED}"]]],
        [["dkim.generate"], [["example.com", "refused"]]],
        [["dkim.export_key"], [["example.com", "default", "/mnt/full/exported.pem"]]],
        [["dkim.export_key"], [["example.com", "default", EXPORTED]]],
    )
    site.set_pillar(pillar(secret=WRONG_TSIG))
    site.apply("dkim.dns")
    site.set_pillar(pillar(password=WRONG))
    site.apply("dkim")
    # Secrets in keys that take no secret.
    odd = pillar(postfix=ADMIN, dns={"key": ADMIN, "zones": [READER]})
    odd["dkim"]["database"]["reader"] = READER
    odd["dkim"]["database"]["host"] = f"postgresql://admin:{ADMIN}@mail.example.net/vmail"
    site.set_pillar(odd)
    site.apply("dkim")
    site.set_pillar(pillar())


def crash(site: Site) -> None:
    """Have OpenDKIM read a damaged key, crash, and log in with a wrong password."""
    box = mail.Mailbox(site.machine)
    mail.sent_by_smtp(box, "someone@example.com")
    site.run_unlogged(
        "UPDATE dkim SET key = overlay(key PLACING '' FROM 613 FOR 260)"
        " WHERE domain = 'example.org' AND state = 'active'"
    )
    site.run(send_one("example.org"))
    # The daemon has just read a key. An outage crashes it too, but not every time.
    site.machine.wait_for("systemctl kill --signal=SEGV opendkim", deadline=120)
    site.machine.wait_for("journalctl --unit=opendkim | grep -q status=11/SEGV", deadline=120)
    site.machine.wait_for(f"test -S {DAEMON}", deadline=120)
    site.machine.run(faults.STOP)
    site.run(send_one("example.com"))
    site.machine.run(faults.START)
    site.machine.wait_for(f"test -S {DAEMON}", deadline=120)
    site.run_unlogged("ALTER ROLE \"vmail-dkim-reader\" PASSWORD 'none-of-ours';")
    site.machine.run("systemctl restart opendkim", check=False)
    site.run(send_one("example.com"))
    site.apply("dkim")


def send_one(domain: str) -> str:
    text = mail.compose(f"someone@{domain}", "catcher@mail.example.net")
    return f"printf %s {shlex.quote(text)} | sendmail -i -f someone@{domain} catcher; postqueue -f"


def call_with_full_logging(site: Site) -> None:
    call = "/opt/salt/bin/salt-call --log-level=all"
    site.run(f"{call} state.apply dkim test=True --out=json")
    site.run(f"{salt.HIGHSTATE} --pillar {PILLAR} --test")
    masterless = f"{call} --local --config-dir /var/cache/dkim-formula/minion"
    site.run(f"{masterless} --log-file-level=all dkim.status example.com")


def plant(site: Site) -> None:
    """Write one secret to every kind of location, to prove that the search reads each of them."""
    machine = site.machine
    for path in ("/var/cache/salt/minion/planted", "/tmp/planted", "/run/planted", "/dev/shm/p"):
        machine.write(path, f"\0 {PLANTED}\\n\0", mode=0o600)
    machine.write("/srv/in-base64", base64.b64encode(f"x{PLANTED}y".encode()).decode())
    machine.write("/srv/in-hex", PLANTED.encode().hex())
    machine.run(f"touch /home/{PLANTED}; ln -s /{PLANTED} /srv/link")
    # The journal compresses long fields in its files.
    machine.run(f"logger {'x' * 2000} {PLANTED}")
    machine.run(f"PLANTED={PLANTED} sh -c 'sleep 1' sh {PLANTED}")
    machine.run(f"/opt/salt/bin/salt-call event.send planted '{{told: {PLANTED}}}'")
    machine.run(f"/opt/salt/bin/salt '*' event.fire '{{told: {PLANTED}}}' planted")
    server.sql(machine, f"SELECT '{PLANTED}'")
    key = machine.read(EXPORTED)
    machine.write("/srv/key.pem", key)
    machine.run(
        "openssl pkey -in /srv/key.pem -traditional -out /srv/key.traditional;"
        " openssl pkey -in /srv/key.pem -outform DER -out /srv/key.der;"
        " openssl pkey -in /srv/key.pem -noout -text > /srv/key.text"
    )


def test_search_finds_the_planted_secret_in_every_kind_of_location(found: set[Find]) -> None:
    places = {one.place for one in found if one.secret == "planted"}
    assert places >= {
        "/var/cache/salt/minion/planted",
        "/tmp/planted",
        "/run/planted",
        "/dev/shm/p",
        "/srv/in-base64",
        "/srv/in-hex",
        "names of files",
        "journal",
        "processes",
        "event bus of the master",
        "event bus of the minion",
    }
    assert any(place.startswith("/var/log/postgresql/") for place in places)


def test_search_sampled_processes_all_the_time(hunt: Hunt) -> None:
    samples = hunt.samples().decode(errors="replace")
    for program in ("salt-minion", "salt-call", "postgres: ", "/usr/sbin/opendkim", "PGPASSFILE"):
        assert program in samples
    rounds = int(samples.split()[-2])
    assert rounds > 500


def test_search_finds_a_key_in_every_form(found: set[Find]) -> None:
    key_places = {one.place for one in found if one.secret == "key default._domainkey.example.com"}
    assert key_places >= {"/srv/key.pem", "/srv/key.traditional", "/srv/key.der", "/srv/key.text"}


def test_no_secret_is_outside_its_allowed_paths(found: set[Find]) -> None:
    leaks = [
        one for one in found if one.secret != "planted" and not one.place.startswith("/srv/key.")
    ]
    assert not leaks, "\n".join(sorted(map(str, leaks)))


@pytest.mark.usefixtures("hunt")
def test_no_return_holds_a_secret(site: Site) -> None:
    output = "\n".join(site.output)
    assert "default._domainkey.example.com" in output
    assert site.markers.within(output.encode("utf-8", "surrogateescape"), "returns") == set()


@pytest.mark.usefixtures("hunt")
def test_no_text_of_a_statement_holds_a_secret(site: Site) -> None:
    texts = server.sql(
        site.machine,
        "SELECT query FROM pg_stat_statements UNION ALL SELECT query FROM pg_stat_activity",
    )
    assert "dkim_password" in texts
    found = site.markers.within(texts.encode(), "statements")
    assert {one.secret for one in found} <= {"planted"}


def test_other_users_cannot_read_files_that_hold_a_secret(hunt: Hunt) -> None:
    files = [path for path in ALLOWED if hunt.machine.exists(path)]
    assert len(files) == len(ALLOWED)
    modes = hunt.machine.run(["stat", "-c", "%a %n", *files]).stdout.splitlines()
    assert [line for line in modes if not line.startswith(("400", "600", "640"))] == []


def test_crash_leaves_no_core_dump(hunt: Hunt) -> None:
    assert b"status=11/SEGV" in hunt.journal()
    assert hunt.cores() == []
