"""Rights of OpenDKIM's role in the database, and the ways to log in as that role."""

import re
from collections.abc import Mapping

import pytest
from support import mail, salt, server
from support.machine import Machine
from support.share import short_form

pytestmark = pytest.mark.one_release("trixie")

# The packages are installed: this file does not test their installation.
EQUIPPED = True

READER, WRITER = "vmail-dkim-reader", "vmail-dkim-writer"
VIEWS = {
    "public.dkim_signing_table",
    "public.dkim_key_table",
    "public.dkim_signing_table_ed25519",
    "public.dkim_key_table_ed25519",
}
DOMAINS = ["example.com", "example.org"]
PILLAR = {"dkim": {"domains": DOMAINS}}
READER_PASSWORD, ADMIN_PASSWORD = "reads-by-password", "sets-up-by-password"
CERTIFICATE = "/etc/ssl/certs/ssl-cert-snakeoil.pem"

# Objects of the mail database and lines of the access files that the formula does not manage.
SITE = """
CREATE SCHEMA site;
CREATE TABLE site.users (id serial PRIMARY KEY, password text);
CREATE VIEW site.logins AS SELECT * FROM site.users;
CREATE MATERIALIZED VIEW site.counted AS SELECT count(*) FROM site.users;
"""
UNMANAGED_HBA = (
    "# a comment\twith a tab  and blanks   \n"
    "host    webmail   webmail   192.0.2.0/24   scram-sha-256 # web \n\n"
    "local\tbackup\tbackup\tpeer\n"
)
UNMANAGED_IDENT = '# others\nbackups\t/^(.*)@example\\.com$\t\\1\nmaildkimx   opendkim   "x"\n'

RELATIONS = """
SELECT format('%I.%I', n.nspname, c.relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND n.nspname !~ '^pg_|^information_schema$'
"""
EXCESS_RIGHTS = f"""
ALTER ROLE "{READER}" SUPERUSER CREATEDB CREATEROLE REPLICATION BYPASSRLS PASSWORD 'by-hand';
CREATE ROLE writer;
CREATE ROLE gatekeeper;
GRANT writer TO gatekeeper WITH ADMIN OPTION;
GRANT pg_read_all_data TO "{READER}";
SET ROLE gatekeeper;
GRANT writer TO "{READER}";
RESET ROLE;
GRANT ALL ON dkim, site.users, site.logins TO "{READER}";
GRANT UPDATE (domain) ON dkim_pattern TO "{READER}";
GRANT INSERT ON dkim_key_table TO "{READER}" WITH GRANT OPTION;
GRANT USAGE, CREATE ON SCHEMA site TO "{READER}";
GRANT CREATE ON SCHEMA public TO "{READER}";
GRANT CREATE ON DATABASE vmail TO "{READER}";
GRANT USAGE ON SEQUENCE site.users_id_seq TO "{READER}";
GRANT SELECT ON site.users TO writer WITH GRANT OPTION;
GRANT USAGE ON SCHEMA site TO writer;
SET ROLE writer;
GRANT SELECT ON site.users TO "{READER}";
"""
RIGHTS = f"""
SELECT rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls,
       rolpassword IS NULL,
       (SELECT count(*) FROM pg_auth_members WHERE member = r.oid)
  FROM pg_authid r WHERE rolname = '{READER}'
"""


@pytest.fixture(scope="module")
def unmanaged(machine: Machine) -> Mapping[str, str]:
    """The access files of an existing PostgreSQL server, with lines by other programs."""
    machine.install("postgresql")
    texts = {}
    for name, text in (("hba", UNMANAGED_HBA), ("ident", UNMANAGED_IDENT)):
        path = access_file(machine, name)
        texts[name] = text + machine.read(path)
        machine.write(path, texts[name], mode=0o640, owner="postgres:postgres")
    machine.run("systemctl reload postgresql")
    return texts


