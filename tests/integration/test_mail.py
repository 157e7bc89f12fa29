"""
Signed mail of the pillar's domains, submitted in every way, and other mail, which stays unsigned.

The machine of these tests signed with a key file before. It was taken over while mail was sent.
"""

import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from support import mail, salt
from support.machine import Machine

pytestmark = pytest.mark.one_release("trixie")

# The packages are installed: this file does not test their installation.
EQUIPPED = True

# RFC 5737: the machine has these addresses on its loopback, and connects to itself from them.
INTERNAL_CLIENT = "192.0.2.10"
OUTSIDE_CLIENT = "198.51.100.10"
INTERNAL_HOSTS = ["127.0.0.1", "::1", "192.0.2.0/24"]
LOGIN, PASSWORD = "someone", "submits-mail"

PILLAR = {
    "dkim": {
        "domains": {
            "example.com": {},
            "example.org": {"selector": "mail"},
            "mail.example.net": {"selector": "host"},
        },
        "opendkim": {"settings": {"InternalHosts": INTERNAL_HOSTS}},
    }
}

MILTER = "{ unix:opendkim/opendkim.sock, default_action=accept }"

# smtpd(8) of Debian is chrooted and reads the accounts inside the chroot.
SASL = f"""
mkdir -p /etc/postfix/sasl /var/spool/postfix/etc
printf '%s\\n' 'pwcheck_method: auxprop' 'auxprop_plugin: sasldb' 'mech_list: PLAIN' \\
    > /etc/postfix/sasl/smtpd.conf
accounts=/var/spool/postfix/etc/sasldb2
printf %s {PASSWORD} | saslpasswd2 -p -c -u mail.example.net -f $accounts {LOGIN}
chown postfix $accounts
postconf -e smtpd_sasl_auth_enable=yes
"""

FILE_BASED = """
mkdir -p /etc/dkimkeys
opendkim-genkey --directory=/etc/dkimkeys --domain=example.com --selector=old
chown opendkim /etc/dkimkeys/old.private
echo 'old example.com:old:/etc/dkimkeys/old.private' > /etc/dkimkeys/key.table
echo 'example.com old' > /etc/dkimkeys/signing.table
cat > /etc/opendkim.conf <<EOF
Syslog yes
UserID opendkim
PidFile /run/opendkim/opendkim.pid
Canonicalization relaxed/relaxed
Socket inet:8891@localhost
KeyTable file:/etc/dkimkeys/key.table
SigningTable file:/etc/dkimkeys/signing.table
EOF
systemctl restart opendkim
postconf -e smtpd_milters=inet:localhost:8891 'non_smtpd_milters=$smtpd_milters' \\
    milter_default_action=accept
systemctl restart postfix
"""

# Sends by a new connection for each message, by one lasting connection, and by sendmail(1).
SENDER = """\
import json, os, smtplib, subprocess, sys, time
recipient, stop = sys.argv[1:]
accepted = {"new": 0, "kept": 0, "sendmail": 0}
kept = None

def text(way, number):
    return (f"From: someone@example.com\\nTo: {recipient}\\n"
            f"Subject: stream-{way}-{number}\\n\\nHello.\\n")

def new(message):
    with smtplib.SMTP("127.0.0.1", timeout=120) as client:
        client.sendmail("someone@example.com", [recipient], message)

def keep(message):
    global kept
    kept = kept or smtplib.SMTP("127.0.0.1", timeout=120)
    try:
        kept.sendmail("someone@example.com", [recipient], message)
    except BaseException:
        kept.close()
        kept = None
        raise

def local(message):
    command = ["/usr/sbin/sendmail", "-i", "-f", "someone@example.com", recipient]
    subprocess.run(command, input=message.encode(), check=True, capture_output=True)

while not os.path.exists(stop):
    for way, send in (("new", new), ("kept", keep), ("sendmail", local)):
        try:
            send(text(way, accepted[way]))
        except (OSError, smtplib.SMTPException, subprocess.CalledProcessError):
            continue
        accepted[way] += 1
    time.sleep(0.1)
json.dump(accepted, sys.stdout)
"""
STOP = "/run/stop-sending"
STREAM = "/home/stream/Maildir/new"


@dataclass(frozen=True)
class TakeOver:
    """
    The takeover of the machine by the formula.

    run
        The first highstate.
    accepted
        Subjects of the messages that Postfix accepted during the run, delivered in STREAM.
    old_records
        The DNS records for the key file.
    """

    run: salt.Run
    accepted: frozenset[str]
    old_records: Mapping[str, str]


