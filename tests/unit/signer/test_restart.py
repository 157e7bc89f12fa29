"""OpenDKIM's restart: no mail leaves unsigned, and Postfix runs afterwards."""

import fcntl
import functools
import os
import pwd
import socket
import time

import pytest
from dkim_formula.errors import OpenDKIMError, PostfixError
from dkim_formula.postfix import control, main_cf, service_milters
from dkim_formula.postfix.service_milters import Configuration
from dkim_formula.signer import restart as restarting

MILTER = "unix:opendkim/opendkim.sock"
CHROOT = "/var/spool/postfix"
SOCKET = f"{CHROOT}/opendkim/opendkim.sock"


class Machine:
    """A double of Postfix and OpenDKIM for a restart; ``events`` lists the calls in order."""

    def __init__(self, main_cf_text=None, mail_runs=True):
        self.main_cf = dict(main_cf_text or {})
        self.master_cf = {}
        self.mail_runs = mail_runs
        self.daemon_answers = True
        self.failing = set()
        self.events = []

    def start(self, name):
        self.events.append(f"start {name}")
        self.mail_runs = True
        return f"start {name}" not in self.failing

    def stop(self, name):
        self.events.append(f"stop {name}")
        self.mail_runs = "stop " + name in self.failing
        return not self.mail_runs

    def restart(self, name):
        self.events.append(f"restart {name}")
        return f"restart {name}" not in self.failing

    def answers(self, _socket_path):
        self.events.append("socket asked")
        return self.daemon_answers

    def write(self, values):
        if values:
            self.events.append("main.cf written")
        self.main_cf.update(values)

    def write_own(self, values):
        self.master_cf.update(values)


SIGNING = {
    "smtpd_milters": MILTER,
    "non_smtpd_milters": "$smtpd_milters",
    "milter_default_action": "accept",
}


@pytest.fixture
def machine(monkeypatch):
    fake = Machine(SIGNING)
    monkeypatch.setattr(control, "running", lambda: fake.mail_runs)
    monkeypatch.setattr(
        service_milters, "read", lambda: Configuration(dict(fake.main_cf), (), dict(fake.master_cf))
    )
    monkeypatch.setattr(main_cf, "write", fake.write)
    monkeypatch.setattr(main_cf, "write_own", fake.write_own)
    monkeypatch.setattr(restarting, "answers", fake.answers)
    return fake


def restart(machine, **options):
    return restarting.restart(machine, "opendkim", SOCKET, **{"ready_within": 0, **options})


def test_postfix_is_stopped_until_the_socket_answers(machine):
    done = restart(machine)
    assert machine.events == ["stop postfix", "restart opendkim", "socket asked", "start postfix"]
    assert done == {"restarted": "opendkim", "paused": True, "main_cf": {}}


