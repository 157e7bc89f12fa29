"""Functions in a child process: account, time limit and errors."""

import os
import subprocess
import time

import pytest
from dkim_formula.errors import FormulaError
from dkim_formula.health import child

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the user")


def wait_for(condition, deadline=10):
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def raise_(error):
    raise error


def test_run_returns_the_result_of_the_function():
    assert child.run(lambda: {"a": [1, None, "é"]}, 10) == {"a": [1, None, "é"]}


def test_child_does_not_change_this_process(monkeypatch):
    monkeypatch.setenv("DOCTOR", "before")

    def change():
        os.environ["DOCTOR"] = "after"
        os.chdir("/")
        return os.getpid()

    here = os.getcwd()
    assert child.run(change, 10) != os.getpid()
    assert (os.environ["DOCTOR"], os.getcwd()) == ("before", here)


def test_error_of_the_formula_keeps_its_text():
    with pytest.raises(child.ChildFailed, match="no such thing"):
        child.run(lambda: raise_(FormulaError("no such thing")), 10)


def test_other_exception_loses_its_text():
    with pytest.raises(child.ChildBroke) as error:
        child.run(lambda: raise_(ValueError("a secret")), 10)
    assert "ValueError in raise_" in str(error.value)
    assert "secret" not in str(error.value)


def test_end_without_a_result_is_an_error():
    with pytest.raises(child.ChildBroke, match="without a result"):
        child.run(lambda: os._exit(3), 10)


def test_function_that_hangs_is_killed_with_the_processes_that_it_started(tmp_path):
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
    # Reading the file of a process that ends after open() fails with ESRCH.
    except (FileNotFoundError, ProcessLookupError):
        return True


@as_root
def test_child_has_the_user_group_and_environment_of_the_account():
    account = child.Account("nobody", environment={"PGPASSFILE": "/x"})

    def observe():
        return [
            os.getuid(),
            os.geteuid(),
            os.getgid(),
            os.environ.get("PGPASSFILE"),
            len(os.environ),
        ]

    user, effective, group, variable, count = child.run(observe, 10, account)
    assert user == effective != 0
    assert group != 0
    assert (variable, count) == ("/x", 2)


@as_root
def test_account_cannot_read_the_memory_of_the_child():
    def observe():
        owner = os.stat("/proc/self/mem").st_uid
        return [owner, os.access("/proc/self/environ", os.R_OK)]

    assert child.run(observe, 10, child.Account("nobody")) == [0, False]


@as_root
def test_child_in_a_chroot_sees_only_the_chroot(tmp_path):
    (tmp_path / "inside").touch()
    tmp_path.chmod(0o755)
    account = child.Account("nobody", chroot=str(tmp_path))
    assert child.run(lambda: os.listdir("/"), 10, account) == ["inside"]


@as_root
def test_missing_account_is_an_error():
    with pytest.raises(KeyError, match="no-such-account"):
        child.run(lambda: 1, 10, child.Account("no-such-account"))
