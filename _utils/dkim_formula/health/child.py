"""A function in a process of its own: as another user, in a chroot, for a given time at most."""

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

_grown = {"is_child": False}


class ChildFailed(FormulaError):
    """The function raised one of our errors, in the child; its text."""


class ChildBroke(FormulaError):
    """The function raised what it should not have: its type and place, and nothing of its text."""


class TookTooLong(FormulaError):
    """The function had not returned when its time was over."""


@dataclass(frozen=True)
class Account:
    """
    Who a function is run as.

    name
        Of a system account.
    chroot
        The directory to be locked up in before, or None.
    environment
        The only variables besides HOME; None keeps those of this process.
    """

    name: str
    chroot: str | None = None
    environment: dict[str, str] | None = None


def run(function: Callable[[], object], seconds: float, account: Account | None = None) -> object:
    """
    What ``function`` returns, which has to be plain data.

    seconds
        How long it may take; then it is killed, and whatever it has started.
    account
        Whose rights it has; root's own without it. Needs root.

    Raises ChildFailed with the text of a FormulaError, ChildBroke for anything else that it raises,
    TookTooLong, and KeyError for an account that this machine has not.
    """
    become = _becoming(account)
    reading, writing = os.pipe()
    # A child's children stay in its group, so that they end with it.
    leads = not _grown["is_child"]
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _in_child(function, become, writing, leads)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb", buffering=0) as stream:
            said = _read(stream.fileno(), time.monotonic() + seconds)
    finally:
        # Its group goes too: a systemctl that hangs must not stay.
        if leads:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if said is None:
        raise TookTooLong(f"it took more than {seconds:g} s")
    return _result(said)


def _becoming(account: Account | None) -> Callable[[], None]:
    """What the child does to become the account: looked up here, where there is an /etc."""
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
        # Whoever the account is, what this process knows stays closed to it: the kernel makes a
        # process that has changed its user undumpable, its /proc files root's (proc(5)).
        os.setuid(entry.pw_uid)

    return become


def _in_child(
    function: Callable[[], object], become: Callable[[], None], writing: int, leads: bool
) -> None:
    # Never back into the caller's code: neither its exception handlers nor its exit functions are
    # the child's.
    try:
        _grown["is_child"] = True
        if leads:
            os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        become()
        answer = {"result": function()}
    except FormulaError as error:
        answer = {"failed": str(error)}
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        answer = {"broke": f"{type(error).__name__} in {place.name}, line {place.lineno}"}
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


def _result(said: bytes) -> object:
    if not said:
        raise ChildBroke("it ended without a word")
    answer = json.loads(said)
    if "failed" in answer:
        raise ChildFailed(answer["failed"])
    if "broke" in answer:
        raise ChildBroke(answer["broke"])
    return answer["result"]
