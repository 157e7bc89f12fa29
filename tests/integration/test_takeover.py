"""
Import of the keys of the real rspamd, amavisd, PostfixAdmin and Modoboa while mail is signed.

Each program generates its keys itself and prints or publishes their records. The same records
verify what OpenDKIM signs after the import.
"""

import json
from collections.abc import Iterator

import pytest
from support import mail, mail_panels, salt
from support.machine import Machine, equipment, panels, signers
from support.mail_panels import Modoboa, PostfixAdmin
from support.progress import to_stderr

# The programs are the same on each release, so one release is enough.
pytestmark = pytest.mark.one_release(panels.RELEASE)

MILTER = "inet:localhost:11332"
RSPAMD_KEYS = "/var/lib/rspamd/dkim"
OVERRIDE = "/etc/rspamd/override.d/dkim_signing.conf"
AMAVISD_CONF = "/etc/amavis/conf.d/50-user"


def pillar(**domains: dict) -> dict:
    return {"dkim": {"domains": {name.replace("_", "."): own for name, own in domains.items()}}}


def signed_with(message: bytes, box: mail.Mailbox, records: dict) -> list[tuple[str, str, str]]:
    """Return domain, selector and algorithm of each signature. Assert that all are valid."""
    found = mail.signatures(box.machine, message, records)
    assert all(one.valid for one in found), [one.problem for one in found]
    return [(one.domain, one.selector, one.algorithm) for one in found]


def import_keys(machine: Machine, **arguments: object) -> dict:
    """Import keys and return the result. Assert that a test run returned it without a change."""
    announced = salt.call(machine, "dkim.import_tables", test=True, **arguments)
    assert salt.call(machine, "dkim.list_keys") == []
    done = salt.call(machine, "dkim.import_tables", **arguments)
    assert done == announced
    again = salt.call(machine, "dkim.import_tables", **arguments)
    assert (again["imported"], again["changes"]) == ([], {})
    return done


def reports_on_other_signers(machine: Machine, program: str) -> tuple[list[str], list[dict]]:
    """Return the check's advice and the doctor's findings on other signing programs."""
    advice = salt.call(machine, "dkim.check")["advice"]
    # The exit status is ignored: it also depends on the doctor's other findings.
    _, findings = salt.ask(machine, "dkim.doctor")
    return (
        [text for text in advice if text.startswith(program)],
        [one for one in findings if one["check"].startswith("other signers")],
    )


def apply(machine: Machine, state: str = "state.highstate") -> None:
    run = salt.apply(machine, state)
    assert run.succeeded, str(run)


# --- rspamd ---------------------------------------------------------------------------------------


def rspamd_key(machine: Machine, domain: str, selector: str, *options: str) -> dict[str, str]:
    """Have rspamd generate a key, and return the record that rspamd prints."""
    path = f"{RSPAMD_KEYS}/{domain}.{selector}.key"
    command = ["rspamadm", "dkim_keygen", "-d", domain, "-s", selector, "-k", path, *options]
    output = machine.run(command).stdout
    machine.run(f"chown _rspamd: {path} && chmod 600 {path}")
    return mail.zone_records(machine, output.replace(" IN ", f".{domain}. 3600 IN ", 1))