@pytest.fixture(scope="module")
def box(machine: Machine, unmanaged: Mapping[str, str]) -> mail.Mailbox:
    """A mailbox on that server after the formula's first run."""
    salt.install_formula(machine, PILLAR)
    run = salt.apply(machine)
    assert run.succeeded, str(run)
    server.sql(machine, SITE)
    return mail.Mailbox(machine)


@pytest.fixture(scope="module")
def records(box: mail.Mailbox) -> Mapping[str, str]:
    return mail.zone_records(box.machine, salt.call(box.machine, "dkim.records", format="bind"))


def access_file(machine: Machine, name: str) -> str:
    return machine.run(f"ls /etc/postgresql/*/main/pg_{name}.conf").stdout.strip()


def ask(machine: Machine, statement: str, *options: str, user: str = "opendkim"):
    """Run a statement with psql as the reader, without a password."""
    command = ["psql", "-X", "-At", "-w", "-U", READER, *options, "-c", statement, "vmail"]
    return machine.run(command, user=user, check=False)


def readable(machine: Machine) -> set[str]:
    """Return every relation of the database that the reader can read."""
    relations = server.sql(machine, RELATIONS).splitlines()
    assert len(relations) > len(VIEWS) + 8
    results = {name: ask(machine, f"SELECT * FROM {name} LIMIT 1") for name in relations}
    refused = [done.stderr for done in results.values() if done.returncode != 0]
    assert all("permission denied" in text for text in refused), refused
    return {name for name, done in results.items() if done.returncode == 0}


def assert_signed(box: mail.Mailbox, records: Mapping[str, str]) -> None:
    for domain in DOMAINS:
        message = mail.sent_by_smtp(box, f"someone@{domain}")
        (signature,) = mail.signatures(box.machine, message, records)
        assert signature.valid, f"{signature}\n{mail.headers(message)}"


def test_opendkim_logs_in_by_peer_and_reads_patterns_and_keys(box: mail.Mailbox) -> None:
    patterns = ask(box.machine, "SELECT pattern FROM dkim_signing_table ORDER BY 1")
    assert patterns.stdout.split() == DOMAINS
    keys = ask(box.machine, "SELECT domain FROM dkim_key_table WHERE key LIKE '-----BEGIN%'")
    assert sorted(keys.stdout.split()) == DOMAINS


def test_opendkim_reads_the_views_and_no_other_relation(box: mail.Mailbox) -> None:
    assert readable(box.machine) == VIEWS


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (a int)",
        "CREATE TABLE site.mine (a int)",
        "CREATE SCHEMA mine",
        "CREATE DATABASE mine",
        "CREATE ROLE mine",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE VIEW mine AS SELECT 1",
        "INSERT INTO dkim_key_table VALUES ('1', 'example.com', 's', 'k')",
        "UPDATE dkim_key_table SET selector = 'x'",
        "DELETE FROM dkim_signing_table",
        "TRUNCATE dkim",
        "SET ROLE vmail",
        "COPY (SELECT 1) TO '/tmp/x'",
        "COPY (SELECT 1) TO PROGRAM 'id'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT rolpassword FROM pg_authid",
    ],
)
def test_opendkim_can_change_and_create_nothing(box: mail.Mailbox, statement: str) -> None:
    refused = ask(box.machine, statement)
    assert refused.returncode != 0
    assert re.search(
        r"permission denied|must be superuser|cannot (insert|update|delete)", refused.stderr
    )


@pytest.mark.parametrize("user", ["nobody", "www-data", "postfix", "root"])
def test_other_accounts_cannot_log_in_as_the_reader(box: mail.Mailbox, user: str) -> None:
    refused = ask(box.machine, "SELECT 1", user=user)
    assert refused.returncode != 0
    assert f'Peer authentication failed for user "{READER}"' in refused.stderr


