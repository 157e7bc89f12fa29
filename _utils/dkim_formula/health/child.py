"""Functions run in a child process: as another user, in a chroot, with a time limit."""

import contextlib
import json
import os
import pwd
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import FormulaError

# Whether this process is itself a child that :func:`run` started.
_process = {"is_child": False}


class ChildFailed(FormulaError):
    """An error of the formula that the function raised in the child, with its text."""


class ChildBroke(FormulaError):
    """An unexpected exception in the child: its type and line, without its text."""


class TookTooLong(FormulaError):
    """A function that exceeded its time limit."""


@dataclass(frozen=True)
class Account:
    """
    The account that runs a function.

    name
        The name of a system account.
    chroot
        The directory of the chroot, or None.
    environment
        All variables of the child's environment besides HOME. None keeps those of this process.
    """

    name: str
    chroot: str | None = None
    environment: dict[str, str] | None = None


def run(function: Callable[[], object], seconds: float, account: Account | None = None) -> object:
    """
    Run a function in a child process, and return its result, which must be data for JSON.

    seconds
        The time limit. Then the child and all processes that it started are killed.
    account
        The account that runs the function; needs root. None means the account of this process.

    Raises ChildFailed with the text of a FormulaError, and ChildBroke for any other exception of
    the function. Raises TookTooLong, and KeyError for an account that is missing on this machine.
    """
    become = _becoming(account)
    reading, writing = os.pipe()
    # A child of a child stays in the process group of its parent, so that both are killed together.
    leads = not _process["is_child"]
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _in_child(function, become, writing, leads)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb", buffering=0) as stream:
            answer = _read(stream.fileno(), time.monotonic() + seconds)
    finally:
        # The whole group is killed, since a systemctl that hangs must not remain.
        if leads:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if answer is None:
        raise TookTooLong(f"it took more than {seconds:g} s")
    return _result(answer)


def _becoming(account: Account | None) -> Callable[[], None]:
    """Return the function that makes the child run as the account, looked up before the chroot."""
    if account is None:
        return lambda: None
    entry = pwd.getpwnam(account.name)
    groups = os.getgrouplist(account.name, entry.pw_gid)

    def become() -> None:
        if account.environment is not None:
            os.environ.clear()
            os.environ.update({"HOME": entry.pw_dir, **account.environment})
        if account.chroot is not None:
            os.chroot(account.chroot)
        os.chdir("/")
        os.setgroups(groups)
        os.setgid(entry.pw_gid)
        # The account cannot read the child's memory, which holds data of this process. The kernel
        # makes a process that changes its user undumpable, and root owns its /proc files (proc(5)).
        os.setuid(entry.pw_uid)

    return become


def _in_child(
    function: Callable[[], object], become: Callable[[], None], writing: int, leads: bool
) -> None:
    # The child ends with os._exit, so that it runs neither exception handlers nor exit functions of
    # the caller.
    try:
        _process["is_child"] = True
        if leads:
            os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        become()
        answer = {"result": function()}
    except FormulaError as error:
        answer = {"failed": str(error)}
    except BaseException as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        answer = {"broke": f"{type(error).__name__} in {frame.name}, line {frame.lineno}"}
    try:
        data = json.dumps(answer).encode()
        while data:
            data = data[os.write(writing, data) :]
    finally:
        os._exit(0)


def _read(descriptor: int, deadline: float) -> bytes | None:
    received = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            return None
        chunk = os.read(descriptor, 65536)
        if not chunk:
            return received
        received += chunk


def _result(data: bytes) -> object:
    if not data:
        raise ChildBroke("it ended without a result")
    answer = json.loads(data)
    if "failed" in answer:
        raise ChildFailed(answer["failed"])
    if "broke" in answer:
        raise ChildBroke(answer["broke"])
    return answer["result"]
