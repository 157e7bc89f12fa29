"""Checks of OpenDKIM's units, files and sockets, and of the services."""

import os
import socket
import time
from dataclasses import replace

import pytest
from dkim_formula.health import check_opendkim, model
from dkim_formula.health.model import Finding, Host, Sample
from dkim_formula.settings.model import KeyPlan, Settings

# The properties of a valid unit by systemctl show.
SHOWN = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "UnitFileState": "enabled",
    "NeedDaemonReload": "no",
    "Restart": "always",
    "User": "opendkim",
    "FragmentPath": "/usr/lib/systemd/system/opendkim.service",
    "DropInPaths": "/etc/other.conf /etc/ours.conf",
    "Result": "success",
}


def faults(**changed):
    return list(check_opendkim.faults({**SHOWN, **changed}, "/etc/ours.conf", "opendkim"))


def test_valid_unit_has_no_fault():
    assert faults() == []
    assert faults(FragmentPath="/etc/ours.conf", DropInPaths="") == []


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"UnitFileState": "disabled"}, "does not start at boot"),
        ({"DropInPaths": "/etc/other.conf"}, "/etc/ours.conf is not in force"),
        ({"NeedDaemonReload": "yes"}, "systemctl daemon-reload"),
        ({"Restart": "no"}, "Restart=no"),
        ({"User": ""}, "starts as root"),
    ],
)
def test_fault_of_a_unit_is_reported(changed, part):
    assert len(faults(**changed)) == 1
    assert part in faults(**changed)[0]


@pytest.fixture
def mine(tmp_path):
    """Return the path of a file, and the names of its owner and group."""
    path = tmp_path / "file"
    path.touch()
    path.chmod(0o440)
    status = path.stat()
    return str(path), check_opendkim._user(status.st_uid), check_opendkim._group(status.st_gid)


def test_file_with_the_desired_properties_has_no_difference(mine):
    path, user, group = mine
    assert (
        list(check_opendkim.differences(path, check_opendkim.stat.S_ISREG, 0o440, user, group))
        == []
    )
    assert (
        list(check_opendkim.differences(path, check_opendkim.stat.S_ISREG, None, user, group)) == []
    )


def test_differences_of_a_file_are_reported(mine):
    path, user, group = mine
    found = list(
        check_opendkim.differences(path, check_opendkim.stat.S_ISREG, 0o400, "somebody", group)
    )
    assert found == [
        f"{path} belongs to {user}:{group}, not to somebody:{group}",
        f"{path} has the mode 0440, not 0400",
    ]


def test_file_of_another_type_and_missing_file_are_reported(mine, tmp_path):
    path, user, group = mine
    assert "another file type" in next(
        check_opendkim.differences(path, check_opendkim.stat.S_ISDIR, None, user, group)
    )
    absent = str(tmp_path / "absent")
    assert "No such file" in next(
        check_opendkim.differences(absent, check_opendkim.stat.S_ISREG, None, user, group)
    )


def test_unit_that_does_not_run_is_reported():
    assert list(check_opendkim.stopped(SHOWN)) == []
    failed = {**SHOWN, "ActiveState": "failed", "SubState": "failed", "Result": "exit-code"}
    assert list(check_opendkim.stopped(failed)) == ["it is failed (failed, exit-code)"]


# --- Services and sockets -------------------------------------------------------------------------


@pytest.fixture
def host(monkeypatch, tmp_path):
    """Return a host where one of two daemons runs, and Postfix is set up and down."""
    domain = replace(Settings().defaults, name="a.example", keys=(KeyPlan("ed25519", "ed"),))
    lookup = {"postfix_chroot": str(tmp_path)}
    for name in ("OPENDKIM", "MAIN_CF"):
        monkeypatch.setattr(model, name, str(tmp_path))
    settings = Settings(domains={"a.example": domain}, lookup=lookup)
    return Host(settings, runs=lambda name: name == "opendkim")


def by_subject(found):
    return {one.subject: one for one in found if isinstance(one, Finding)}


def values(found):
    return [
        (one.metric, *one.labels.values(), one.value) for one in found if isinstance(one, Sample)
    ]


def test_services_of_both_daemons_and_postfix_are_checked(host):
    found = list(check_opendkim.services(host))
    shown = {subject: one.ok for subject, one in by_subject(found).items()}
    assert shown == {"opendkim": True, "opendkim-ed25519": False, "postfix": False}
    assert [(name, value) for _, name, value in values(found)] == list(shown.items())