@contextmanager
def stream(machine: Machine) -> Iterator[set[str]]:
    """Send mail without a pause. Afterwards the set holds the subjects that Postfix accepted."""
    accepted: set[str] = set()
    box = mail.Mailbox(machine, "stream")
    command = ["/usr/bin/python3", "-c", SENDER, box.address, STOP]
    sender = machine.popen(command, stdout=subprocess.PIPE, text=True)
    try:
        machine.wait_for(f"grep -rqs '^Subject: stream-sendmail-0' {STREAM}")
        yield accepted
    finally:
        machine.run(["touch", STOP])
        counts = json.loads(sender.communicate(timeout=120)[0])
        accepted |= {
            f"stream-{way}-{number}" for way, count in counts.items() for number in range(count)
        }


@pytest.fixture(scope="module")
def taken_over(machine: Machine) -> TakeOver:
    """A server that signed with a key file, after its first highstate. Clients can log in."""
    machine.install("postfix", "opendkim", "opendkim-tools", "libsasl2-modules", "sasl2-bin")
    for client in (INTERNAL_CLIENT, OUTSIDE_CLIENT):
        machine.run(["ip", "address", "add", f"{client}/32", "dev", "lo"])
    machine.run(SASL)
    machine.run(FILE_BASED)
    strings = re.findall('"([^"]*)"', machine.read("/etc/dkimkeys/old.txt"))
    salt.install_formula(machine, PILLAR)
    with stream(machine) as accepted:
        run = salt.apply(machine)
    machine.wait_for(
        'postqueue -f; test -z "$(find /var/spool/postfix/maildrop -type f)"'
        " && postqueue -p | grep -q 'queue is empty'",
        deadline=180,
        what="all mail is delivered",
    )
    old_records = {"old._domainkey.example.com.": "".join(strings)}
    return TakeOver(run, frozenset(accepted), old_records)


@pytest.fixture(scope="module")
def box(machine: Machine, taken_over: TakeOver) -> mail.Mailbox:
    """A mailbox on the machine after the takeover."""
    assert taken_over.run.succeeded, str(taken_over.run)
    return mail.Mailbox(machine)


@pytest.fixture(scope="module")
def records(box: mail.Mailbox) -> Mapping[str, str]:
    """The records that ``dkim.records`` prints for a zone file, as a receiver reads them."""
    return mail.zone_records(box.machine, salt.call(box.machine, "dkim.records", format="bind"))


def submit(box: mail.Mailbox, sender: str, **options: str) -> bytes:
    """Send a message by SMTP with the options of send_smtp, and return it as delivered."""
    text = mail.compose(sender, box.address)
    mail.send_smtp(box.machine, text, sender, box.address, **options)
    return box.wait_for(mail.message_id(text))


def assert_signed(
    box: mail.Mailbox, message: bytes, records: Mapping[str, str], domain: str, selector: str
) -> None:
    (signature,) = mail.signatures(box.machine, message, records)
    assert signature.valid, f"{signature}\n{mail.headers(message)}"
    assert (signature.domain, signature.selector) == (domain, selector)
    assert signature.algorithm == "rsa-sha256"
    assert signature.tags["c"] == "relaxed/relaxed"


def assert_unsigned(message: bytes) -> None:
    assert "DKIM-Signature:" not in mail.headers(message)


def test_records_are_the_same_as_data_and_as_zone_lines(
    box: mail.Mailbox, records: Mapping[str, str]
) -> None:
    listed = salt.call(box.machine, "dkim.records")
    assert {f"{record['name']}.": record["value"] for record in listed} == records
    assert len(records) == 3


def test_every_message_that_was_accepted_in_the_run_is_delivered_signed(
    taken_over: TakeOver, box: mail.Mailbox, records: Mapping[str, str]
) -> None:
    machine = box.machine
    subjects = machine.run(f"grep -rhoE '^Subject: stream-.*' {STREAM}").stdout
    assert len(taken_over.accepted) > 100
    assert taken_over.accepted <= {line.removeprefix("Subject: ") for line in subjects.split("\n")}
    assert machine.run(f"grep -rLi '^DKIM-Signature:' {STREAM}", check=False).stdout == ""
    known = {**records, **taken_over.old_records}
    used = set()
    for path in machine.run(f"ls -rt {STREAM}").stdout.split()[::25]:
        wire = machine.read(f"{STREAM}/{path}").replace("\n", "\r\n").encode()
        (signature,) = mail.signatures(machine, wire, known)
        assert signature.valid, str(signature)
        used.add(signature.selector)
    assert used == {"old", "default"}


