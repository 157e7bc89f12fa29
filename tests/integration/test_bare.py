"""Runs with the unchanged pillar.example on a bare Debian: after the first, its mail is signed."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from support import mail, salt
from support.machine import ROOT, Machine

# Each run is a new process, as on an administrator's machine.
WARM = False

FORMULA = ("dkim.", "dkim_postfix.", "dkim_postgres.")
# Announced, but done by another step: Debian's packages start and enable what they install.
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
# Paths where a key might be left behind. The database's files are excluded: they hold the keys.
SEARCHED = (
    "/dev/shm /etc /home /opt/dkim-formula /root /run /srv/dkim-formula /srv/pillar /tmp"
    " /var/backups /var/cache /var/log /var/spool /var/tmp"
)


@dataclass(frozen=True)
class Runs:
    """The results of four consecutive runs on a machine that was bare before the first."""

    announced: salt.Run
    applied: salt.Run
    again: salt.Run
    announced_again: salt.Run


@pytest.fixture(scope="module")
def runs(machine: Machine) -> Runs:
    salt.install_formula(machine, (ROOT / "pillar.example").read_text())
    return Runs(
        announced=salt.apply(machine, test=True),
        applied=salt.apply(machine),
        again=salt.apply(machine),
        announced_again=salt.apply(machine, test=True),
    )


@pytest.fixture(scope="module")
def set_up(machine: Machine, runs: Runs) -> Machine:
    """The machine after these runs."""
    assert runs.applied.succeeded, str(runs.applied)
    return machine


@pytest.fixture(scope="module")
def keys(set_up: Machine) -> Mapping[str, str]:
    """The private keys in the database as PEM, by domain."""
    return {
        domain: as_postgres(set_up, KEYS_SQL.format(domain=domain))
        for domain in ("example.com", "example.org")
    }


@pytest.fixture(scope="module")
def records(set_up: Machine) -> Mapping[str, str]:
    return mail.zone_records(set_up, salt.call(set_up, "dkim.records", format="bind"))


def as_postgres(machine: Machine, sql: str) -> str:
    return machine.run(["psql", "-X", "-At", "-d", "vmail", "-c", sql], user="postgres").stdout


def formula_changes(run: salt.Run) -> dict[str, Mapping[str, object]]:
    """Return what the formula's own states change, or announce."""
    return {state.id: state.changes for state in run.changed if state.function.startswith(FORMULA)}


def touched(run: salt.Run) -> set[str]:
    """Return the IDs of the states that change something, or announce a change."""
    return {state.id for state in (*run.changed, *run.would_change)}


def test_test_run_succeeds_on_a_bare_machine(runs: Runs) -> None:
    assert runs.announced.succeeded, str(runs.announced)


def test_first_run_succeeds_on_a_bare_machine(runs: Runs) -> None:
    assert runs.applied.succeeded, str(runs.applied)


def test_run_touches_what_was_announced_and_nothing_else(runs: Runs) -> None:
    assert touched(runs.applied) <= touched(runs.announced)
    assert touched(runs.announced) - touched(runs.applied) == DONE_BY_PACKAGES


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


def test_states_of_the_formula_make_exactly_the_changes_that_they_announce(runs: Runs) -> None:
    assert formula_changes(runs.applied) == formula_changes(runs.announced)


def test_every_package_that_was_announced_is_installed(runs: Runs) -> None:
    for announced in runs.announced.would_change:
        if announced.function == "pkg.installed":
            assert announced.changes.keys() <= runs.applied[announced.id].changes.keys()


@pytest.mark.parametrize("run", ["again", "announced_again"])
def test_later_runs_change_nothing(runs: Runs, run: str) -> None:
    later = getattr(runs, run)
    assert later.succeeded, str(later)
    assert later.changed == []
    assert later.would_change == []


def test_last_state_shows_the_records(
    set_up: Machine, runs: Runs, records: Mapping[str, str]
) -> None:
    _, _, zone_lines = runs.applied.states[-1].comment.partition("\n\n")
    assert mail.zone_records(set_up, zone_lines) == records


def test_mail_of_both_domains_leaves_signed(set_up: Machine, records: Mapping[str, str]) -> None:
    box = mail.Mailbox(set_up)
    for domain, selector in (("example.com", "default"), ("example.org", "mail")):
        for send in (mail.sent_by_smtp, mail.sent_by_sendmail):
            message = send(box, f"someone@{domain}")
            (signature,) = mail.signatures(set_up, message, records)
            assert signature.valid, str(signature)
            assert (signature.domain, signature.selector) == (domain, selector)


def test_openssl_accepts_the_key_of_2048_bits(set_up: Machine, keys: Mapping[str, str]) -> None:
    for pem in keys.values():
        shown = set_up.run(["openssl", "rsa", "-noout", "-text", "-check"], input=pem).stdout
        assert "RSA key ok" in shown
        assert "(2048 bit" in shown
        assert "publicExponent: 65537 (0x10001)" in shown


def test_record_verifies_what_dkimpy_signs_with_the_key(
    set_up: Machine, keys: Mapping[str, str], records: Mapping[str, str]
) -> None:
    text = mail.compose("someone@example.com", "other@example.net")
    stdin = f"{keys['example.com']}\0{text}"
    signed = set_up.run([mail.TESTS_PYTHON, "-c", SIGN], input=stdin).stdout
    (signature,) = mail.signatures(set_up, signed.replace("\n", "\r\n").encode(), records)
    assert signature.valid, str(signature)


def test_each_domain_has_a_key_of_its_own(keys: Mapping[str, str]) -> None:
    assert len(set(keys.values())) == len(keys)


def test_private_key_is_in_no_file_and_no_log(set_up: Machine, keys: Mapping[str, str]) -> None:
    body = [line for pem in keys.values() for line in pem.splitlines() if len(line) == 64]
    assert len(body) > 40
    search = f"tee /run/lines >/dev/null; grep -rIlFf /run/lines {SEARCHED} 2>/dev/null"
    found = set_up.run(search, input="\n".join(body), check=False).stdout.split()
    journal = set_up.run("journalctl --quiet | grep -cFf /run/lines", check=False).stdout.strip()
    set_up.run("rm /run/lines")
    # The search finds the lines in its own input file, which proves that it can find a key.
    assert found == ["/run/lines"]
    assert journal == "0"


def test_private_key_is_in_no_output_of_salt(
    set_up: Machine, runs: Runs, keys: Mapping[str, str]
) -> None:
    output = [str(runs.applied), str(salt.call(set_up, "dkim.list_keys"))]
    output.append(str(salt.call(set_up, "dkim.generate", "example.com", selector="next")))
    for pem in keys.values():
        for line in pem.splitlines()[1:-1]:
            assert not any(line in text for text in output)
    assert not any("PRIVATE KEY" in text for text in output)


def test_only_root_and_the_daemon_can_read_its_configuration(set_up: Machine) -> None:
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


def test_opendkim_is_restarted_after_a_crash(set_up: Machine, records: Mapping[str, str]) -> None:
    # A message that arrives while PostgreSQL is down crashes OpenDKIM (FACTS 9).
    show = "systemctl show --property=InvocationID --value opendkim"
    before = set_up.run(show).stdout.strip()
    set_up.run("systemctl kill --signal=SEGV opendkim")
    set_up.wait_for(
        f'test -n "$({show})" -a "$({show})" != {before} && /usr/bin/python3 -c \'{CONNECT}\''
    )
    message = mail.sent_by_smtp(mail.Mailbox(set_up), "someone@example.com")
    (signature,) = mail.signatures(set_up, message, records)
    assert signature.valid, str(signature)