@pytest.fixture
def systemctl(monkeypatch, tmp_path):
    """Return a function that sets the answer of a replacement of systemctl."""

    def answers(line):
        program = tmp_path / "systemctl"
        program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\necho {line}\n')
        program.chmod(0o755)
        monkeypatch.setattr(check_opendkim, "SYSTEMCTL", str(program))
        return tmp_path / "asked"

    return answers


def test_service_that_is_down_is_reported_since_its_end(host, systemctl):
    ended = time.monotonic() - 600
    asked = systemctl(f"ActiveExitTimestampMonotonic={int(ended * 1e6)}")
    asking = replace(host, stopped_at=check_opendkim.stopped_at)
    found = by_subject(check_opendkim.services(asking))
    assert found["opendkim-ed25519"].since == pytest.approx(time.time() - 600, abs=30)
    assert asked.read_text().startswith("show opendkim-ed25519.service ")
    assert (found["opendkim"].since, found["postfix"].since) == (None, None)


@pytest.mark.parametrize("line", ["ActiveExitTimestampMonotonic=0", "", "Failed to connect to bus"])
def test_end_of_a_service_that_never_ran_is_unknown(systemctl, line):
    systemctl(line)
    assert check_opendkim.stopped_at("opendkim") is None


def test_end_of_a_service_is_unknown_without_systemd(monkeypatch):
    monkeypatch.setattr(check_opendkim, "SYSTEMCTL", "/nonexistent")
    assert check_opendkim.stopped_at("opendkim") is None


def test_service_that_is_down_is_reported_with_its_journal(host):
    found = by_subject(check_opendkim.services(host))["opendkim-ed25519"]
    assert "opendkim-ed25519 does not run" in found.message
    assert "journalctl -u opendkim-ed25519" in found.remedy


def test_service_that_is_not_installed_is_unknown(host, monkeypatch, tmp_path):
    for name in ("OPENDKIM", "MAIN_CF", "POSTCONF"):
        monkeypatch.setattr(model, name, str(tmp_path / "absent"))
    found = list(check_opendkim.services(host))
    assert {one.ok for one in by_subject(found).values()} == {None}
    assert values(found) == []


def test_opendkim_that_was_removed_is_down(host, monkeypatch, tmp_path):
    (tmp_path / "unit").touch()
    monkeypatch.setattr(model, "OPENDKIM", str(tmp_path / "absent"))
    monkeypatch.setattr(Host, "unit_file", lambda self, daemon: str(tmp_path / "unit"))
    assert by_subject(check_opendkim.services(host))["opendkim-ed25519"].ok is False


@pytest.mark.parametrize(
    "noted", ["", "master", "0", pytest.param(str(os.getpid()), id="this process")]
)
def test_postfix_is_down_if_the_process_of_its_pid_file_is_not_master(tmp_path, noted):
    (tmp_path / "pid").mkdir()
    (tmp_path / "pid" / "master.pid").write_text(noted)
    assert not check_opendkim.postfix_runs(str(tmp_path))


def test_missing_socket_is_reported(host):
    found = list(check_opendkim.sockets(host))
    assert {one.ok for one in by_subject(found).values()} == {False}
    path = host.daemons[0].socket
    assert ("dkim_socket_up", path, False) in values(found)
    one = by_subject(found)["opendkim"]
    assert path in one.message
    assert "dkim.opendkim" in one.remedy


def test_socket_without_a_listener_is_reported(host, monkeypatch):
    monkeypatch.setattr(check_opendkim, "differences", lambda *_: iter(()))
    monkeypatch.setattr(check_opendkim.restart, "open_for_group", lambda *_: True)
    path = host.daemons[0].socket
    os.makedirs(os.path.dirname(path))
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(path)
        one = by_subject(check_opendkim.sockets(host))["opendkim"]
        assert (one.ok, "no milter answers" in one.message) == (False, True)
        silent.listen()
        assert by_subject(check_opendkim.sockets(host))["opendkim"].ok


@pytest.mark.parametrize(
    ("postconf", "remedy"),
    [(".", "systemctl start postfix;"), ("absent", "salt-call state.apply dkim.postfix;")],
)
def test_postfix_that_was_removed_is_installed_again(host, monkeypatch, tmp_path, postconf, remedy):
    monkeypatch.setattr(model, "POSTCONF", str(tmp_path / postconf))
    found = by_subject(check_opendkim.services(host))["postfix"]
    assert found.ok is False
    assert found.remedy.startswith(remedy)
