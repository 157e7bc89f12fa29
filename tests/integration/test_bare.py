"""A bare Debian signs after one run, with pillar.example as it is; a second run changes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from support import mail, salt
from support.machine import ROOT, Machine

OURS = ("dkim.", "dkim_postfix.", "dkim_postgres.")
# Announced, and then found done: Debian's packages start and enable what they install.
DONE_BY_PACKAGES = {"PostgreSQL runs", "opendkim starts with the machine"}
KEYS_SQL = "SELECT key FROM dkim WHERE domain = '{domain}'"
SIGN = """\
import dkim, sys
pem, _, message = sys.stdin.read().partition("\\0")
wire = message.replace("\\n", "\\r\\n").encode()
signature = dkim.sign(wire, b"default", b"example.com", pem.encode())
sys.stdout.write((signature + wire).decode().replace("\\r\\n", "\\n"))
"""
CONNECT = (
    "import socket; socket.socket(socket.AF_UNIX)"
    '.connect("/var/spool/postfix/opendkim/opendkim.sock")'
)
# Where a text might be left behind; not the database's own files, where the keys are to be.
PLACES = (
    "/dev/shm /etc /home /opt/dkim-formula /root /run /srv/dkim-formula /srv/pillar /tmp"
    " /var/backups /var/cache /var/log /var/spool /var/tmp"
)


@dataclass(frozen=True)
class Course:
    """What four runs said, one after the other, on a machine that was bare before the first."""

    announced: salt.Run
    made: salt.Run
    again: salt.Run
    announced_again: salt.Run


@pytest.fixture(scope="module")
def course(machine: Machine) -> Course:
    salt.install_formula(machine, (ROOT / "pillar.example").read_text())
    return Course(
        announced=salt.apply(machine, test=True),
        made=salt.apply(machine),
        again=salt.apply(machine),
        announced_again=salt.apply(machine, test=True),
    )


@pytest.fixture(scope="module")
def set_up(machine: Machine, course: Course) -> Machine:
    """The machine after these runs."""
    assert course.made.succeeded, str(course.made)
    return machine


@pytest.fixture(scope="module")
def keys(set_up: Machine) -> Mapping[str, str]:
    """The private keys in the database, PEM by domain."""
    return {
        domain: as_postgres(set_up, KEYS_SQL.format(domain=domain))
        for domain in ("example.com", "example.org")
    }


@pytest.fixture(scope="module")
def records(set_up: Machine) -> Mapping[str, str]:
    return mail.zone_records(set_up, salt.call(set_up, "dkim.records", format="bind"))


def as_postgres(machine: Machine, sql: str) -> str:
    return machine.run(["psql", "-X", "-At", "-d", "vmail", "-c", sql], user="postgres").stdout


def of_ours(run: salt.Run) -> dict[str, Mapping[str, object]]:
    """What the formula's own states change, or announce."""
    return {state.id: state.changes for state in run.changed if state.function.startswith(OURS)}


def touched(run: salt.Run) -> set[str]:
    """The states that change something, or announce that they would."""
    return {state.id for state in (*run.changed, *run.would_change)}


def test_bare_machine_can_be_asked_what_a_run_would_do(course: Course) -> None:
    assert course.announced.succeeded, str(course.announced)


def test_run_from_bare_succeeds(course: Course) -> None:
    assert course.made.succeeded, str(course.made)


def test_run_touches_what_was_announced_and_nothing_else(course: Course) -> None:
    assert touched(course.made) <= touched(course.announced)
    assert touched(course.announced) - touched(course.made) == DONE_BY_PACKAGES


@pytest.mark.parametrize(
    ("question", "service"),
    [
        ("is-active", "postgresql"),
        ("is-active", "opendkim"),
        ("is-active", "postfix"),
        ("is-enabled", "postgresql"),
        ("is-enabled", "opendkim"),
        ("is-enabled", "postfix"),
    ],
)
def test_services_run_and_start_with_the_machine(
    set_up: Machine, question: str, service: str
) -> None:
    assert set_up.run(["systemctl", question, service], check=False).returncode == 0


def test_own_states_make_exactly_the_changes_that_they_announce(course: Course) -> None:
    assert of_ours(course.made) == of_ours(course.announced)


def test_every_package_that_was_announced_is_installed(course: Course) -> None:
    for announced in course.announced.would_change:
        if announced.function == "pkg.installed":
            assert announced.changes.keys() <= course.made[announced.id].changes.keys()


@pytest.mark.parametrize("run", ["again", "announced_again"])
def test_later_runs_change_nothing(course: Course, run: str) -> None:
    later = getattr(course, run)
    assert later.succeeded, str(later)
    assert later.changed == []
    assert later.would_change == []


def test_records_are_on_the_screen_at_the_end(
    set_up: Machine, course: Course, records: Mapping[str, str]
) -> None:
    _, _, zone_lines = course.made.states[-1].comment.partition("\n\n")
    assert mail.zone_records(set_up, zone_lines) == records