@pytest.fixture(scope="module")
def rspamd(release: str) -> Iterator[tuple[mail.Mailbox, dict[str, str]]]:
    """A server whose mail rspamd signs, and the records of its keys."""
    with Machine(release, layers=signers.layers(release, to_stderr()), warm_salt=True) as machine:
        machine.run("systemctl disable --now amavis")
        # Nothing answers there, so this machine queries no name server.
        machine.write("/etc/resolv.conf", "nameserver 127.0.0.1\n")
        machine.run(f"mkdir -p {RSPAMD_KEYS}")
        records = {}
        for domain, selector, *options in (
            ("example.com", "dkim", "-b", "2048"),
            ("example.org", "s1", "-b", "2048"),
            ("ed.example", "dkim", "-t", "ed25519"),
            ("weak.example", "dkim", "-b", "1024"),
            ("foreign.example", "dkim", "-b", "2048"),
        ):
            records |= rspamd_key(machine, domain, selector, *options)
        machine.write("/etc/rspamd/selectors", "example.org s1\n")
        # This is the configuration of ISPmail's guide.
        machine.write(
            "/etc/rspamd/local.d/dkim_signing.conf",
            f'path = "{RSPAMD_KEYS}/$domain.$selector.key";\n'
            'selector_map = "/etc/rspamd/selectors";\n',
        )
        machine.run("systemctl restart rspamd")
        machine.run(
            f"postconf -e smtpd_milters={MILTER} non_smtpd_milters={MILTER}"
            " && systemctl restart postfix"
        )
        machine.wait_for("ss -tln | grep -q :11332")
        own = pillar(
            example_com={"subdomains": True},
            example_org={},
            ed_example={"algorithm": "ed25519"},
            weak_example={},
        )
        salt.install_formula(machine, own)
        yield mail.Mailbox(machine), records


def test_opendkim_signs_with_rspamds_keys_after_the_import(
    rspamd: tuple[mail.Mailbox, dict[str, str]],
) -> None:
    box, records = rspamd
    machine = box.machine
    rsa = ("example.com", "dkim", "rsa-sha256")
    ed25519 = ("ed.example", "dkim", "ed25519-sha256")
    other = ("example.org", "s1", "rsa-sha256")
    senders = {
        "someone@example.com": rsa,
        "someone@sub.example.com": rsa,
        "someone@example.org": other,
        "someone@ed.example": ed25519,
    }
    for sender, signature in senders.items():
        message = mail.sent_by_smtp(box, sender)
        assert signed_with(message, box, records) == [signature]

    apply(machine, "dkim.database")
    found = import_keys(machine, source="rspamd")
    assert {(one["domain"], one["selector"], one["state"]) for one in found["imported"]} == {
        ("example.com", "dkim", "active"),
        ("example.org", "s1", "active"),
        ("ed.example", "dkim", "active"),
    }
    reasons = {one["entry"].split()[0]: one["reason"] for one in found["refused"]}
    assert "1024 bits" in reasons["dkim._domainkey.weak.example"]
    assert "neither in dkim:domains nor hosted" in reasons["dkim._domainkey.foreign.example"]
    assert len(found["files"]) == 3
    assert [text for text in found["also_signs"] if OVERRIDE in text]

    apply(machine)
    for sender, signature in senders.items():
        message = mail.sent_by_smtp(box, sender)
        # Both programs sign until rspamd's signing is disabled, so no message leaves unsigned.
        assert signed_with(message, box, records) == [signature] * 2
    advice, findings = reports_on_other_signers(machine, "rspamd")
    assert len(advice) == 1
    assert OVERRIDE in findings[0]["remedy"]

    machine.write(OVERRIDE, "enabled = false;\n")
    machine.run("systemctl restart rspamd")
    machine.wait_for("ss -tln | grep -q :11332")
    for sender, signature in senders.items():
        message = mail.sent_by_smtp(box, sender)
        assert signed_with(message, box, records) == [signature]
    advice, findings = reports_on_other_signers(machine, "rspamd")
    assert advice == []
    assert [one["ok"] for one in findings] == [True]


# --- amavisd --------------------------------------------------------------------------------------