def test_main_cf_names_opendkims_new_socket(box: mail.Mailbox) -> None:
    found = box.machine.run("postconf -h smtpd_milters non_smtpd_milters").stdout
    assert found.splitlines() == [MILTER, "$smtpd_milters"]
    assert box.machine.run("ss -Hltn 'sport = 8891'").stdout == ""


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_mail_by_smtp_from_this_machine_is_signed(
    box: mail.Mailbox, records: Mapping[str, str], host: str
) -> None:
    message = submit(box, "someone@example.com", host=host)
    assert_signed(box, message, records, "example.com", "default")


def test_mail_of_a_local_program_is_signed(box: mail.Mailbox, records: Mapping[str, str]) -> None:
    message = mail.sent_by_sendmail(box, "someone@example.com")
    assert_signed(box, message, records, "example.com", "default")


def test_mail_of_a_client_that_logs_in_is_signed(
    box: mail.Mailbox, records: Mapping[str, str]
) -> None:
    message = submit(
        box,
        "someone@example.com",
        host=OUTSIDE_CLIENT,
        user=f"{LOGIN}@mail.example.net",
        password=PASSWORD,
    )
    assert f"[{OUTSIDE_CLIENT}]" in mail.headers(message)
    assert_signed(box, message, records, "example.com", "default")


def test_mail_of_an_internal_host_is_signed(box: mail.Mailbox, records: Mapping[str, str]) -> None:
    message = submit(box, "someone@example.com", host=INTERNAL_CLIENT)
    assert f"[{INTERNAL_CLIENT}]" in mail.headers(message)
    assert_signed(box, message, records, "example.com", "default")


def test_mail_from_outside_with_a_domain_of_the_pillar_is_not_signed(box: mail.Mailbox) -> None:
    message = submit(box, "someone@example.com", host=OUTSIDE_CLIENT)
    assert f"[{OUTSIDE_CLIENT}]" in mail.headers(message)
    assert_unsigned(message)


@pytest.mark.parametrize("domain", ["example.net", "sub.example.com", "notexample.com"])
def test_mail_of_a_domain_outside_the_pillar_is_not_signed(box: mail.Mailbox, domain: str) -> None:
    assert_unsigned(mail.sent_by_smtp(box, f"someone@{domain}"))
    assert_unsigned(mail.sent_by_sendmail(box, f"someone@{domain}"))


def test_domain_in_upper_case_is_signed(box: mail.Mailbox, records: Mapping[str, str]) -> None:
    message = mail.sent_by_smtp(box, "Some.One@EXAMPLE.Com")
    assert_signed(box, message, records, "example.com", "default")


def test_second_domain_is_signed_under_its_own_selector(
    box: mail.Mailbox, records: Mapping[str, str]
) -> None:
    message = mail.sent_by_smtp(box, "someone@example.org")
    assert_signed(box, message, records, "example.org", "mail")


def test_from_header_and_not_the_envelope_sender_selects_the_key(
    box: mail.Mailbox, records: Mapping[str, str]
) -> None:
    text = mail.compose("someone@example.org", box.address)
    mail.send_smtp(box.machine, text, "bounces@example.com", box.address)
    message = box.wait_for(mail.message_id(text))
    assert_signed(box, message, records, "example.org", "mail")


def test_bounce_of_postfix_is_signed(box: mail.Mailbox, records: Mapping[str, str]) -> None:
    text = mail.compose(box.address, f"nobody-here@{box.machine.hostname}")
    mail.send_sendmail(box.machine, text, box.address, f"nobody-here@{box.machine.hostname}")
    bounce = box.wait_for(mail.message_id(text))
    assert "<MAILER-DAEMON@mail.example.net>" in mail.headers(bounce)
    assert_signed(box, bounce, records, "mail.example.net", "host")


def test_long_message_in_any_script_is_signed(
    box: mail.Mailbox, records: Mapping[str, str]
) -> None:
    body = "Grüße, приветы, ごあいさつ \n\n.\n" + "x" * 900 + "\n" + "From here on\n" * 5000
    message = mail.sent_by_smtp(box, "someone@example.com", body=body)
    assert_signed(box, message, records, "example.com", "default")