def test_mail_of_both_domains_leaves_signed(set_up: Machine, records: Mapping[str, str]) -> None:
    box = mail.Mailbox(set_up)
    for domain, selector in (("example.com", "default"), ("example.org", "mail")):
        for send in (mail.sent_by_smtp, mail.sent_by_sendmail):
            message = send(box, f"someone@{domain}")
            (signature,) = mail.signatures(set_up, message, records)
            assert signature.valid, str(signature)
            assert (signature.domain, signature.selector) == (domain, selector)


def test_openssl_takes_the_key_of_2048_bits(set_up: Machine, keys: Mapping[str, str]) -> None:
    for pem in keys.values():
        shown = set_up.run(["openssl", "rsa", "-noout", "-text", "-check"], input=pem).stdout
        assert "RSA key ok" in shown
        assert "(2048 bit" in shown
        assert "publicExponent: 65537 (0x10001)" in shown


def test_dkimpy_signs_with_the_key_what_the_record_verifies(
    set_up: Machine, keys: Mapping[str, str], records: Mapping[str, str]
) -> None:
    text = mail.compose("someone@example.com", "other@example.net")
    given = f"{keys['example.com']}\0{text}"
    signed = set_up.run([mail.TESTS_PYTHON, "-c", SIGN], input=given).stdout
    (signature,) = mail.signatures(set_up, signed.replace("\n", "\r\n").encode(), records)
    assert signature.valid, str(signature)


def test_each_domain_has_a_key_of_its_own(keys: Mapping[str, str]) -> None:
    assert len(set(keys.values())) == len(keys)


def test_private_key_is_in_no_file_and_no_log(set_up: Machine, keys: Mapping[str, str]) -> None:
    body = [line for pem in keys.values() for line in pem.splitlines() if len(line) == 64]
    assert len(body) > 40
    search = f"tee /run/lines >/dev/null; grep -rIlFf /run/lines {PLACES} 2>/dev/null"
    found = set_up.run(search, input="\n".join(body), check=False).stdout.split()
    journal = set_up.run("journalctl --quiet | grep -cFf /run/lines", check=False).stdout.strip()
    set_up.run("rm /run/lines")
    # The search does find such lines: those that it was given.
    assert found == ["/run/lines"]
    assert journal == "0"


def test_private_key_is_in_nothing_that_salt_says(
    set_up: Machine, course: Course, keys: Mapping[str, str]
) -> None:
    said = [str(course.made), str(salt.call(set_up, "dkim.list_keys"))]
    said.append(str(salt.call(set_up, "dkim.generate", "example.com", selector="next")))
    for pem in keys.values():
        for line in pem.splitlines()[1:-1]:
            assert not any(line in text for text in said)
    assert not any("PRIVATE KEY" in text for text in said)


def test_configuration_is_the_daemons_alone(set_up: Machine) -> None:
    shown = set_up.run(
        "stat -c '%U:%G %a' /etc/opendkim.conf /var/spool/postfix/opendkim"
        " /var/spool/postfix/opendkim/opendkim.sock"
    ).stdout
    assert shown.splitlines() == [
        "root:opendkim 440",
        "opendkim:postfix 750",
        "opendkim:opendkim 770",
    ]


def test_opendkim_reads_its_views_by_peer_and_nothing_else(set_up: Machine) -> None:
    def ask(sql: str, user: str = "opendkim"):
        command = ["psql", "-X", "-At", "-w", "-U", "vmail-dkim-reader", "-d", "vmail", "-c", sql]
        return set_up.run(command, user=user, check=False)

    signing = ask("SELECT pattern FROM dkim_signing_table WHERE pattern = 'example.com'")
    assert signing.stdout == "example.com\n"
    for relation in ("dkim", "dkim_signing"):
        refused = ask(f"SELECT * FROM {relation}")
        assert refused.returncode != 0
        assert f"permission denied for table {relation}" in refused.stderr
    other = ask("SELECT 1", user="postfix")
    assert other.returncode != 0
    assert "Peer authentication failed" in other.stderr


def test_opendkim_is_back_after_it_dies(set_up: Machine, records: Mapping[str, str]) -> None:
    # A message that arrives while PostgreSQL is away kills it (FACTS 9).
    show = "systemctl show --property=InvocationID --value opendkim"
    before = set_up.run(show).stdout.strip()
    set_up.run("systemctl kill --signal=SEGV opendkim")
    set_up.wait_for(
        f'test -n "$({show})" -a "$({show})" != {before} && /usr/bin/python3 -c \'{CONNECT}\''
    )
    message = mail.sent_by_smtp(mail.Mailbox(set_up), "someone@example.com")
    (signature,) = mail.signatures(set_up, message, records)
    assert signature.valid, str(signature)
