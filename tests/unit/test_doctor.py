"""The doctor's way through its checks, and what it makes of what they find."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from dkim_formula.doctor import child, files, postfix, units
from dkim_formula.doctor.finding import Finding, right, shortened, unknown, wrong
from dkim_formula.doctor.site import Site
from dkim_formula.errors import FormulaError, InvalidValue
from dkim_formula.operations.doctor import CHECKS, Check, as_text, check_format, doctor
from dkim_formula.postfix import main_cf, services
from dkim_formula.postfix.services import Configuration
from dkim_formula.settings import read
from dkim_formula.settings.model import Postfix, Settings

READING = read({"domains": ["example.com"]})
SITE = Site(READING.settings)
# What systemctl shows of a unit that is as it should be.
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
MILTER = "unix:opendkim/opendkim.sock"
SMTPD = ["smtp", "inet", "n", "-", "y", "-", "-", "smtpd"]
CLEANUP = ["cleanup", "unix", "n", "-", "y", "-", "0", "cleanup"]
PICKUP = ["pickup", "unix", "n", "-", "y", "60", "1", "pickup"]
WELL = {
    "smtpd_milters": f"{{ {MILTER}, default_action=accept }}",
    "non_smtpd_milters": "$smtpd_milters",
    "internal_mail_filter_classes": "bounce",
}

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")


def wait_for(condition, deadline=10):
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def raise_(error):
    raise error


# --- A process of its own -------------------------------------------------------------------------


def test_child_gives_back_what_the_function_returns():
    assert child.run(lambda: {"a": [1, None, "é"]}, 10) == {"a": [1, None, "é"]}


def test_child_leaves_this_process_as_it_is(monkeypatch):
    monkeypatch.setenv("DOCTOR", "before")

    def change():
        os.environ["DOCTOR"] = "after"
        os.chdir("/")
        return os.getpid()

    here = os.getcwd()
    assert child.run(change, 10) != os.getpid()
    assert (os.environ["DOCTOR"], os.getcwd()) == ("before", here)


def test_our_error_comes_with_its_text():
    with pytest.raises(child.ChildFailed, match="no such thing"):
        child.run(lambda: raise_(FormulaError("no such thing")), 10)


def test_other_error_comes_without_its_text():
    with pytest.raises(child.ChildBroke) as error:
        child.run(lambda: raise_(ValueError("a secret")), 10)
    assert "ValueError in raise_" in str(error.value)
    assert "secret" not in str(error.value)


def test_end_without_a_word_is_told():
    with pytest.raises(child.ChildBroke, match="without a word"):
        child.run(lambda: os._exit(3), 10)


def test_function_that_hangs_ends_with_what_it_started(tmp_path):
    def hang():
        started = subprocess.Popen(["sleep", "600"])
        (tmp_path / "pid").write_text(str(started.pid))
        (tmp_path / "pid").rename(tmp_path / "there")
        started.wait()

    with pytest.raises(child.TookTooLong, match=r"more than 1 s"):
        child.run(hang, 1)
    number = int((tmp_path / "there").read_text())
    wait_for(lambda: is_gone(number))


def is_gone(number):
    try:
        with open(f"/proc/{number}/stat", encoding="ascii") as stream:
            return stream.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@as_root
def test_child_is_who_it_is_told_to_be():
    account = child.Account("nobody", environment={"PGPASSFILE": "/x"})

    def tell():
        return [
            os.getuid(),
            os.geteuid(),
            os.getgid(),
            os.environ.get("PGPASSFILE"),
            len(os.environ),
        ]

    user, effective, group, variable, count = child.run(tell, 10, account)
    assert user == effective != 0
    assert group != 0
    assert (variable, count) == ("/x", 2)


@as_root
def test_account_can_t_look_into_the_child():
    def tell():
        owner = os.stat("/proc/self/mem").st_uid
        return [owner, os.access("/proc/self/environ", os.R_OK)]

    assert child.run(tell, 10, child.Account("nobody")) == [0, False]


@as_root
def test_child_in_a_chroot_sees_nothing_else(tmp_path):
    (tmp_path / "inside").touch()
    tmp_path.chmod(0o755)
    account = child.Account("nobody", chroot=str(tmp_path))
    assert child.run(lambda: os.listdir("/"), 10, account) == ["inside"]


@as_root
def test_account_that_is_not_there_is_told():
    with pytest.raises(KeyError, match="no-such-account"):
        child.run(lambda: 1, 10, child.Account("no-such-account"))


# --- The way through the checks -------------------------------------------------------------------


def checks(*made):
    return [Check(name, lambda site, one=one: [one], **more) for name, one, more in made]


def results(*made):
    return [(one["check"], one["ok"]) for one in doctor(READING, checks(*made))]


def test_findings_come_in_the_order_of_the_checks():
    made = (("a", right("a", "x"), {}), ("b", wrong("b", "y", "do"), {}))
    assert results(*made) == [("a", True), ("b", False)]


@pytest.mark.parametrize(
    ("first", "expected"),
    [(right("a", ""), True), (wrong("a", "", "do"), None), (unknown("a", ""), None)],
)
def test_check_is_not_tried_without_what_it_needs(first, expected):
    made = (("a", first, {}), ("b", right("b", ""), {"needs": ("a",)}))
    assert results(*made)[1] == ("b", expected)


@pytest.mark.parametrize(
    ("first", "expected"),
    [(right("a", ""), True), (wrong("a", "", "do"), None), (unknown("a", ""), True)],
)
def test_check_is_not_tried_after_what_is_wrong(first, expected):
    made = (("a", first, {}), ("b", right("b", ""), {"after": ("a",)}))
    assert results(*made)[1] == ("b", expected)


def test_check_that_hangs_is_wrong_and_the_next_one_is_tried():
    hanging = Check("a", lambda site: time.sleep(600), seconds=0.2)
    found = doctor(READING, [hanging, *checks(("b", right("b", ""), {}))])
    assert [one["ok"] for one in found] == [False, True]
    assert "0.2 s" in found[0]["found"]
    assert found[0]["do"]


def test_check_that_breaks_off_tells_nothing_of_the_chain():
    found = doctor(READING, [Check("a", lambda site: raise_(ValueError("a secret")))])
    assert [(one["ok"], "secret" in str(one)) for one in found] == [(None, False)]


def test_error_of_ours_is_what_is_wrong():
    found = doctor(READING, [Check("a", lambda site: raise_(FormulaError("main.cf is gone")))])
    assert found == [
        {"check": "a", "ok": False, "found": "main.cf is gone", "do": "see the reason"}
    ]


def test_wrong_pillar_is_the_first_finding():
    found = doctor(read({"domains": {"exa mple": {}}}), CHECKS[:1])
    assert found[0]["ok"] is False
    assert "'exa mple'" in found[0]["found"]


def test_documentation_has_every_check():
    text = (Path(__file__).resolve().parents[2] / "docs" / "doctor.md").read_text()
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    told = " ".join(rows)
    assert [check.name for check in CHECKS if not re.search(f"`[^`]*{check.name}`", told)] == []


def test_text_shows_what_is_wrong_and_what_to_do():
    found = [
        right("one", "well").as_plain(),
        wrong("another", "bad", "mend it").as_plain(),
        unknown("third", "who knows").as_plain(),
    ]
    assert as_text(found).splitlines() == [
        "ok     one      well",
        "WRONG  another  bad",
        "                -> mend it",
        "?      third    who knows",
        "1 of 3 are wrong",
    ]
    assert as_text(found[:1]).splitlines()[-1] == "nothing is wrong"


def test_other_formats_are_refused():
    with pytest.raises(InvalidValue, match="format: 'bind'"):
        check_format("bind")


def test_long_lists_are_counted():
    assert shortened(["a", "b"], 2) == "a, b"
    assert shortened(["a", "b", "c"], 2) == "a, b and 1 more"


# --- Units ----------------------------------------------------------------------------------------


def faults(**changed):
    return list(units.faults({**SHOWN, **changed}, "/etc/ours.conf", "opendkim"))


def test_unit_as_it_should_be_has_no_fault():
    assert faults() == []
    assert faults(FragmentPath="/etc/ours.conf", DropInPaths="") == []


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"ActiveState": "failed", "SubState": "failed", "Result": "exit-code"}, "it is failed"),
        ({"UnitFileState": "disabled"}, "does not start with the machine"),
        ({"DropInPaths": "/etc/other.conf"}, "/etc/ours.conf is not in force"),
        ({"NeedDaemonReload": "yes"}, "systemctl daemon-reload"),
        ({"Restart": "no"}, "Restart=no"),
        ({"User": ""}, "starts as root"),
    ],
)
def test_fault_of_a_unit_is_told(changed, part):
    assert len(faults(**changed)) == 1
    assert part in faults(**changed)[0]


# --- Files ----------------------------------------------------------------------------------------


@pytest.fixture
def mine(tmp_path):
    """A file, and its owner and group by name."""
    path = tmp_path / "file"
    path.touch()
    path.chmod(0o440)
    status = path.stat()
    return str(path), files._user(status.st_uid), files._group(status.st_gid)


def test_file_as_it_should_be_has_no_difference(mine):
    path, user, group = mine
    assert list(files.differences(path, files.stat.S_ISREG, 0o440, user, group)) == []
    assert list(files.differences(path, files.stat.S_ISREG, None, user, group)) == []


def test_differences_of_a_file_are_told(mine):
    path, user, group = mine
    found = list(files.differences(path, files.stat.S_ISREG, 0o400, "somebody", group))
    assert found == [
        f"{path} belongs to {user}:{group}, not to somebody:{group}",
        f"{path} has the mode 0440, not 0400",
    ]


def test_file_of_another_kind_or_none_is_told(mine, tmp_path):
    path, user, group = mine
    assert "another kind" in next(files.differences(path, files.stat.S_ISDIR, None, user, group))
    absent = str(tmp_path / "absent")
    assert "No such file" in next(files.differences(absent, files.stat.S_ISREG, None, user, group))


# --- Postfix --------------------------------------------------------------------------------------


@pytest.fixture
def master_cf(monkeypatch, tmp_path):
    """master.cf and main.cf as postconf would show them."""
    there = tmp_path / "postconf"
    there.touch()
    monkeypatch.setattr("dkim_formula.doctor.site.POSTCONF", str(there))

    def be(listed=(SMTPD, CLEANUP, PICKUP), own=None, main=None):
        found = Configuration(WELL if main is None else main, listed, own or {})
        monkeypatch.setattr(services, "read", lambda: found)
        monkeypatch.setattr(main_cf, "in_force", lambda name: found.main.get(name, "6"))

    return be


@pytest.mark.parametrize("chroot", ["y", "n", "-"])
def test_service_finds_our_socket_in_the_chroot_and_outside_of_it(master_cf, chroot):
    master_cf([[*SMTPD[:4], chroot, *SMTPD[5:]], [*CLEANUP[:4], chroot, *CLEANUP[5:]], PICKUP])
    (found,) = postfix.master(SITE)
    assert found.ok is True


def test_service_without_milters_is_of_no_interest(master_cf):
    master_cf([["qmgr", "unix", "n", "-", "n", "300", "1", "qmgr"]])
    assert [found.ok for found in postfix.master(SITE)] == [True]


def test_service_that_goes_round_us_is_wrong_and_the_way_out_is_told(master_cf):
    master_cf(own={"smtp/inet/smtpd_milters": ""})
    (found,) = postfix.master(SITE)
    assert found.ok is False
    assert "smtp/inet (-o smtpd_milters= in master.cf)" in found.found
    assert "dkim:postfix:unsigned_services" in found.do


def test_service_that_is_meant_to_go_round_us_is_right(master_cf):
    master_cf(own={"smtp/inet/smtpd_milters": ""})
    meant = Settings(postfix=Postfix(unsigned_services=("smtp/inet",)))
    (found,) = postfix.master(Site(meant))
    assert found.ok is True
    assert "smtp/inet" in found.found


def test_table_of_milters_by_client_may_be_meant(master_cf):
    master_cf(main={**WELL, "smtpd_milter_maps": "cidr:/etc/postfix/milter_map"})
    (found,) = postfix.master(SITE)
    assert found.ok is None
    assert "smtpd_milter_maps = cidr:/etc/postfix/milter_map" in found.found


@pytest.mark.parametrize(("action", "ok"), [("tempfail", False), ("accept", None)])
def test_other_milter_that_does_not_answer_is_told_with_its_fate(master_cf, action, ok):
    entry = f"{{ unix:nobody/is-here.sock, default_action={action} }}"
    master_cf(main={**WELL, "smtpd_milters": f"{entry}, {MILTER}"})
    (found,) = postfix.others(SITE)
    assert found.ok is ok
    assert "unix:nobody/is-here.sock" in found.found


def test_main_cf_as_it_should_be_tells_what_an_outage_does(master_cf):
    master_cf(main=WELL)
    (found,) = postfix.main(SITE)
    assert found.ok is True
    assert "accept" in found.found


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
    (found,) = postfix.main(SITE)
    assert found.ok is False
    assert name in found.found


def test_machine_without_postfix_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr("dkim_formula.doctor.site.POSTCONF", str(tmp_path / "absent"))
    checks = (postfix.runs, postfix.main, postfix.master, postfix.others)
    for check in (*checks, postfix.membership, postfix.at_sockets):
        assert {found.ok for found in check(SITE)} == {None}


def test_groups_of_a_running_process_are_those_that_are_in_force():
    with open("/proc/self/comm", encoding="utf-8") as stream:
        name = stream.read().strip()
    groups = {number: found for number, _, found in postfix.processes([name])}
    assert groups[str(os.getpid())] == {*os.getgroups(), os.getegid()}


def test_finding_is_plain_data():
    assert Finding("a", None, "b").as_plain() == {"check": "a", "ok": None, "found": "b", "do": ""}
