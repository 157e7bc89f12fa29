"""Postfix, the milters in its configuration, and its way to their sockets."""

import os

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
    """master.cf and main.cf as postconf would show them."""
    there = tmp_path / "postconf"
    there.touch()
    monkeypatch.setattr("dkim_formula.health.model.POSTCONF", str(there))

    def be(listed=(SMTPD, CLEANUP, PICKUP), own=None, main=None):
        found = Configuration(WELL if main is None else main, listed, own or {})
        monkeypatch.setattr(service_milters, "read", lambda: found)
        monkeypatch.setattr(main_cf, "in_force", lambda name: found.main.get(name, "6"))

    return be


@pytest.mark.parametrize("chroot", ["y", "n", "-"])
def test_service_finds_our_socket_in_the_chroot_and_outside_of_it(master_cf, chroot):
    master_cf([[*SMTPD[:4], chroot, *SMTPD[5:]], [*CLEANUP[:4], chroot, *CLEANUP[5:]], PICKUP])
    (found,) = check_postfix.master(HOST)
    assert found.ok is True


def test_service_without_milters_is_of_no_interest(master_cf):
    master_cf([["qmgr", "unix", "n", "-", "n", "300", "1", "qmgr"]])
    assert [found.ok for found in check_postfix.master(HOST)] == [True]


def test_service_that_goes_round_us_is_wrong_and_the_way_out_is_told(master_cf):
    master_cf(own={"smtp/inet/smtpd_milters": ""})
    (found,) = check_postfix.master(HOST)
    assert found.ok is False
    assert "smtp/inet (-o smtpd_milters= in master.cf)" in found.message
    assert "dkim:postfix:unsigned_services" in found.remedy


def test_service_that_is_meant_to_go_round_us_is_right(master_cf):
    master_cf(own={"smtp/inet/smtpd_milters": ""})
    meant = Settings(postfix=Postfix(unsigned_services=("smtp/inet",)))
    (found,) = check_postfix.master(Host(meant))
    assert found.ok is True
    assert "smtp/inet" in found.message


def test_table_of_milters_by_client_may_be_meant(master_cf):
    master_cf(main={**WELL, "smtpd_milter_maps": "cidr:/etc/postfix/milter_map"})
    (found,) = check_postfix.master(HOST)
    assert found.ok is None
    assert "smtpd_milter_maps = cidr:/etc/postfix/milter_map" in found.message


@pytest.mark.parametrize(("action", "ok"), [("tempfail", False), ("accept", None)])
def test_other_milter_that_does_not_answer_is_told_with_its_fate(master_cf, action, ok):
    entry = f"{{ unix:nobody/is-here.sock, default_action={action} }}"
    master_cf(main={**WELL, "smtpd_milters": f"{entry}, {MILTER}"})
    (found,) = check_postfix.others(HOST)
    assert found.ok is ok
    assert "unix:nobody/is-here.sock" in found.message


def test_main_cf_as_it_should_be_tells_what_an_outage_does(master_cf):
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
def test_parameter_that_is_wrong_is_named(master_cf, name, value):
    master_cf(main={**WELL, name: value})
    (found,) = check_postfix.main(HOST)
    assert found.ok is False
    assert name in found.message


def test_machine_without_postfix_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr("dkim_formula.health.model.POSTCONF", str(tmp_path / "absent"))
    checks = (check_postfix.main, check_postfix.master, check_postfix.others)
    for check in (*checks, check_postfix.membership, check_postfix.at_sockets):
        assert {found.ok for found in check(HOST)} == {None}


def test_groups_of_a_running_process_are_those_that_are_in_force():
    with open("/proc/self/comm", encoding="utf-8") as stream:
        name = stream.read().strip()
    groups = {number: found for number, _, found in check_postfix.processes([name])}
    assert groups[str(os.getpid())] == {*os.getgroups(), os.getegid()}