@pytest.mark.parametrize("user", ["opendkim", "nobody"])
def test_reader_cannot_log_in_over_the_network(box: mail.Mailbox, user: str) -> None:
    without = ask(box.machine, "SELECT 1", "-h", "127.0.0.1", user=user)
    assert "no password supplied" in without.stderr
    command = f"PGPASSWORD=guessed psql -X -w -h 127.0.0.1 -U {READER} -c 'SELECT 1' vmail"
    refused = box.machine.run(command, user=None, check=False)
    assert "password authentication failed" in refused.stderr


def test_unmanaged_lines_and_comments_stay_unchanged(
    box: mail.Mailbox, unmanaged: Mapping[str, str]
) -> None:
    for name, managed in (
        ("hba", f"local   vmail   {READER}   peer map=maildkim   # by the dkim formula\n"),
        ("hba", f"local   vmail   {WRITER}   peer map=maildkim-writer   # by the dkim formula\n"),
        ("ident", f'maildkim   opendkim   "{READER}"   # by the dkim formula\n'),
        ("ident", f'maildkim-writer   root   "{WRITER}"   # by the dkim formula\n'),
    ):
        path = access_file(box.machine, name)
        text = box.machine.read(path)
        assert text.count(managed) == 1
        others = [line for line in text.splitlines(True) if "vmail-dkim-" not in line]
        assert "".join(others) == unmanaged[name]
        shown = box.machine.run(["stat", "-c", "%U:%G %a", path]).stdout.strip()
        assert shown == "postgres:postgres 640"


def test_excess_rights_are_revoked(box: mail.Mailbox) -> None:
    server.sql(box.machine, EXCESS_RIGHTS)
    announced = salt.apply(box.machine, "dkim.database", test=True)
    run = salt.apply(box.machine)
    assert run.succeeded, str(run)
    state = "OpenDKIM's role reads the views and nothing else"
    assert run[state].changes == announced[state].changes
    assert {"super", "createdb", "member of writer", "member of pg_read_all_data"} <= run[
        state
    ].changes.keys()
    assert server.sql(box.machine, RIGHTS) == "t|f|f|f|f|f|t|0"
    assert readable(box.machine) == VIEWS
    assert "permission denied" in ask(box.machine, "CREATE TABLE mine (a int)").stderr
    assert salt.apply(box.machine).changed == []


@pytest.mark.soak
@pytest.mark.parametrize("name", ["hba", "ident"])
def test_malformed_access_file_stops_the_run_before_its_first_change(
    box: mail.Mailbox, name: str
) -> None:
    machine = box.machine
    path = access_file(machine, name)
    valid = machine.read(path)
    malformed = f"{valid}local all all nonsense\n" if name == "hba" else f"{valid}lonely\n"
    machine.write(path, malformed, mode=0o640, owner="postgres:postgres")
    before = server.state(machine)
    run = salt.apply(machine, pillar={"dkim": {"domains": [*DOMAINS, "example.net"]}})
    first = run.states[0]
    assert first.result is False
    assert f"{path}, line {len(malformed.splitlines())}: " in first.comment
    assert run.changed == []
    assert server.state(machine).differences(before) == []
    assert machine.read(path) == malformed
    machine.write(path, valid, mode=0o640, owner="postgres:postgres")
    assert salt.apply(machine, pillar=PILLAR).changed == []


@pytest.fixture(scope="module")
def logged(box: mail.Mailbox) -> mail.Mailbox:
    """The same machine. PostgreSQL logs every statement and accepts TLS at its own host name."""
    server.sql(box.machine, "ALTER SYSTEM SET log_statement = 'all'")
    server.sql(box.machine, "ALTER SYSTEM SET listen_addresses = '*'")
    path = access_file(box.machine, "hba")
    line = "hostssl all all 127.0.0.0/8 scram-sha-256\n"
    text = line + box.machine.read(path)
    box.machine.write(path, text, mode=0o640, owner="postgres:postgres")
    box.machine.run("systemctl restart postgresql")
    box.machine.run(
        ["psql", "-X", "-q"],
        user="postgres",
        input="SET log_statement = 'none';"
        f" CREATE ROLE admin SUPERUSER LOGIN PASSWORD '{ADMIN_PASSWORD}'",
    )
    box.machine.wait_for("test -S /var/spool/postfix/opendkim/opendkim.sock")
    return box


