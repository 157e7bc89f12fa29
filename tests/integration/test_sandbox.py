"""The sandbox of OpenDKIM's units, and everything that must still work in it."""

import re
from collections.abc import Mapping

import pytest
from support import mail, salt
from support.machine import Machine

# One release is enough; `bin/test soak` runs this file on both.
pytestmark = pytest.mark.one_release("trixie")

# The packages are installed: this file does not test their installation.
EQUIPPED = True

DAEMONS = ("opendkim", "opendkim-ed25519")
SOCKETS = "/var/spool/postfix/opendkim"
# systemd-analyze(1) calls 2.0 and less OK, and 9.0 and more UNSAFE.
OK, UNSAFE = 2.0, 9.0

HOSTS = "/etc/mail-networks"
WRITTEN = "/var/lib/dkim-diagnostics"
PILLAR = {
    "dkim": {
        "defaults": {"algorithm": ["rsa", "ed25519"]},
        "domains": {"example.com": {}},
        "opendkim": {
            "settings": {
                # A file to read and a directory to write to, as some administrators set them.
                "InternalHosts": f"refile:{HOSTS}",
                "TemporaryDirectory": WRITTEN,
                "KeepTemporaryFiles": True,
            }
        },
    }
}


def exposure(machine: Machine, unit: str) -> float:
    """Return the exposure level of a unit from systemd-analyze(1), 0 to 10."""
    output = machine.run(["systemd-analyze", "security", "--no-pager", unit]).stdout
    return float(re.search(r"Overall exposure level for \S+: ([\d.]+)", output)[1])


@pytest.fixture(scope="module")
def packaged(machine: Machine) -> float:
    """The exposure level of Debian's packaged unit."""
    return exposure(machine, "opendkim")


@pytest.fixture(scope="module")
def box(machine: Machine, packaged: float) -> mail.Mailbox:
    """A mailbox on the machine after the formula's run."""
    assert packaged
    machine.write(HOSTS, "127.0.0.1\n::1\n")
    machine.run(f"install --directory --owner=opendkim --mode=0700 {WRITTEN}")
    salt.install_formula(machine, PILLAR)
    run = salt.apply(machine)
    assert run.succeeded, str(run)
    return mail.Mailbox(machine)


@pytest.fixture(scope="module")
def records(box: mail.Mailbox) -> Mapping[str, str]:
    return mail.zone_records(box.machine, salt.call(box.machine, "dkim.records", format="bind"))


def main_process(machine: Machine, unit: str) -> str:
    command = ["systemctl", "show", "--property=MainPID", "--value", unit]
    return machine.run(command).stdout.strip()


def run_inside(machine: Machine, unit: str, command: str):
    """Run a command in the daemon's mount namespace, as the daemon's user."""
    pid = main_process(machine, unit)
    enter = ["nsenter", f"--mount=/proc/{pid}/ns/mnt", "runuser", "-u", "opendkim", "--"]
    return machine.run([*enter, "/bin/sh", "-c", command], check=False)


def assert_signed_twice(box: mail.Mailbox, records: Mapping[str, str]) -> None:
    message = mail.sent_by_smtp(box, "someone@example.com")
    found = mail.signatures(box.machine, message, records)
    assert {s.algorithm for s in found if s.valid} == {"rsa-sha256", "ed25519-sha256"}


@pytest.mark.parametrize("unit", DAEMONS)
def test_unit_is_far_less_exposed_than_the_packaged_one(
    box: mail.Mailbox, packaged: float, unit: str, capsys: pytest.CaptureFixture
) -> None:
    now = exposure(box.machine, unit)
    with capsys.disabled():
        print(
            f"\n    systemd-analyze security {unit}: {packaged} as packaged, {now} by the formula"
        )
    assert packaged >= UNSAFE
    assert now <= OK


def test_watchdog_is_no_more_exposed_than_the_daemons(box: mail.Mailbox) -> None:
    assert exposure(box.machine, "opendkim-watchdog") <= OK


def test_both_daemons_sign_with_keys_of_the_database(
    box: mail.Mailbox, records: Mapping[str, str]
) -> None:
    assert_signed_twice(box, records)


def test_daemons_write_to_the_directory_of_their_settings(
    box: mail.Mailbox, records: Mapping[str, str]
) -> None:
    assert_signed_twice(box, records)
    assert box.machine.run(["find", WRITTEN, "-type", "f"]).stdout != ""


