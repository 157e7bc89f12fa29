"""The takeover, in place, of a server that was set up by the howto and that signs throughout."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from support import mail, salt, server
from support.machine import Machine
from support.traffic import Outcome, Traffic

pytestmark = pytest.mark.one_release("bookworm")

# The packages are installed: this file does not test their installation.
EQUIPPED = True

# The howto's configuration, with two corrections that it needs to sign: postfix is a member of the
# group instead of its administrator, and the socket's directory has a search bit.
PASSWORD = "howtos-own-password"
DSN = f"dsn:pgsql://vmail-dkim-reader:{PASSWORD}@localhost/vmail/table="
OPENDKIM_CONF = f"""\
Syslog yes
UserID opendkim
UMask 007
PidFile /run/opendkim/opendkim.pid
Canonicalization relaxed/relaxed
OversignHeaders From
KeyTable {DSN}dkim_key_table?keycol=identifier?datacol=domain,selector,key
SigningTable {DSN}dkim_signing_table?keycol=pattern?datacol=identifier
Socket local:/var/spool/postfix/opendkim/opendkim.sock
"""
MAIL_SERVER = """
set -e
chmod 400 /etc/opendkim.conf
mkdir /var/spool/postfix/opendkim
chown opendkim:postfix /var/spool/postfix/opendkim
chmod 750 /var/spool/postfix/opendkim
gpasswd -a postfix opendkim
postconf -e smtpd_milters=unix:/opendkim/opendkim.sock 'non_smtpd_milters=$smtpd_milters' \\
    milter_default_action=accept internal_mail_filter_classes=bounce
