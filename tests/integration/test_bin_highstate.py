"""The script ``bin/highstate``: its arguments, its pillar, and its installation of Salt."""

import json
from collections.abc import Callable

import pytest
from support import salt
from support.machine import Machine

# One release is enough; `bin/test soak` runs this file on both.
pytestmark = pytest.mark.one_release("bookworm")
# Each call is a new process, as on an administrator's machine.
WARM = False

MINION = "/var/cache/dkim-formula/minion"
PILLAR = {"dkim": {"domains": ["example.com"]}}


@pytest.fixture(scope="module")
def machine(machine: Machine) -> Machine:
    """A bare machine with the formula's tree and a pillar."""
    salt.install_formula(machine, PILLAR)
    return machine


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--tset"], "unknown argument --tset"),
        (["--pillar"], "--pillar needs a value"),
        (["--call"], "--call needs a function"),
        (["--pillar", "/no/such.sls"], "/no/such.sls: there is no such readable file"),
    ],
)
def test_invalid_arguments_are_reported(
    machine: Machine, arguments: list[str], complaint: str
) -> None:
    result = machine.run([salt.HIGHSTATE, *arguments], check=False)
    assert result.returncode == 2
    assert complaint in result.stderr


def test_script_refuses_to_run_without_root(machine: Machine) -> None:
    result = machine.run([salt.HIGHSTATE], user="nobody", check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert "as root" in result.stderr


def test_missing_pillar_error_names_the_example(
    new_machine: Callable[..., Machine],
) -> None:
    machine = new_machine()
    salt.install_formula(machine)
    result = machine.run([salt.HIGHSTATE], check=False)
    assert result.returncode == 2
    assert f"{salt.TREE}/pillar.example" in result.stderr


def test_only_root_can_read_the_pillar(machine: Machine) -> None:
    machine.write("/root/open.sls", "dkim: {domains: [example.com]}", mode=0o644)
    machine.run([salt.HIGHSTATE, "--pillar", "/root/open.sls", "--call", "test.ping"])
    modes = machine.run(f"stat -c %a {MINION} {MINION}/pillar/dkim.sls").stdout.split()
    assert modes == ["700", "600"]


def test_each_run_reads_the_pillar_again(machine: Machine) -> None:
    salt.set_pillar(machine, {**PILLAR, "before": 1})
    assert "before" in salt.call(machine, "pillar.ls")
    salt.set_pillar(machine, {**PILLAR, "after": 1})
    result = machine.run([salt.HIGHSTATE, "--out", "json", "--call", "pillar.ls"])
    assert set(json.loads(result.stdout)["local"]) == {"dkim", "after"}


def test_commands_on_a_screen_can_be_pasted(machine: Machine) -> None:
    salt.set_pillar(machine, {"dkim": {"domains": ["example.com"], "databse": {}}})
    screen = machine.run([salt.HIGHSTATE, "--call", "dkim.doctor"], check=False).stdout
    assert "salt-call" not in screen
    command = f"{salt.HIGHSTATE} --call dkim.check"
    assert f"    {command}  # shows all that is wrong\n" in screen
    assert "databse" in machine.run(command).stdout
    salt.set_pillar(machine, PILLAR)


def test_failed_call_has_a_nonzero_exit_status(machine: Machine) -> None:
    result = machine.run([salt.HIGHSTATE, "--call", "test.nonsense"], check=False)
    assert result.returncode != 0


def test_pillar_that_does_not_render_is_an_error(machine: Machine) -> None:
    run = salt.apply(machine, pillar="dkim: [")
    assert not run.succeeded
    assert run.returncode != 0
    assert run.errors


@pytest.mark.soak
def test_script_installs_salt_where_it_is_missing(new_machine: Callable[..., Machine]) -> None:
    machine = new_machine()
    machine.run("rm -r /opt/salt")
    salt.install_formula(machine, PILLAR)
    assert salt.call(machine, "test.ping") is True
    result = machine.run([salt.HIGHSTATE, "--call", "test.version"])
    assert "Installing" not in result.stderr
    assert machine.exists("/opt/dkim-formula/salt/bin/salt-call")