@pytest.mark.parametrize("unit", DAEMONS)
@pytest.mark.parametrize(
    "place", ["/etc", "/var/lib", "/var/log", "/var/spool/postfix", "/usr/share", "/srv"]
)
def test_daemons_can_write_to_no_other_directory(box: mail.Mailbox, unit: str, place: str) -> None:
    # touch(1) runs as root: the modes alone would already keep the daemon's user from writing.
    pid = main_process(box.machine, unit)
    command = ["nsenter", f"--mount=/proc/{pid}/ns/mnt", "touch", f"{place}/written"]
    refused = box.machine.run(command, check=False)
    assert "Read-only file system" in refused.stderr


@pytest.mark.parametrize("unit", DAEMONS)
def test_daemons_can_write_to_the_socket_directory(box: mail.Mailbox, unit: str) -> None:
    written = run_inside(box.machine, unit, f"touch {SOCKETS}/written && rm {SOCKETS}/written")
    assert written.returncode == 0, written.stderr


def test_daemon_sees_no_homes_and_no_devices(box: mail.Mailbox) -> None:
    box.machine.run("echo secret > /home/catcher/file; chmod -R a+rX /home/catcher")
    assert run_inside(box.machine, "opendkim", "ls /home/catcher").returncode != 0
    devices = run_inside(box.machine, "opendkim", "ls /dev").stdout.split()
    assert "null" in devices
    assert not {"kmsg", "mem", "fuse", "console"} & set(devices)


@pytest.mark.parametrize("unit", DAEMONS)
def test_process_has_no_capabilities_and_writes_no_core_dump(box: mail.Mailbox, unit: str) -> None:
    pid = main_process(box.machine, unit)
    status = dict(
        line.split(":\t", 1) for line in box.machine.read(f"/proc/{pid}/status").splitlines()
    )
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert {status[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    limits = box.machine.read(f"/proc/{pid}/limits")
    assert re.search(r"^Max core file size +1 +1 ", limits, re.MULTILINE)


def test_crash_leaves_no_core_dump_and_the_daemon_is_restarted(
    box: mail.Mailbox, records: Mapping[str, str]
) -> None:
    machine = box.machine
    before = main_process(machine, "opendkim")
    machine.run(["kill", "-SEGV", before])
    machine.wait_for(lambda: main_process(machine, "opendkim") not in {before, "0"})
    machine.wait_for(f"test -S {SOCKETS}/opendkim.sock")
    found = machine.run("find / -xdev -name 'core*' -type f -newer /etc/opendkim.conf").stdout
    assert [path for path in found.split() if re.search(r"/core(\.\d+)?$", path)] == []
    assert_signed_twice(box, records)


def test_daemons_reload_their_configuration(box: mail.Mailbox, records: Mapping[str, str]) -> None:
    before = [main_process(box.machine, unit) for unit in DAEMONS]
    box.machine.run(["systemctl", "reload", *DAEMONS])
    # A daemon reads its configuration again when the next client connects.
    assert_signed_twice(box, records)
    for unit in DAEMONS:
        reloaded = f"journalctl -q -u {unit} | grep -q 'configuration reloaded'"
        box.machine.wait_for(reloaded)
    assert_signed_twice(box, records)
    assert [main_process(box.machine, unit) for unit in DAEMONS] == before


def test_daemon_queries_dns_to_verify_mail_from_outside(
    box: mail.Mailbox, records: Mapping[str, str]
) -> None:
    # The server's own signed message is sent to it from outside. No name server is reachable, so
    # the verdict is a DNS error, which proves that the daemon made a query.
    machine = box.machine
    machine.run("ip address replace 198.51.100.10/32 dev lo")
    signed = mail.sent_by_smtp(box, "someone@example.com").decode()
    text = signed[signed.index("DKIM-Signature:") :].replace("\r\n", "\n")
    mail.send_smtp(machine, text, "x@example.net", box.address, host="198.51.100.10")
    error = "journalctl -q -u opendkim | grep -E 'key retrieval failed|no signature|bad signature'"
    machine.wait_for(error)


def test_sandbox_can_be_turned_off(box: mail.Mailbox, records: Mapping[str, str]) -> None:
    pillar = {"dkim": {**PILLAR["dkim"], "opendkim": {"sandbox": False}}}
    run = salt.apply(box.machine, "dkim.opendkim", pillar=pillar)
    assert run.succeeded, str(run)
    assert exposure(box.machine, "opendkim") > 2 * OK
    assert_signed_twice(box, records)
    run = salt.apply(box.machine, "dkim.opendkim", pillar=PILLAR)
    assert run.succeeded, str(run)
    assert exposure(box.machine, "opendkim") <= OK
