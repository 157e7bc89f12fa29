"""The database on one machine, OpenDKIM and Postfix on another one, with TLS between them."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from support import mail, remote, salt, server
from support.machine import CommandFailed, Machine

# One release is enough; `bin/test soak` runs this file on both.
pytestmark = pytest.mark.one_release("trixie")

READER, WRITER = "vmail-dkim-reader", "vmail-dkim-writer"
READER_PASSWORD, WRITER_PASSWORD = "canary-reads-4c1f", "canary-works-77be"
DOMAINS = {"example.com": {"algorithm": "ed25519"}, "example.org": {}}
DATABASE_ROLES, MAIL_ROLES = "dkim.database,dkim.keys", "dkim.opendkim,dkim.postfix"
# Encryption and client address of the daemons' sessions.
ENCRYPTED = f"""
SELECT DISTINCT s.ssl, a.client_addr FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
 WHERE a.usename = '{READER}'
"""

DAEMONS = (
    "md5sum /etc/opendkim* /etc/postfix/main.cf;"
    " systemctl show --property=InvocationID opendkim opendkim-ed25519 opendkim-watchdog postfix"
)


def database_pillar(reader: Mapping[str, Any]) -> dict[str, Any]:
    writer = {"clients": [remote.MAIL], "password": WRITER_PASSWORD}
    where = {"reader": {"clients": [remote.MAIL], **reader}, "writer": writer}
    return {"dkim": {"database": where, "domains": DOMAINS}}


def mail_pillar(reader: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    where = {
        "host": remote.NAMES[remote.DATABASE],
        "sslrootcert": remote.AUTHORITY,
        "reader": reader,
        **more,
    }
    action = {"milter_default_action": "tempfail"}
    return {"dkim": {"database": where, "domains": DOMAINS, "postfix": action}}


BY_PASSWORD = {"auth": "password", "password": READER_PASSWORD}
CERTIFIED = {"auth": "cert", "common_names": ["mail.example.net"]}
CERTIFICATE = {"auth": "cert", "sslcert": remote.CERTIFICATE, "sslkey": remote.KEY}


@pytest.fixture(scope="module")
def site(release: str) -> Iterator[remote.Site]:
    with remote.site(release) as site:
        salt.install_formula(site.database, database_pillar(BY_PASSWORD))
        salt.install_formula(site.mail, mail_pillar(BY_PASSWORD))
        yield site


@pytest.fixture(scope="module")
def box(site: remote.Site) -> mail.Mailbox:
    for machine, roles in ((site.database, DATABASE_ROLES), (site.mail, MAIL_ROLES)):
        run = salt.apply(machine, roles)
        assert run.succeeded, str(run)
    return mail.Mailbox(site.mail)


@pytest.fixture(scope="module")
def records(site: remote.Site, box: mail.Mailbox) -> Mapping[str, str]:
    return remote.records(site)


def assert_signed(box: mail.Mailbox, records: Mapping[str, str]) -> None:
    for domain in DOMAINS:
        message = mail.sent_by_smtp(box, f"someone@{domain}")
        (signature,) = mail.signatures(box.machine, message, records)
        assert signature.valid, f"{signature}\n{mail.headers(message)}"


def log_in(machine: Machine, role: str, password: str, options: str, host: str = "db.example.net"):
    """Log in from a machine by password, with options of libpq."""
    command = ["psql", "-X", "-At", f"host={host} dbname=vmail user={role} {options}"]
    return machine.run(
        [*command, "-c", "SELECT 1"], check=False, env={"PGPASSWORD": password, "LANG": "C"}
    )


def test_message_is_signed_with_keys_of_the_remote_database(
    box: mail.Mailbox, records: Mapping[str, str]
) -> None:
    assert_signed(box, records)


def test_second_run_changes_nothing_on_both_machines(site: remote.Site, box: mail.Mailbox) -> None:
    for machine, roles in ((site.database, DATABASE_ROLES), (site.mail, MAIL_ROLES)):
        again = salt.apply(machine, roles)
        assert again.succeeded, str(again)
        assert again.changed == []


def test_every_session_is_encrypted(site: remote.Site, box: mail.Mailbox) -> None:
    assert server.sql(site.database, ENCRYPTED) == f"t|{remote.MAIL}"


def test_login_without_tls_is_refused(site: remote.Site, box: mail.Mailbox) -> None:
    found = log_in(site.mail, READER, READER_PASSWORD, "sslmode=disable")
    assert "no encryption" in found.stderr
    assert log_in(site.mail, READER, READER_PASSWORD, "sslmode=require").stdout == "1\n"


def test_login_from_another_machine_is_refused(site: remote.Site, box: mail.Mailbox) -> None:
    found = log_in(site.database, READER, READER_PASSWORD, "sslmode=require", remote.DATABASE)
    assert f'no pg_hba.conf entry for host "{remote.DATABASE}"' in found.stderr


def test_passwords_are_only_in_pillar_and_password_file(
    site: remote.Site, box: mail.Mailbox
) -> None:
    for machine in (site.mail, site.database):
        for secret in (READER_PASSWORD, WRITER_PASSWORD):
            holders = f"grep -rlsF {secret} /etc /run /var/log /var/lib /var/tmp /tmp"
            found = machine.run(holders, check=False).stdout.split()
            has_file = (machine, secret) == (site.mail, READER_PASSWORD)
            allowed = ["/etc/opendkim-pgpass"] if has_file else []
            assert found == allowed
            processes = f"grep -lsF {secret} /proc/[0-9]*/cmdline /proc/[0-9]*/environ"
            # grep(1) finds the secret in its own argument. Its process has ended by now.
            others = [
                path
                for path in machine.run(processes, check=False).stdout.split()
                if machine.run(["test", "-e", path], check=False).returncode == 0
            ]
            assert others == []
            assert machine.run(f"journalctl -q -a | grep -F {secret}", check=False).stdout == ""


def test_mail_host_generates_no_keys_and_says_that_it_only_signs(
    site: remote.Site, box: mail.Mailbox
) -> None:
    with pytest.raises(CommandFailed, match="this machine only signs"):
        salt.call(site.mail, "dkim.list_keys")
    checked = salt.call(site.mail, "dkim.check")
    assert checked["problems"] == []
    assert any("this machine only signs" in text for text in checked["advice"])


@pytest.mark.soak
def test_selftest_on_the_mail_host_uses_what_its_daemons_read(
    site: remote.Site, box: mail.Mailbox
) -> None:
    results = {one["domain"]: one for one in salt.call(site.mail, "dkim.selftest", "example.com")}
    assert list(results) == ["example.com"]
    assert results["example.com"]["algorithm"] == "ed25519"
    every = salt.call(site.mail, "dkim_sls.host_report", '["mail"]')
    assert (every["selftest"]["ok"], every["database"]["host"]) == (True, "db.example.net")


@pytest.mark.soak
def test_settings_that_the_database_refuses_leave_the_daemon_unchanged(
    site: remote.Site, box: mail.Mailbox, records: Mapping[str, str]
) -> None:
    before = site.mail.run(DAEMONS).stdout
    wrong = mail_pillar({"auth": "password", "password": "another-word"})
    wrong["dkim"]["opendkim"] = {"settings": {"SignatureTTL": 604800}}
    for test in (True, False):
        run = salt.apply(site.mail, "dkim.mail", test=test, pillar=wrong)
        assert "password authentication failed" in str(run)
        assert run.changed == []
    salt.set_pillar(site.mail, mail_pillar(BY_PASSWORD))
    assert site.mail.run(DAEMONS).stdout == before
    assert_signed(box, records)


@pytest.mark.soak
def test_writer_can_generate_keys_from_the_mail_host(site: remote.Site, box: mail.Mailbox) -> None:
    salt.set_pillar(site.mail, mail_pillar(BY_PASSWORD, user=WRITER, password=WRITER_PASSWORD))
    generated = salt.call(site.mail, "dkim.generate", "example.com", "from-afar")
    checked = salt.call(site.mail, "dkim.check")
    salt.set_pillar(site.mail, mail_pillar(BY_PASSWORD))
    assert generated["state"] == "pending"
    assert checked["problems"] == []
    who = "SELECT who FROM dkim_history WHERE selector = 'from-afar'"
    assert server.sql(site.database, who) == f"{WRITER} by dkim-formula"


@pytest.mark.soak
def test_removed_access_lines_are_restored(
    site: remote.Site, box: mail.Mailbox, records: Mapping[str, str]
) -> None:
    folder = remote.postgresql(site.database)
    site.database.run(f"sed -i '/dkim/d' {folder}/pg_hba.conf {folder}/pg_ident.conf")
    site.database.run("systemctl restart postgresql")
    run = salt.apply(site.database, DATABASE_ROLES)
    assert run.succeeded, str(run)
    assert {state.id for state in run.changed} == {"The roles can log in"}
    assert_signed(box, records)


@pytest.mark.soak
def test_daemon_refuses_a_server_with_a_certificate_of_another_authority(
    site: remote.Site, box: mail.Mailbox
) -> None:
    """OpenDKIM prints freed memory instead of the reason. Only dkim.doctor gives the reason."""
    authority = site.mail.read(remote.AUTHORITY)
    site.mail.write(remote.AUTHORITY, site.mail.read(remote.STRANGER))
    try:
        site.mail.run("systemctl restart opendkim opendkim-ed25519")
        site.mail.wait_for("journalctl -q -a -u opendkim | grep 'dkimf_db_open()'")
        text = mail.compose("someone@example.com", box.address)
        with pytest.raises(CommandFailed, match="451"):
            mail.send_smtp(site.mail, text, "someone@example.com", box.address)
        _, found = salt.ask(site.mail, "dkim.doctor")
        assert "certificate verify failed" in str(found)
    finally:
        site.mail.write(remote.AUTHORITY, authority)


@pytest.mark.soak
def test_certificate_replaces_the_password(
    site: remote.Site, box: mail.Mailbox, records: Mapping[str, str]
) -> None:
    for machine, roles, pillar in (
        (site.database, DATABASE_ROLES, database_pillar(CERTIFIED)),
        (site.mail, MAIL_ROLES, mail_pillar(CERTIFICATE)),
    ):
        run = salt.apply(machine, roles, pillar=pillar)
        assert run.succeeded, str(run)
    assert salt.apply(site.database, DATABASE_ROLES).changed == []
    assert not site.mail.exists("/etc/opendkim-pgpass")
    assert_signed(box, records)
    assert "certificate" in log_in(site.mail, READER, READER_PASSWORD, "sslmode=require").stderr


@pytest.mark.soak
def test_writer_can_generate_keys_from_the_mail_host_with_a_certificate(
    site: remote.Site, box: mail.Mailbox
) -> None:
    key = site.database.read("/root/tls/mail.example.net.key")
    site.mail.write("/etc/salt-client.key", key, mode=0o400)
    pillar = database_pillar(CERTIFIED)
    pillar["dkim"]["database"]["writer"] = {
        "clients": [remote.MAIL],
        "common_names": ["mail.example.net"],
    }
    run = salt.apply(site.database, "dkim.database", pillar=pillar)
    assert run.succeeded, str(run)
    assert salt.apply(site.database, "dkim.database").changed == []
    own = {"user": WRITER, "sslcert": remote.CERTIFICATE, "sslkey": "/etc/salt-client.key"}
    salt.set_pillar(site.mail, mail_pillar(CERTIFICATE, **own))
    generated = salt.call(site.mail, "dkim.generate", "example.org", "by-certificate")
    checked = salt.call(site.mail, "dkim.check")
    assert generated["state"] == "pending"
    assert checked["problems"] == []
    who = "SELECT who FROM dkim_history WHERE selector = 'by-certificate'"
    assert server.sql(site.database, who) == f"{WRITER} by dkim-formula"
    assert "certificate" in log_in(site.mail, WRITER, WRITER_PASSWORD, "sslmode=require").stderr


@pytest.mark.soak
def test_certificate_of_another_machine_does_not_log_in_as_the_reader(
    site: remote.Site, box: mail.Mailbox
) -> None:
    for kind in ("pem", "key"):
        text = site.database.read(f"/root/tls/other.example.net.{kind}")
        site.mail.write(f"/root/other.{kind}", text, mode=0o400)
    options = "sslmode=require sslcert=/root/other.pem sslkey=/root/other.key"
    found = log_in(site.mail, READER, "none", options)
    assert f'authentication failed for user "{READER}"' in found.stderr