CONFIGURATION = """\
use strict;
$myhostname = 'mail.example.net';
$originating = 1;
$enable_dkim_verification = 0;
$enable_dkim_signing = 1;

dkim_key('first.example', 'dkim', '/var/lib/dkim/first.example.pem');

@dkim_signature_options_bysender_maps = ({
    # 'd' defaults to a domain of an author/sender address,
    #"domain.com"  => { d => "domain.com", a => 'rsa-sha256', ttl => 10*24*3600 },

    # catch-all (one dkim key for all domains)
    '.' => {d => 'first.example', a => 'rsa-sha256', c => 'relaxed/simple', ttl => 30*24*3600 },
});

1;  # insure a defined return
"""
# Postfix sends mail to amavisd, which returns it on another port (README.postfix of amavisd).
CONTENT_FILTER = """
postconf -e content_filter=smtp-amavis:[127.0.0.1]:10024
postconf -M 'smtp-amavis/unix=smtp-amavis unix - - y - 2 smtp -o smtp_send_xforward_command=yes' \\
    '127.0.0.1:10025/inet=127.0.0.1:10025 inet n - y - - smtpd -o content_filter= -o smtpd_milters='
systemctl restart postfix
"""


@pytest.fixture(scope="module")
def amavisd(release: str) -> Iterator[tuple[mail.Mailbox, dict[str, str]]]:
    """A server whose mail amavisd signs with one key, as in iRedMail, and the key's record."""
    with Machine(release, layers=signers.layers(release, to_stderr()), warm_salt=True) as machine:
        machine.run("systemctl disable --now rspamd")
        path = "/var/lib/dkim/first.example.pem"
        machine.run(f"mkdir -p /var/lib/dkim && amavisd genrsa {path} 2048")
        machine.run(f"chown amavis {path} && chmod 0400 {path}")
        machine.write(AMAVISD_CONF, CONFIGURATION)
        machine.run("systemctl reset-failed amavis; systemctl restart amavis")
        machine.run(CONTENT_FILTER)
        machine.wait_for("ss -tln | grep -q 127.0.0.1:10024")
        records = mail.zone_records(machine, machine.run("amavisd showkeys").stdout)
        own = pillar(
            first_example={}, second_example={"alias_of": "first.example"}, third_example={}
        )
        own["dkim"]["postfix"] = {"unsigned_services": ["127.0.0.1:10025/inet"]}
        salt.install_formula(machine, own)
        yield mail.Mailbox(machine), records


@pytest.mark.soak
def test_opendkim_signs_with_amavisds_key_after_the_import(
    amavisd: tuple[mail.Mailbox, dict[str, str]],
) -> None:
    box, records = amavisd
    machine = box.machine
    signature = ("first.example", "dkim", "rsa-sha256")
    for sender in ("someone@first.example", "someone@second.example"):
        message = mail.sent_by_smtp(box, sender)
        assert signed_with(message, box, records) == [signature]

    apply(machine, "dkim.database")
    found = import_keys(machine, source="iredmail")
    assert [(one["domain"], one["state"]) for one in found["imported"]] == [
        ("first.example", "active")
    ]
    (note,) = [text for text in found["notes"] if "sign as first.example today" in text]
    assert note.startswith("2 domains")
    assert "third.example" in note
    assert [text for text in found["also_signs"] if AMAVISD_CONF in text]

    apply(machine)
    for sender in ("someone@first.example", "someone@second.example"):
        message = mail.sent_by_smtp(box, sender)
        assert signed_with(message, box, records) == [signature] * 2
    advice, findings = reports_on_other_signers(machine, "amavisd")
    assert len(advice) == 1
    assert AMAVISD_CONF in findings[0]["remedy"]

    off = CONFIGURATION.replace("\n1;  #", "\n$enable_dkim_signing = 0;\n1;  #")
    machine.write(AMAVISD_CONF, off)
    machine.run("systemctl restart amavis")
    machine.wait_for("ss -tln | grep -q 127.0.0.1:10024")
    for sender in ("someone@first.example", "someone@second.example"):
        message = mail.sent_by_smtp(box, sender)
        assert signed_with(message, box, records) == [signature]
    advice, findings = reports_on_other_signers(machine, "amavisd")
    assert advice == []
    assert [one["ok"] for one in findings] == [True]


# --- OpenDKIM -------------------------------------------------------------------------------------