BY_PASSWORD = {
    "socket": {"reader": {"auth": "password", "password": READER_PASSWORD}},
    "network": {
        "reader": {"auth": "password", "password": READER_PASSWORD},
        "host": "mail.example.net",
        "manage": False,
        "user": "admin",
        "password": ADMIN_PASSWORD,
        "sslmode": "verify-full",
        "sslrootcert": CERTIFICATE,
    },
}
SESSIONS = (
    "SELECT DISTINCT a.client_addr IS NOT NULL, coalesce(s.ssl, false)"
    f" FROM pg_stat_activity a LEFT JOIN pg_stat_ssl s USING (pid) WHERE usename = '{READER}'"
)


@pytest.mark.parametrize("way", short_form(["network", "socket"]))
def test_daemon_logs_in_by_password_and_no_log_or_process_shows_it(
    logged: mail.Mailbox, records: Mapping[str, str], way: str
) -> None:
    machine = logged.machine
    run = salt.apply(machine, pillar={"dkim": {"database": BY_PASSWORD[way], "domains": DOMAINS}})
    assert run.succeeded, str(run)
    again = salt.apply(machine)
    assert again.changed == [], str(again)
    assert_signed(logged, records)
    assert server.sql(machine, SESSIONS) == ("t|t" if way == "network" else "f|f")
    assert machine.run("stat -c '%U %a' /etc/opendkim-pgpass").stdout == "opendkim 400\n"
    paths = "/var/log /var/cache /etc/opendkim.conf /etc/systemd /proc/[0-9]*/cmdline"
    for password in (READER_PASSWORD, ADMIN_PASSWORD):
        found = machine.run(f"grep -rlsF {password} {paths}", check=False).stdout.split()
        # The passwords come from Salt's pillar.
        assert [path for path in found if "/pillar/" not in path and "/proc/" not in path] == []
        assert machine.run(f"journalctl -q | grep -F {password}", check=False).stdout == ""
        assert password not in f"{run} {again}"
    assert "statement: " in machine.run("cat /var/log/postgresql/*.log").stdout


def test_reader_returns_to_peer_authentication_and_loses_its_password(
    logged: mail.Mailbox, records: Mapping[str, str]
) -> None:
    run = salt.apply(logged.machine, pillar=PILLAR)
    assert run.succeeded, str(run)
    assert salt.apply(logged.machine).changed == []
    assert_signed(logged, records)
    assert server.sql(logged.machine, RIGHTS) == "t|f|f|f|f|f|t|0"
    assert not logged.machine.exists("/etc/opendkim-pgpass")


@pytest.mark.soak
def test_case_51_renamed_reader_and_map_leave_nothing_behind(
    box: mail.Mailbox, records: Mapping[str, str]
) -> None:
    """One run gives the daemon its new role, then removes the old one. The next changes nothing."""
    renamed = {"database": {"reader": {"name": "mail-signer", "map": "signermap"}}}
    salt.set_pillar(box.machine, {"dkim": PILLAR["dkim"] | renamed})
    announced = salt.apply(box.machine, test=True)
    run = salt.apply(box.machine)
    assert run.succeeded, str(run)
    assert {state.id for state in run.changed} == {state.id for state in announced.changed}
    texts = [box.machine.read(access_file(box.machine, name)) for name in ("hba", "ident")]
    added = [line for text in texts for line in text.splitlines() if "by the dkim formula" in line]
    assert added
    assert not any(READER in line or "maildkim " in line for line in added)
    assert server.sql(box.machine, f"SELECT FROM pg_roles WHERE rolname = '{READER}'") == ""
    assert_signed(box, records)
    again = salt.apply(box.machine)
    assert again.succeeded, str(again)
    assert not again.changed