# The main process of each server. Only on one release Postfix's unit holds its own process.
OPENDKIM = "systemctl show --property=MainPID --value opendkim"
SERVERS = "cat /var/spool/postfix/pid/master.pid; head -1 /var/lib/postgresql/*/main/postmaster.pid"


def processes(machine: Machine, command: str) -> list[str]:
    """Return the process numbers that a command prints. Assert that all processes run."""
    numbers = machine.run(command).stdout.split()
    assert all(number.isdigit() and number != "0" for number in numbers), numbers
    return numbers


@pytest.fixture
def other_options(machine: Machine) -> Iterator[Callable[[Mapping[str, object]], salt.Run]]:
    """A function that applies dkim.opendkim with other options. The fixture restores them."""

    def apply(options: Mapping[str, object]) -> salt.Run:
        pillar = json.loads(json.dumps(PILLAR))
        pillar["dkim"]["opendkim"]["settings"] |= options
        return salt.apply(machine, "dkim.opendkim", pillar=pillar)

    yield apply
    assert apply({}).succeeded


def test_run_without_a_change_restarts_nothing(box: mail.Mailbox) -> None:
    before = processes(box.machine, f"{OPENDKIM}; {SERVERS}")
    assert len(before) == 3
    run = salt.apply(box.machine)
    assert run.succeeded, str(run)
    assert run.changed == []
    assert processes(box.machine, f"{OPENDKIM}; {SERVERS}") == before


def test_opendkim_restarts_when_an_option_changes(
    box: mail.Mailbox,
    records: Mapping[str, str],
    other_options: Callable[[Mapping[str, object]], salt.Run],
) -> None:
    before = processes(box.machine, OPENDKIM)
    run = other_options({"Canonicalization": "simple/simple"})
    assert run.succeeded, str(run)
    assert processes(box.machine, OPENDKIM) != before
    message = mail.sent_by_smtp(box, "someone@example.com")
    (signature,) = mail.signatures(box.machine, message, records)
    assert signature.valid
    assert signature.tags["c"] == "simple/simple"


@pytest.mark.soak
def test_next_run_completes_an_interrupted_one(box: mail.Mailbox) -> None:
    # A run killed between file and restart: the file is right, and the daemon is older than it.
    before = processes(box.machine, OPENDKIM)
    box.machine.run("touch /etc/opendkim.conf")
    run = salt.apply(box.machine, "dkim.opendkim")
    assert run.succeeded, str(run)
    assert processes(box.machine, OPENDKIM) != before


@pytest.fixture
def main_cf(machine: Machine) -> Iterator[None]:
    """Restore main.cf after the test."""
    before = machine.read("/etc/postfix/main.cf")
    yield
    machine.write("/etc/postfix/main.cf", before)
    machine.run("systemctl restart postfix")


@pytest.mark.usefixtures("main_cf")
def test_other_milter_stays_before_the_formulas(
    box: mail.Mailbox, records: Mapping[str, str]
) -> None:
    # Nothing listens there. By its own default_action mail is accepted without it.
    other = "{ inet:127.0.0.1:9999, { default_action = accept } }"
    box.machine.run("postconf -X non_smtpd_milters milter_default_action")
    box.machine.run(["postconf", "-e", f"smtpd_milters={other}"])
    run = salt.apply(box.machine, "dkim.postfix")
    assert run.succeeded, str(run)
    found = box.machine.run("postconf -h smtpd_milters non_smtpd_milters").stdout
    assert found.splitlines() == [f"{other}, {MILTER}", MILTER]
    assert salt.apply(box.machine, "dkim.postfix").changed == []
    for message in (
        mail.sent_by_smtp(box, "someone@example.com"),
        mail.sent_by_sendmail(box, "someone@example.com"),
    ):
        assert_signed(box, message, records, "example.com", "default")


@pytest.mark.usefixtures("main_cf")
def test_formulas_milter_written_without_a_slash_signs_once(
    box: mail.Mailbox, records: Mapping[str, str]
) -> None:
    box.machine.run("postconf -e smtpd_milters=local:opendkim/opendkim.sock")
    run = salt.apply(box.machine, "dkim.postfix")
    assert run.succeeded, str(run)
    box.machine.run("systemctl restart postfix")
    message = mail.sent_by_smtp(box, "someone@example.com")
    assert_signed(box, message, records, "example.com", "default")
