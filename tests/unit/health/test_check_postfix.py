"""Checks of Postfix, of the milters in its configuration, and of its groups."""

import os
import pwd

import pytest
from dkim_formula.health import check_postfix
from dkim_formula.health.model import Host
from dkim_formula.postfix import main_cf, service_milters
from dkim_formula.postfix.service_milters import Configuration
from dkim_formula.settings import read
from dkim_formula.settings.model import Postfix, Settings

HOST = Host(read({"domains": ["example.com"]}).settings)

MILTER = "unix:opendkim/opendkim.sock"
SMTPD = ["smtp", "inet", "n", "-", "y", "-", "-", "smtpd"]
CLEANUP = ["cleanup", "unix", "n", "-", "y", "-", "0", "cleanup"]
PICKUP = ["pickup", "unix", "n", "-", "y", "60", "1", "pickup"]
WELL = {
    "smtpd_milters": f"{{ {MILTER}, default_action=accept }}",
    "non_smtpd_milters": "$smtpd_milters",
    "internal_mail_filter_classes": "bounce",
}


@pytest.fixture
def master_cf(monkeypatch, tmp_path):
    """Return a function that replaces main.cf and master.cf as postconf shows them."""
    there = tmp_path / "postconf"
    there.touch()
    monkeypatch.setattr("dkim_formula.health.model.POSTCONF", str(there))

    def be(listed=(SMTPD, CLEANUP, PICKUP), own=None, main=None):
        found = Configuration(WELL if main is None else main, listed, own or {})
        monkeypatch.setattr(service_milters, "read", lambda: found)
        monkeypatch.setattr(main_cf, "in_force", lambda name: found.main.get(name, "6"))

    return be


@pytest.mark.parametrize("chroot", ["y", "n", "-"])
def test_service_reaches_the_socket_from_the_chroot_and_from_outside(master_cf, chroot):
    master_cf([[*SMTPD[:4], chroot, *SMTPD[5:]], [*CLEANUP[:4], chroot, *CLEANUP[5:]], PICKUP])
    (found,) = check_postfix.master(HOST)
    assert found.ok is True


def test_service_that_uses_no_milters_is_ignored(master_cf):
    master_cf([["qmgr", "unix", "n", "-", "n", "300", "1", "qmgr"]])
    assert [found.ok for found in check_postfix.master(HOST)] == [True]


def test_service_that_bypasses_the_milters_is_wrong_and_has_a_remedy(master_cf):
    master_cf(own={"smtp/inet/smtpd_milters": ""})
    (found,) = check_postfix.master(HOST)
    assert found.ok is False
    assert "smtp/inet (-o smtpd_milters= in master.cf)" in found.message
    assert "dkim:postfix:unsigned_services" in found.remedy


def test_service_that_may_bypass_the_milters_is_ok(master_cf):
    master_cf(own={"smtp/inet/smtpd_milters": ""})
    settings = Settings(postfix=Postfix(unsigned_services=("smtp/inet",)))
    (found,) = check_postfix.master(Host(settings))
    assert found.ok is True
    assert "smtp/inet" in found.message


def test_table_of_milters_by_client_is_unknown(master_cf):
    master_cf(main={**WELL, "smtpd_milter_maps": "cidr:/etc/postfix/milter_map"})
    (found,) = check_postfix.master(HOST)
    assert found.ok is None
    assert "smtpd_milter_maps = cidr:/etc/postfix/milter_map" in found.message


@pytest.mark.parametrize(("action", "ok"), [("tempfail", False), ("accept", None)])
def test_silent_milter_is_wrong_unless_its_action_is_accept(master_cf, action, ok):
    entry = f"{{ unix:nobody/is-here.sock, default_action={action} }}"
    master_cf(main={**WELL, "smtpd_milters": f"{entry}, {MILTER}"})
    (found,) = check_postfix.others(HOST)
    assert found.ok is ok
    assert "unix:nobody/is-here.sock" in found.message


def test_message_about_a_valid_main_cf_has_the_default_action(master_cf):
    master_cf(main=WELL)
    (found,) = check_postfix.main(HOST)
    assert found.ok is True
    assert "accept" in found.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("smtpd_milters", ""),
        ("non_smtpd_milters", ""),
        ("internal_mail_filter_classes", "notify"),
        ("smtpd_milters", "unix:/opendkim/opendkim.sock"),
        ("milter_protocol", "1"),
    ],
)
def test_wrong_parameter_is_named(master_cf, name, value):
    master_cf(main={**WELL, name: value})
    (found,) = check_postfix.main(HOST)
    assert found.ok is False
    assert name in found.message


def test_remedy_of_a_protocol_that_the_formula_does_not_set_changes_main_cf(master_cf):
    master_cf(main={**WELL, "milter_protocol": "1"})
    (found,) = check_postfix.main(HOST)
    assert found.remedy == "postconf -e milter_protocol=6 && systemctl reload postfix"
    master_cf(main={"milter_protocol": "1"})
    (found,) = check_postfix.main(HOST)
    assert found.remedy.startswith("salt-call state.apply dkim.postfix; postconf -e ")


def test_remedy_of_an_old_process_restarts_the_service_of_the_pillar(master_cf, monkeypatch):
    master_cf()
    account = pwd.getpwuid(os.getuid()).pw_name
    lookup = {"postfix_user": account, "opendkim_user": account, "postfix_service": "mta"}
    settings = read({"domains": ["example.com"], "lookup": lookup}).settings
    monkeypatch.setattr(check_postfix, "processes", lambda names: [("1", "smtpd", set())])
    (found,) = check_postfix.membership(Host(settings))
    assert (found.ok, found.remedy) == (False, "systemctl restart mta")


def test_checks_are_unknown_without_postfix(monkeypatch, tmp_path):
    monkeypatch.setattr("dkim_formula.health.model.POSTCONF", str(tmp_path / "absent"))
    checks = (check_postfix.main, check_postfix.master, check_postfix.others)
    for check in (*checks, check_postfix.membership, check_postfix.at_sockets):
        assert {found.ok for found in check(HOST)} == {None}


def test_processes_yields_the_effective_groups_of_a_process():
    with open("/proc/self/comm", encoding="utf-8") as stream:
        name = stream.read().strip()
    groups = {number: found for number, _, found in check_postfix.processes([name])}
    assert groups[str(os.getpid())] == {*os.getgroups(), os.getegid()}