OPENDKIM_CONF = """\
UserID opendkim
Socket inet:8891@localhost
PidFile /run/opendkim/opendkim.pid
Canonicalization relaxed/relaxed
KeyTable /etc/old/KeyTable
SigningTable refile:/etc/old/SigningTable
"""
OLD_DOMAINS = ("example.com", "example.org")


@pytest.fixture(scope="module")
def opendkim(release: str) -> Iterator[tuple[mail.Mailbox, dict[str, str]]]:
    """A server whose OpenDKIM signs with keys in files, and the records of these keys."""
    with Machine(release, layers=equipment.layers(release, to_stderr()), warm_salt=True) as machine:
        records = {}
        for domain in OLD_DOMAINS:
            folder = f"/etc/old/{domain}"
            machine.run(f"mkdir -p {folder} && opendkim-genkey -D {folder} -d {domain} -s mail")
            records |= record_of(machine, domain, "mail", f"{folder}/mail.private")
        keys = [f"{name} {name}:mail:/etc/old/{name}/mail.private\n" for name in OLD_DOMAINS]
        machine.write("/etc/old/KeyTable", "".join(keys))
        machine.write("/etc/old/SigningTable", "".join(f"*@{n} {n}\n" for n in OLD_DOMAINS))
        machine.write("/etc/opendkim.conf", OPENDKIM_CONF)
        machine.run("chown -R opendkim: /etc/old && systemctl restart opendkim")
        old = "inet:localhost:8891"
        machine.run(
            f"postconf -e smtpd_milters={old} non_smtpd_milters={old} && systemctl restart postfix"
        )
        salt.install_formula(machine, pillar(example_com={}, example_org={}))
        yield mail.Mailbox(machine), records


def test_keys_of_opendkim_files_are_imported_before_and_after_the_first_run(
    opendkim: tuple[mail.Mailbox, dict[str, str]],
) -> None:
    box, records = opendkim
    machine = box.machine

    def assert_signed_once() -> None:
        for domain in OLD_DOMAINS:
            message = mail.sent_by_smtp(box, f"someone@{domain}")
            assert signed_with(message, box, records) == [(domain, "mail", "rsa-sha256")]

    assert_signed_once()
    apply(machine, "dkim.database")
    found = import_keys(machine, source="opendkim")
    assert [one["state"] for one in found["imported"]] == ["active", "active"]
    assert found["also_signs"] == []
    apply(machine)
    assert_signed_once()
    # This import reads the copy that the formula keeps of the replaced opendkim.conf.
    name = "The old keys are in the database"
    returned = salt.call(machine, "state.single", "dkim.keys_imported", name, source="opendkim")
    (state,) = returned.values()
    assert (state["result"], state["changes"]) == (True, {})
    # Check and doctor name a second daemon that still uses the old configuration.
    machine.write(
        "/etc/other.conf",
        OPENDKIM_CONF.replace("8891", "8892").replace("opendkim.pid", "other.pid"),
    )
    machine.run("opendkim -x /etc/other.conf")
    advice, findings = reports_on_other_signers(machine, "another OpenDKIM")
    assert len(advice) == 1
    assert "/etc/other.conf" in findings[0]["message"]


# --- PostfixAdmin and Modoboa ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def panel() -> Iterator[Machine]:
    with Machine(panels.RELEASE, layers=panels.layers(to_stderr()), warm_salt=True) as machine:
        machine.run("systemctl start postgresql")
        yield machine


def pillar_for(name: str) -> dict:
    database = {"name": name, "manage": False, "preset": name}
    return {"dkim": {"database": database, "domains": {"*": {}}}}


def record_of(machine: Machine, domain: str, selector: str, path: str) -> dict[str, str]:
    """Return the record of a key file, computed by openssl and not by the formula."""
    command = f"openssl rsa -in {path} -pubout -outform DER 2>/dev/null | base64 -w0"
    return {f"{selector}._domainkey.{domain}.": f"v=DKIM1; k=rsa; p={machine.run(command).stdout}"}


