"""Properties of the test machine that all other integration tests rely on."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.machine import ROOT, CommandFailed, Machine, NotInTime, host, registry

# One release is enough; `bin/test soak` runs this file on both.
pytestmark = pytest.mark.one_release("trixie")

START_AND_DIE = """\
import os, signal
from support.machine import Machine
machine = Machine({release!r}, {name!r})
machine.start()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_systemd_is_up_and_no_unit_failed(machine: Machine) -> None:
    assert machine.run("systemctl is-system-running").stdout.strip() == "running"


def test_machine_has_the_requested_release(machine: Machine, release: str) -> None:
    assert f"VERSION_CODENAME={release}" in machine.read("/etc/os-release").splitlines()


def test_machine_has_its_fully_qualified_name(machine: Machine) -> None:
    assert machine.run("hostname --fqdn").stdout.strip() == "mail.example.net"


@pytest.mark.parametrize("package", ["postgresql", "opendkim", "postfix", "gcc"])
def test_machine_is_bare(machine: Machine, package: str) -> None:
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
    assert machine.run(query, check=False).stdout in {"", "not-installed"}


def test_salt_is_installed_without_the_driver_of_postgresql(machine: Machine) -> None:
    machine.run("/opt/salt/bin/salt-call --version")
    with pytest.raises(CommandFailed, match="No module named 'psycopg2'"):
        machine.run(["/opt/salt/bin/python", "-c", "import psycopg2"])


@pytest.mark.soak
def test_pip_installs_the_driver_without_a_network(new_machine: Callable[..., Machine]) -> None:
    machine = new_machine()
    machine.run("/opt/salt/bin/pip install psycopg2-binary")
    machine.run(["/opt/salt/bin/python", "-c", "import psycopg2"])


def test_machine_has_only_a_loopback_interface(machine: Machine) -> None:
    links = json.loads(machine.run("ip -json link").stdout)
    assert [link["ifname"] for link in links] == ["lo"]


@pytest.mark.soak
def test_installed_services_start_as_on_a_real_machine(
    new_machine: Callable[..., Machine],
) -> None:
    machine = new_machine()
    machine.install("postgresql", "opendkim", "postfix")
    for unit in ("postgresql", "opendkim", "postfix"):
        assert machine.run(["systemctl", "is-active", unit]).stdout.strip() == "active"
    machine.run(["psql", "--command", "SELECT 1"], user="postgres")


@pytest.mark.soak
def test_files_survive_a_reboot(new_machine: Callable[..., Machine]) -> None:
    machine = new_machine()
    machine.write("/root/kept", "text")
    machine.write("/run/gone", "text")
    machine.reboot()
    assert machine.read("/root/kept") == "text"
    assert not machine.exists("/run/gone")
    assert machine.run("systemctl is-system-running").stdout.strip() == "running"


@pytest.mark.soak
def test_written_files_survive_a_power_cut(new_machine: Callable[..., Machine]) -> None:
    machine = new_machine()
    machine.write("/root/kept", "text")
    machine.pull_the_plug()
    machine.power_on()
    assert machine.read("/root/kept") == "text"


@pytest.mark.soak
def test_machines_are_isolated_from_each_other(new_machine: Callable[..., Machine]) -> None:
    one, other = new_machine(), new_machine()
    unit = ["systemd-run", "--quiet", "--unit=mine", "sleep", "1000"]
    one.run(unit)
    other.run(unit)
    other.run("systemctl stop mine")
    assert one.run("systemctl is-active mine").stdout.strip() == "active"
    one.write("/root/only-here", "")
    assert not other.exists("/root/only-here")


@pytest.mark.soak
def test_machine_without_an_init_has_no_systemd_running(
    new_machine: Callable[..., Machine],
) -> None:
    machine = new_machine(boot=False)
    assert not machine.exists("/run/systemd/system")
    machine.install("postgresql")
    machine.run("service postgresql start")
    machine.wait_for(lambda: machine.run("pg_isready", check=False).returncode == 0)


@pytest.mark.soak
def test_hostname_can_be_set(new_machine: Callable[..., Machine]) -> None:
    machine = new_machine(hostname="db.example.org")
    assert machine.run("hostname --fqdn").stdout.strip() == "db.example.org"


def test_command_gets_a_clean_environment(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "somewhere")
    assert "PIP_INDEX_URL" not in machine.run("env").stdout
    assert machine.run("echo $EXTRA", env={"EXTRA": "given"}).stdout == "given\n"


def test_command_runs_as_the_given_user(machine: Machine) -> None:
    assert machine.run(["id", "--user", "--name"], user="nobody").stdout == "nobody\n"


def test_error_of_a_failed_command_has_its_output(machine: Machine) -> None:
    with pytest.raises(CommandFailed, match=r"(?s)exit 3.*ended with 3.*the reason"):
        machine.run("echo the reason >&2; exit 3")


def test_written_file_has_its_mode_and_owner(machine: Machine) -> None:
    machine.write("/srv/new/secret", "text", mode=0o600, owner="nobody:nogroup")
    assert machine.run("stat -c '%a %U:%G' /srv/new/secret").stdout == "600 nobody:nogroup\n"
    assert machine.read("/srv/new/secret") == "text"


def test_machine_gets_a_copy_of_the_tree_without_git(machine: Machine) -> None:
    machine.put_tree(ROOT, "/srv/tree")
    assert machine.read("/srv/tree/bin/highstate") == (ROOT / "bin" / "highstate").read_text()
    assert machine.run("test -x /srv/tree/bin/highstate; test ! -e /srv/tree/.git").returncode == 0


def test_error_names_the_condition_that_was_not_met_in_time(machine: Machine) -> None:
    with pytest.raises(NotInTime, match="test -e /nowhere"):
        machine.wait_for("test -e /nowhere", deadline=0.2)


def test_stopped_machine_leaves_nothing_behind(release: str) -> None:
    with Machine(release) as machine:
        name, folder = machine.name, registry.folder(machine.name)
    assert not folder.exists()
    assert str(folder) not in Path("/proc/self/mounts").read_text()
    assert not list(Path("/sys/fs/cgroup").rglob(f"dkim-machine-{name}"))


@pytest.mark.soak
def test_sweep_removes_the_machine_of_a_killed_process(release: str) -> None:
    name = f"orphan-{release}-{time.monotonic_ns()}"
    script = START_AND_DIE.format(release=release, name=name)
    environment = {
        "DKIM_FORMULA_CACHE": str(host.cache()),
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": str(ROOT / "tests"),
    }
    subprocess.run([sys.executable, "-c", script], env=environment, check=False)
    leader = registry.read(name).leader
    assert registry.start_time(leader)
    registry.sweep()
    assert name not in registry.names()
    assert not registry.start_time(leader)