hba=$(ls /etc/postgresql/*/main/pg_hba.conf)
cat >> $hba <<END
# the mail server's
local   vmail             vmail-dkim-reader                       peer map=maildkim
END
cat >> ${hba%hba.conf}ident.conf <<END
maildkim        opendkim                "vmail-dkim-reader"
END
systemctl reload postgresql
systemctl restart opendkim postfix
"""
KEY_TABLES = """
CREATE TABLE {schema}dkim (
    id SERIAL PRIMARY KEY,
    domain_id INTEGER NOT NULL REFERENCES {table}({id}),
    selector TEXT NOT NULL DEFAULT 'default',
    key TEXT NOT NULL,
    UNIQUE(domain_id, selector)
);
CREATE VIEW {schema}dkim_signing_table AS
    SELECT selector || '.' || d.{name} AS identifier, d.{name} AS pattern
      FROM {schema}dkim INNER JOIN {table} d ON dkim.domain_id = d.{id};
CREATE VIEW {schema}dkim_key_table AS
    SELECT selector || '.' || d.{name} AS identifier, d.{name} AS domain, selector, key
      FROM {schema}dkim INNER JOIN {table} d ON dkim.domain_id = d.{id};
GRANT SELECT on {schema}dkim_signing_table TO "vmail-dkim-reader";
GRANT SELECT on {schema}dkim_key_table TO "vmail-dkim-reader";
"""
DATABASE = f"""
CREATE ROLE mailadm LOGIN;
CREATE USER "vmail-dkim-reader" WITH PASSWORD '{PASSWORD}';
CREATE USER spamfilter;
CREATE DATABASE vmail OWNER mailadm;
\\connect vmail
SET ROLE mailadm;
CREATE TABLE domains (id SERIAL PRIMARY KEY, domain TEXT NOT NULL UNIQUE);
CREATE TABLE users (
    id SERIAL PRIMARY KEY, domain_id INTEGER NOT NULL REFERENCES domains(id), name TEXT NOT NULL
);
CREATE VIEW addresses AS
    SELECT users.name || '@' || domain AS address FROM users JOIN domains ON domain_id = domains.id;
GRANT SELECT ON users, addresses TO spamfilter;
INSERT INTO domains (domain) VALUES ('example.com'), ('example.org'), ('example.info'),
    ('new.example'), ('late.example'), ('unsigned.example');
INSERT INTO users (domain_id, name) SELECT id, 'someone' FROM domains;
{KEY_TABLES.format(schema="", table="domains", id="id", name="domain")}
"""
OTHER_NAMES = f"""
CREATE DATABASE sitemail OWNER mailadm;
\\connect sitemail
SET ROLE mailadm;
CREATE SCHEMA mail;
GRANT USAGE ON SCHEMA mail TO "vmail-dkim-reader";
CREATE TABLE mail.virtual_domains (domain_id SERIAL PRIMARY KEY, fqdn VARCHAR(255) UNIQUE);
INSERT INTO mail.virtual_domains (fqdn) VALUES ('old.example'), ('fresh.example');
{KEY_TABLES.format(schema="mail.", table="mail.virtual_domains", id="domain_id", name="fqdn")}
"""
# The howto's own tool writes the traditional form. Another tool on the server writes PKCS#8.
KEYS = (
    ("example.com", "default", "-traditional"),
    ("example.org", "old2024", "-traditional"),
    ("example.org", "default", "-traditional"),
    ("example.info", "tool", ""),
)
# Paths that must hold neither the howto's password nor a private key.
SEARCHED = "/var/cache /var/log /root /srv/pillar /tmp /run /etc"

PILLAR = {
    "dkim": {
        "database": {"domains": {"name": "domain"}},
        "domains": ["example.com", "example.org", "example.info", "new.example"],
    }
}
SITE = {
    "dkim": {
        "database": {
            "name": "sitemail",
            "preset": "howto",
            "domains": {"table": "mail.virtual_domains", "name": "fqdn"},
        },
        "domains": ["old.example", "fresh.example"],
    }
}
SIGNING = ("example.com", "example.org", "example.info")

ROWS = "SELECT id, domain_id, selector, md5(key) FROM dkim ORDER BY id"
OWNERS = (
    "SELECT relname, relkind, pg_get_userbyid(relowner) FROM pg_class"
    " WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
)
OTHER_TABLES = ("--table=domains", "--table=users", "--table=addresses", "--no-privileges")
# Every right on these tables and their columns, one per line.
RIGHTS = """
SELECT c.relname, a.attname, x.grantee::regrole, x.privilege_type
  FROM pg_class AS c
  JOIN pg_attribute AS a ON a.attrelid = c.oid AND NOT a.attisdropped
 CROSS JOIN aclexplode(coalesce(c.relacl, acldefault('r', c.relowner)) || a.attacl) AS x
 WHERE c.relname IN ('domains', 'users', 'addresses', 'virtual_domains') AND a.attnum > 0
 ORDER BY 1, 2, 3, 4
"""


@dataclass(frozen=True)
class Takeover:
    """The howto's server before the formula's first run, the runs, and the mail during the run."""

    rows: str
    owners: str
    other_tables: str
    rights: str
    signers: set[tuple[str, str]]
    untouched: list[str]
    announced: salt.Run
    applied: salt.Run
    again: salt.Run
    traffic: Outcome
    private_lines: set[str]


def psql(machine: Machine, script: str, database: str = "postgres", **variables: str) -> None:
    """Run a script as the superuser. In the script ``:'name'`` is a variable's value."""
    settings = [f"--set={name}={value}" for name, value in variables.items()]
    command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, *settings]
    machine.run(command, user="postgres", input=script)


def add_key(
    machine: Machine,
    domain: str,
    selector: str,
    form: str = "-traditional",
    database: str = "vmail",
) -> None:
    """Add a key as the server's own tool does: by the howto's INSERT, as the role of that tool."""
    pem = machine.run(f"openssl genrsa {form} 2048").stdout
    schema, table, key, name = (
        ("", "domains", "id", "domain")
        if database == "vmail"
        else ("mail.", "mail.virtual_domains", "domain_id", "fqdn")
    )
    psql(
        machine,
        "SET ROLE mailadm;"
        f" INSERT INTO {schema}dkim(domain_id, selector, key)"
        f" SELECT {key}, :'selector', :'pem' FROM {table} WHERE {name} = :'domain'",
        database,
        domain=domain,
        selector=selector,
        pem=pem,
    )


def records_of(machine: Machine) -> Mapping[str, str]:
    return mail.zone_records(machine, salt.call(machine, "dkim.records", format="bind"))


def new_rights(before: str, after: str) -> set[str]:
    """Return the new rights. Assert that no right was lost."""
    old, new = set(before.splitlines()), set(after.splitlines())
    assert old - new == set()
    return new - old


def private_lines(pems: str, records: Mapping[str, str]) -> set[str]:
    """
    Return the lines of PEM texts without those of the modulus. The record holds the modulus in
    the same base64, because the modulus begins at a multiple of three octets in both.
    """
    public = "".join(records.values())
    return {line for line in pems.splitlines() if len(line) == 64 and line not in public}


@pytest.fixture(scope="module")
def howto(machine: Machine) -> mail.Mailbox:
    """The howto's mail server, which signs."""
    machine.install("postgresql", "opendkim", "libopendbx1-pgsql", "postfix")
    psql(machine, DATABASE)
    for domain, selector, form in KEYS:
        add_key(machine, domain, selector, form)
    machine.write("/etc/opendkim.conf", OPENDKIM_CONF)
    machine.run(MAIL_SERVER)
    machine.wait_for("test -S /var/spool/postfix/opendkim/opendkim.sock")
    return mail.Mailbox(machine)


@pytest.fixture(scope="module")
def takeover(howto: mail.Mailbox) -> Takeover:
    machine = howto.machine
    senders = [f"someone@{domain}" for domain in SIGNING]
    before = [mail.sent_by_smtp(howto, sender) for sender in senders]
    rows, owners = server.sql(machine, ROWS), server.sql(machine, OWNERS)
    tables, rights = server.dump(machine, *OTHER_TABLES), server.sql(machine, RIGHTS)
    pems = server.sql(machine, "SELECT key FROM dkim")
    salt.install_formula(machine, PILLAR)
    # Without the driver a test run can't read the database.
    driver = salt.apply(machine, "dkim.python")
    assert driver.succeeded, str(driver)
    state = server.state(machine)
    announced = salt.apply(machine, test=True)
    untouched = server.state(machine).differences(state)
    with Traffic(howto, senders) as traffic:
        applied = salt.apply(machine)
    again = salt.apply(machine)
    records = records_of(machine)
    signed = [mail.signatures(machine, message, records) for message in before]
    return Takeover(
        rows=rows,
        owners=owners,
        other_tables=tables,
        rights=rights,
        signers={(found.domain, found.selector) for (found,) in signed if found.valid},
        untouched=untouched,
        announced=announced,
        applied=applied,
        again=again,
        traffic=traffic.outcome(records),
        private_lines=private_lines(pems, records),
    )


def test_howtos_server_signs_before_the_run(takeover: Takeover) -> None:
    assert {domain for domain, _ in takeover.signers} == set(SIGNING)


def test_test_run_changes_nothing(takeover: Takeover) -> None:
    assert takeover.announced.succeeded, str(takeover.announced)
    assert takeover.untouched == []


def test_first_run_succeeds_on_the_howtos_server(takeover: Takeover) -> None:
    assert takeover.applied.succeeded, str(takeover.applied)


def test_run_does_what_was_announced(takeover: Takeover) -> None:
    def touched(run: salt.Run) -> set[str]:
        return {state.id for state in (*run.changed, *run.would_change)}

    assert touched(takeover.applied) == touched(takeover.announced)
    for state_id in (
        "The virtual-mail database holds DKIM keys",
        "OpenDKIM's role reads the views and nothing else",
        "The roles can log in",
        "OpenDKIM's role has no password",
        "Every domain has its keys",
    ):
        assert takeover.applied[state_id].changes == takeover.announced[state_id].changes


def test_second_run_changes_nothing(takeover: Takeover) -> None:
    assert takeover.again.succeeded, str(takeover.again)
    assert takeover.again.changed == []


def test_no_message_leaves_unsigned_during_the_run(takeover: Takeover) -> None:
    assert takeover.traffic.unsigned == []
    assert set(takeover.traffic.taken) <= takeover.traffic.signatures.keys()
    assert len(takeover.traffic.taken) > 20


def test_every_domain_keeps_signing_with_the_same_key(takeover: Takeover) -> None:
    assert takeover.traffic.signers == takeover.signers


def test_rows_keep_id_domain_selector_and_key(howto: mail.Mailbox, takeover: Takeover) -> None:
    new = server.sql(howto.machine, ROWS).splitlines()
    assert len(takeover.rows.splitlines()) == len(KEYS)
    assert new[: len(KEYS)] == takeover.rows.splitlines()
    assert len(new) == len(KEYS) + 1, "one new row, for new.example"


def test_domain_with_two_keys_signs_with_one_and_keeps_both(
    howto: mail.Mailbox, takeover: Takeover
) -> None:
    (signing,) = (selector for domain, selector in takeover.signers if domain == "example.org")
    (other,) = {"old2024", "default"} - {signing}
    state = "The virtual-mail database holds DKIM keys"
    message = f"example.org has several rsa keys: '{signing}' signs, '{other}' retired"
    assert message in takeover.announced[state].comment
    assert message in takeover.applied[state].comment
    keys = salt.call(howto.machine, "dkim.list_keys", "example.org")
    assert {key["selector"]: key["state"] for key in keys} == {signing: "active", other: "retired"}


def test_tables_still_belong_to_their_owner(howto: mail.Mailbox, takeover: Takeover) -> None:
    owners = server.sql(howto.machine, OWNERS).splitlines()
    missing = set(takeover.owners.splitlines()) - set(owners)
    assert missing == {f"dkim_{view}_table|v|mailadm" for view in ("key", "signing")}
    new = [line.split("|") for line in set(owners) - set(takeover.owners.splitlines())]
    # The owner of the table of keys owns its indexes.
    assert {owner for _, kind, owner in new if kind != "i"} == {"vmail-dkim-owner"}


def test_other_tables_are_untouched(howto: mail.Mailbox, takeover: Takeover) -> None:
    assert server.dump(howto.machine, *OTHER_TABLES) == takeover.other_tables
    assert "CREATE VIEW public.addresses" in takeover.other_tables


def test_owner_of_the_functions_may_read_domain_names_and_nothing_else(
    howto: mail.Mailbox, takeover: Takeover
) -> None:
    assert new_rights(takeover.rights, server.sql(howto.machine, RIGHTS)) == {
        'domains|domain|"vmail-dkim-owner"|SELECT',
        'domains|id|"vmail-dkim-owner"|SELECT',
    }


def test_servers_own_tool_deletes_and_renames_domains_that_have_a_key(
    howto: mail.Mailbox, takeover: Takeover
) -> None:
    assert takeover.applied.succeeded
    psql(
        howto.machine,
        "SET ROLE mailadm; BEGIN; DELETE FROM users WHERE domain_id = 3;"
        " DELETE FROM domains WHERE domain = 'example.info';"
        " UPDATE domains SET domain = 'renamed.example' WHERE domain = 'example.org'; ROLLBACK",
        "vmail",
    )


def test_password_of_the_old_configuration_is_removed(
    howto: mail.Mailbox, takeover: Takeover
) -> None:
    stored = "SELECT rolpassword IS NULL FROM pg_authid WHERE rolname = 'vmail-dkim-reader'"
    assert server.sql(howto.machine, stored) == "t"
    found = howto.machine.run(f"grep -rlF {PASSWORD} {SEARCHED} 2>/dev/null", check=False).stdout
    assert found == ""
    for run in (takeover.announced, takeover.applied, takeover.again):
        assert PASSWORD not in str(run)


def test_private_keys_are_in_no_return_and_no_cache(
    howto: mail.Mailbox, takeover: Takeover
) -> None:
    assert len(takeover.private_lines) > 60
    output = f"{takeover.announced} {takeover.applied} {takeover.again}"
    assert not any(line in output for line in takeover.private_lines)
    search = "cat > /dev/shm/lines; grep -rlFf /dev/shm/lines " + SEARCHED + "; rm /dev/shm/lines"
    lines = "\n".join(takeover.private_lines)
    assert howto.machine.run(f"{search} 2>/dev/null", input=lines, check=False).stdout == ""


def test_servers_own_tool_adds_a_key_that_signs(howto: mail.Mailbox, takeover: Takeover) -> None:
    assert takeover.applied.succeeded
    add_key(howto.machine, "late.example", "mailadm2026")
    message = mail.sent_by_smtp(howto, "someone@late.example")
    (signature,) = mail.signatures(howto.machine, message, records_of(howto.machine))
    assert signature.valid, str(signature)
    assert (signature.domain, signature.selector) == ("late.example", "mailadm2026")


def test_domain_without_a_key_gets_one_that_signs(howto: mail.Mailbox, takeover: Takeover) -> None:
    assert takeover.applied.succeeded
    message = mail.sent_by_sendmail(howto, "someone@new.example")
    (signature,) = mail.signatures(howto.machine, message, records_of(howto.machine))
    assert signature.valid, str(signature)


def test_hosted_domain_without_a_key_is_left_unsigned(
    howto: mail.Mailbox, takeover: Takeover
) -> None:
    assert takeover.applied.succeeded
    message = mail.sent_by_smtp(howto, "someone@unsigned.example")
    assert "DKIM-Signature:" not in mail.headers(message)


def test_takeover_works_with_other_names_of_schema_table_and_columns(
    howto: mail.Mailbox, takeover: Takeover
) -> None:
    assert takeover.applied.succeeded
    machine = howto.machine
    psql(machine, OTHER_NAMES)
    add_key(machine, "old.example", "kept", database="sitemail")
    tables = ("--table=mail.virtual_domains", "--no-privileges")
    before = server.dump(machine, *tables, database="sitemail")
    run = salt.apply(machine, pillar=SITE)
    assert run.succeeded, str(run)
    assert salt.apply(machine).changed == []
    assert server.dump(machine, *tables, database="sitemail") == before
    records = records_of(machine)
    for domain, selector in (("old.example", "kept"), ("fresh.example", "default")):
        (signature,) = mail.signatures(
            machine, mail.sent_by_smtp(howto, f"someone@{domain}"), records
        )
        assert signature.valid, str(signature)
        assert (signature.domain, signature.selector) == (domain, selector)