def test_second_restart_waits_for_the_first(machine, tmp_path, monkeypatch):
    def restarted_while_another_tries(_name):
        folder = os.open(tmp_path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(folder)
        return True

    monkeypatch.setattr(machine, "restart", restarted_while_another_tries)
    path = str(tmp_path / "opendkim.sock")
    for _ in range(2):  # the first has let the second one in
        done = restarting.restart(machine, "opendkim", path, milter=MILTER, ready_within=0)
        assert done["paused"] is True


def test_file_with_a_future_time_is_older_than_the_restarted_daemon(machine, tmp_path):
    future, past = tmp_path / "future", tmp_path / "past"
    for path, days in ((future, 1), (past, -1)):
        path.touch()
        at = time.time() + days * 86400
        os.utime(path, (at, at))
    before = past.stat().st_mtime_ns
    restart(machine, reads=[str(future), str(past), str(tmp_path / "absent")], test=True)
    assert future.stat().st_mtime > time.time()
    restart(machine, reads=[str(future), str(past), str(tmp_path / "absent")])
    assert future.stat().st_mtime <= time.time()
    assert past.stat().st_mtime_ns == before


def test_postfix_keeps_running_if_its_action_holds_mail_back(machine):
    machine.main_cf["milter_default_action"] = "tempfail"
    done = restart(machine)
    assert machine.events == ["restart opendkim", "socket asked"]
    assert done["paused"] is False


@pytest.mark.parametrize(
    ("entry", "default", "paused"),
    [
        (f"{{ {MILTER}, default_action=tempfail }}", "accept", False),
        (f"{{ {MILTER}, default_action=accept }}", "tempfail", True),
        (f"{{ {MILTER}, {{ default_action = quarantine }} }}", "tempfail", True),
        (f"{MILTER}, {{ inet:a:1, default_action=accept }}", "tempfail", False),
        ("inet:a:1", "accept", False),
        (f"local:{SOCKET}", "accept", True),
    ],
)
def test_action_of_the_managed_entry_decides_whether_postfix_is_stopped(
    machine, entry, default, paused
):
    machine.main_cf = {"smtpd_milters": entry, "milter_default_action": default}
    assert restart(machine, milter=MILTER)["paused"] is paused


def test_service_with_its_own_list_of_milters_counts(machine):
    machine.main_cf = {}
    machine.master_cf = {
        "submission/inet/smtpd_milters": MILTER,
        "submission/inet/milter_default_action": "accept",
    }
    assert restart(machine, milter=MILTER)["paused"] is True


def test_service_gets_the_new_address_of_a_moved_daemon(machine):
    machine.master_cf = {"submission/inet/smtpd_milters": "{ inet:localhost:8891, a=b } inet:x:1"}
    restart(machine, milter=MILTER, moved_from=["inet:localhost:8891"])
    assert machine.master_cf == {
        "submission/inet/smtpd_milters": f"{{{MILTER},a=b}},inet:x:1",
    }


def test_postfix_without_milters_keeps_running(machine):
    machine.main_cf = {"milter_default_action": "accept"}
    assert restart(machine)["paused"] is False


def test_restart_works_without_postfix(machine):
    machine.main_cf = {}
    assert restart(machine)["paused"] is False


def test_stopped_postfix_is_not_started(machine):
    machine.mail_runs = False
    assert restart(machine)["paused"] is False
    assert "start postfix" not in machine.events


@pytest.mark.parametrize("name", ["smtpd_milters", "non_smtpd_milters"])
def test_one_list_of_milters_is_enough_for_a_pause(machine, name):
    machine.main_cf = {name: MILTER, "milter_default_action": "accept"}
    assert restart(machine)["paused"] is True


def test_mail_service_can_have_another_name(machine):
    restart(machine, mail_service="postfix@-")
    assert machine.events[0] == "stop postfix@-"
    assert machine.events[-1] == "start postfix@-"


def test_postfix_runs_again_if_opendkim_does_not_restart(machine):
    machine.failing = {"restart opendkim"}
    with pytest.raises(OpenDKIMError, match="journalctl -u opendkim"):
        restart(machine)
    assert machine.events == ["stop postfix", "restart opendkim", "start postfix"]


def test_postfix_runs_again_if_the_socket_is_missing(machine):
    machine.daemon_answers = False
    with pytest.raises(OpenDKIMError, match=f"no socket at {SOCKET} within"):
        restart(machine)
    assert machine.events[-1] == "start postfix"


def test_postfix_runs_again_if_the_service_module_raises(machine):
    def burst(_name):
        raise RuntimeError("no bus")

    machine.restart = burst
    with pytest.raises(RuntimeError):
        restart(machine)
    assert machine.events[-1] == "start postfix"


def test_opendkim_is_not_restarted_while_postfix_still_runs(machine, monkeypatch):
    machine.failing = {"stop postfix"}
    at_once = functools.partial(control.wait_until_stopped, within=0)
    monkeypatch.setattr(control, "wait_until_stopped", at_once)
    with pytest.raises(PostfixError, match="still runs"):
        restart(machine)
    assert machine.events == ["stop postfix", "start postfix"]


def test_postfix_that_does_not_start_again_is_an_error(machine):
    machine.failing = {"start postfix"}
    with pytest.raises(OpenDKIMError, match=r"service postfix was stopped .* did not start again"):
        restart(machine)


def test_main_cf_gets_the_new_address_before_postfix_runs_again(machine):
    machine.main_cf["smtpd_milters"] = "inet:localhost:8891"
    done = restart(machine, milter=MILTER, moved_from=["inet:localhost:8891"])
    assert machine.events[-2:] == ["main.cf written", "start postfix"]
    assert done["main_cf"] == {"smtpd_milters": {"old": "inet:localhost:8891", "new": MILTER}}
    assert machine.main_cf == SIGNING


def test_main_cf_keeps_the_address_if_the_socket_is_missing(machine):
    machine.main_cf["smtpd_milters"] = "inet:localhost:8891"
    machine.daemon_answers = False
    with pytest.raises(OpenDKIMError):
        restart(machine, milter=MILTER, moved_from=["inet:localhost:8891"])
    assert machine.main_cf["smtpd_milters"] == "inet:localhost:8891"


def test_main_cf_stays_if_the_daemon_did_not_move(machine):
    assert restart(machine, milter=MILTER, moved_from=[])["main_cf"] == {}
    assert "main.cf written" not in machine.events


@pytest.fixture
def listening(tmp_path):
    """A Unix socket that accepts connections, like a milter's."""
    path = str(tmp_path / "milter.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        yield path


@pytest.fixture
def configuration(tmp_path, listening):
    path = tmp_path / "opendkim.conf"
    path.write_text("Mode sv\n")
    touch(path, before=listening)
    return str(path)


def touch(path, before=None, after=None):
    at = os.stat(before or after).st_mtime_ns + (-1 if before else 1)
    os.utime(path, ns=(at, at))


def test_daemon_that_has_read_its_files_is_up_to_date(listening, configuration):
    assert restarting.is_up_to_date(listening, [configuration])


def test_daemon_that_is_older_than_its_file_is_not_up_to_date(listening, configuration):
    touch(configuration, after=listening)
    assert not restarting.is_up_to_date(listening, [configuration])


def test_daemon_from_before_the_clock_was_set_back_is_not_up_to_date(listening, configuration):
    tomorrow = time.time_ns() + 86_400 * 10**9
    os.utime(listening, ns=(tomorrow, tomorrow))
    assert not restarting.is_up_to_date(listening, [configuration])


def test_daemon_without_its_file_is_not_up_to_date(listening, configuration):
    os.unlink(configuration)
    assert not restarting.is_up_to_date(listening, [configuration])


def test_daemon_without_a_socket_is_not_up_to_date(tmp_path, configuration):
    assert not restarting.is_up_to_date(str(tmp_path / "absent"), [configuration])


def test_socket_of_a_dead_daemon_is_not_up_to_date(tmp_path, configuration):
    path = str(tmp_path / "dead.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
    touch(path, after=configuration)
    assert not restarting.answers(path)
    assert not restarting.is_up_to_date(path, [configuration])


def test_socket_of_another_user_is_not_up_to_date(listening, configuration):
    me = pwd.getpwuid(os.getuid()).pw_name
    os.chmod(listening, 0o770)
    assert restarting.is_up_to_date(listening, [configuration], user=me)
    assert not restarting.is_up_to_date(listening, [configuration], user="nobody")
    assert not restarting.is_up_to_date(listening, [configuration], user="no-such-account")


def test_socket_without_group_access_is_not_up_to_date(listening, configuration):
    os.chmod(listening, 0o700)
    me = pwd.getpwuid(os.getuid()).pw_name
    assert not restarting.is_up_to_date(listening, [configuration], user=me)


def test_milter_that_answers_is_accepted(listening):
    restarting.must_answer(listening)


def test_milter_that_does_not_answer_is_named_with_the_remedy(tmp_path):
    path = str(tmp_path / "absent")
    with pytest.raises(OpenDKIMError, match=rf"{path}.* apply dkim\.opendkim first"):
        restarting.must_answer(path)