READ_DATA_SET = """
import json, sys
sys.path.insert(0, "/srv/dkim-formula/_utils")
from dkim_formula.postgres import dsn, program_keys
from dkim_formula.settings.model import Database
# The mail database is on another server, as it seems, so that its session is of no use.
elsewhere = Database(host="192.0.2.1", user="nobody")
rows = program_keys.read_data_set(elsewhere, dsn.parse(sys.argv[1], "key_table"), "key_table")
json.dump([values[0] for _, values in rows], sys.stdout)
"""


def domains_of_a_data_set(machine: Machine, program: str) -> set[str]:
    """Return the domains of a program's keys, read with the data set's own login by password."""
    name = (
        f"pgsql://{program}:{mail_panels.PASSWORD}@localhost/{program}/table=dkim?keycol=id"
        "?datacol=domain_name,selector,private_key"
    )
    output = machine.run(["/opt/salt/bin/python", "-c", READ_DATA_SET, name]).stdout
    return set(json.loads(output))


@pytest.mark.soak
def test_opendkim_signs_with_postfixadmins_keys_after_the_import(panel: Machine) -> None:
    mail_panels.make_database(panel, "postfixadmin")
    program = PostfixAdmin(panel, 4)
    program.set_up()
    records = {}
    domains = ("good.example", "other.example", "unused.example", "broken.example")
    for domain in domains:
        program.add_domain(domain)
        panel.run(f"openssl genrsa -traditional -out /root/{domain} 2048")
        records |= record_of(panel, domain, "pfa", f"/root/{domain}")
        text = panel.read(f"/root/{domain}")
        key = program.add_key(domain, "pfa", text[:-300] if domain == "broken.example" else text)
        if domain != "unused.example":
            program.sign(domain, key)
    salt.install_formula(panel, pillar_for("postfixadmin"))
    apply(panel, "dkim.database")
    assert domains_of_a_data_set(panel, "postfixadmin") == set(domains)
    found = import_keys(panel)
    assert {(one["domain"], one["selector"], one["state"]) for one in found["imported"]} == {
        ("good.example", "pfa", "active"),
        ("other.example", "pfa", "active"),
        ("unused.example", "pfa", "retired"),
    }
    (refusal,) = found["refused"]
    assert "for broken.example" in refusal["entry"]
    apply(panel)
    box = mail.Mailbox(panel)
    for domain in ("good.example", "other.example"):
        message = mail.sent_by_smtp(box, f"someone@{domain}")
        assert signed_with(message, box, records) == [(domain, "pfa", "rsa-sha256")]


@pytest.mark.soak
def test_opendkim_signs_with_modoboas_keys_after_the_import(panel: Machine) -> None:
    mail_panels.make_database(panel, "modoboa")
    program = Modoboa(panel)
    program.set_up()
    program.run(
        "for name in ('one.example', 'two.example'):\n"
        "    Domain.objects.create(name=name, type='domain', enable_dkim=True)\n"
        "\n"
        "Domain.objects.create(name='plain.example', type='domain')"
    )
    program.make_keys("/var/lib/dkim")
    records = {}
    for domain in ("one.example", "two.example"):
        records |= record_of(panel, domain, "modoboa", f"/var/lib/dkim/{domain}.pem")
    salt.install_formula(panel, pillar_for("modoboa"))
    apply(panel, "dkim.database")
    found = import_keys(panel)
    assert {(one["domain"], one["selector"], one["state"]) for one in found["imported"]} == {
        ("one.example", "modoboa", "active"),
        ("two.example", "modoboa", "active"),
    }
    assert found["refused"] == []
    assert found["files"] == ["/var/lib/dkim/one.example.pem", "/var/lib/dkim/two.example.pem"]
    apply(panel)
    box = mail.Mailbox(panel)
    for domain in ("one.example", "two.example"):
        message = mail.sent_by_smtp(box, f"someone@{domain}")
        assert signed_with(message, box, records) == [(domain, "modoboa", "rsa-sha256")]
