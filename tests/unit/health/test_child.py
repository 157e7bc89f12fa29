"""A function in a process of its own: its account, its time, its errors."""

import os
import subprocess
import time

import pytest
from dkim_formula.errors import FormulaError
from dkim_formula.health import child

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")


def wait_for(condition, deadline=10):
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def raise_(error):
    raise error


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
    # A process that ends between the two calls is no such process (ESRCH).
    except (FileNotFoundError, ProcessLookupError):
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
