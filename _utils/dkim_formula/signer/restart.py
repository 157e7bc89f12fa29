"""A restart of OpenDKIM during which no mail leaves unsigned."""

import contextlib
import fcntl
import os
import pwd
import socket
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from ..errors import OpenDKIMError, PostfixError, keeping_what_was_done
from ..postfix import control, main_cf, main_cf_milters, milter_actions, service_milters
from ..postfix.milter_addresses import ManagedMilters

# A start makes no look-ups (docs/database.md), so it takes only a few seconds. The stop of the
# packaged unit may take five. PostgreSQL may be starting at the same time.
READY_WITHIN = 30.0  # seconds


class Services(Protocol):
    """The functions that start and stop services: Salt's ``service`` module or a test double."""

    def start(self, name: str) -> bool: ...

    def stop(self, name: str) -> bool: ...

    def restart(self, name: str) -> bool: ...


def restart(
    init: Services,
    daemon: str,
    socket_path: str,
    *,
    mail_service: str = "postfix",
    milter: str = "",
    moved_from: Sequence[str] = (),
    reads: Iterable[str] = (),
    ready_within: float = READY_WITHIN,
    test: bool = False,
) -> dict[str, object]:
    """
    Restart the daemon, and return when its milter socket accepts connections.

    With the action ``accept`` Postfix sends mail unsigned while the daemon is down. With
    ``quarantine`` mail leaves unsigned on release. A change of main.cf can't close this gap,
    because an smtpd(8) with a client keeps the configuration of its start. So Postfix is stopped
    for these seconds: clients are refused and try again, and sendmail(1) queues. With any other
    action in the daemon's own entry Postfix keeps running.

    init
        The functions that start and stop services.
    daemon, mail_service
        The names of the services.
    socket_path
        The milter socket that the daemon makes.
    milter, moved_from
        The daemon's address in main.cf, and the spellings of its former address. main.cf and
        master.cf get the new address before Postfix starts again. Without ``milter`` every milter
        counts as this daemon's.
    reads
        The paths of the files that the daemon reads. A file with a future time, written before the
        clock was set back, gets the present time, so that :func:`is_up_to_date` can compare it.
    ready_within
        The seconds that the daemon may take to make its socket.
    test
        Change nothing, and return what a run would return.

    Returns ``{"restarted": daemon, "paused": bool, "main_cf": {parameter: {"old", "new"}}}``.

    Raises OpenDKIMError if the service does not restart or makes no socket. Postfix is started
    again in any case. The error has the changes that were made (:func:`errors.done_before`).
    """
    managed = _managed(socket_path, milter, moved_from)
    if test:
        update = _AddressUpdate(managed if moved_from else None)
        paused = _has_to_pause(managed)
        return {"restarted": daemon, "paused": paused, "main_cf": update.changes()}
    done: dict[str, object] = {}
    with (
        keeping_what_was_done(lambda: done),
        _one_at_a_time(socket_path),
        _postfix_paused(init, mail_service, managed, done) as paused,
    ):
        _date_back(reads)
        with _note_outcome(daemon, socket_path, done):
            if not init.restart(daemon):
                raise OpenDKIMError(
                    f"service {daemon} did not restart; see: journalctl -u {daemon} -n 50"
                )
        done[daemon] = {"old": None, "new": "restarted"}
        wait_until_ready(daemon, socket_path, ready_within)
        update = _AddressUpdate(managed if moved_from else None)
        update.write(done)
    return {"restarted": daemon, "paused": paused, "main_cf": update.changes()}


def wait_until_ready(daemon: str, socket_path: str, ready_within: float = READY_WITHIN) -> None:
    """Wait until the milter socket accepts connections. Raises OpenDKIMError if it takes longer."""
    deadline = time.monotonic() + ready_within
    while not answers(socket_path):
        if time.monotonic() > deadline:
            raise OpenDKIMError(
                f"{daemon} runs but made no socket at {socket_path} within {ready_within:.0f} s; "
                f"see: journalctl -u {daemon} -n 50"
            )
        time.sleep(0.1)


def answers(socket_path: str) -> bool:
    """Return whether a Unix socket accepts connections."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        try:
            client.connect(socket_path)
        except OSError:
            return False
        return True


def must_answer(socket_path: str) -> None:
    """Raise OpenDKIMError unless a Unix socket accepts connections."""
    if not answers(socket_path):
        raise OpenDKIMError(
            f"no milter answers at {socket_path}, so main.cf is left as it is; apply dkim.opendkim "
            "first"
        )


def is_up_to_date(socket_path: str, reads: Iterable[str], user: str | None = None) -> bool:
    """
    Return whether the daemon answers and has read the present version of its files.

    The daemon makes its socket at its start, so the socket is as old as the daemon. A missing file
    counts as changed. A socket with a future time is from before the clock was set back: whether
    its daemon has read the files is unknown, so the result is False.

    reads
        The paths of the files that the daemon reads.
    user
        The account that has to own the socket, with access for its group; None for any owner. If
        the owner was changed, a restart makes the socket anew.
    """
    try:
        status = os.stat(socket_path)
        written = max((os.stat(path).st_mtime_ns for path in reads), default=0)
    except (FileNotFoundError, NotADirectoryError):
        return False
    if user is not None and not open_for_group(status, user):
        return False
    return written < status.st_mtime_ns <= time.time_ns() and answers(socket_path)


def _date_back(paths: Iterable[str]) -> None:
    """Give the present time to each file that has a future time."""
    for path in paths:
        now = time.time_ns()
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_mtime_ns > now:
                os.utime(path, ns=(now, now))


def open_for_group(status: os.stat_result, user: str) -> bool:
    """Return whether an account owns a socket and its group may connect (unix(7): may write)."""
    try:
        owner = pwd.getpwnam(user)
    except KeyError:
        return False
    own = (status.st_uid, status.st_gid) == (owner.pw_uid, owner.pw_gid)
    return own and bool(status.st_mode & stat.S_IWGRP)


def _managed(socket_path: str, milter: str, moved_from: Sequence[str]) -> ManagedMilters | None:
    """Return the daemon's milter with its older addresses; None if ``milter`` is empty."""
    if not milter:
        return None
    older = {milter: [f"unix:{socket_path}", *moved_from]}
    return ManagedMilters([milter], older, service_milters.read().queue)


class _AddressUpdate:
    """The parameters of main.cf and master.cf that have to name a daemon's new address."""

    def __init__(self, managed: ManagedMilters | None):
        self._found = service_milters.read() if managed else service_milters.Configuration()
        self._main: dict[str, str] = {}
        self._own: dict[str, str] = {}
        if managed:
            (milter,) = managed.milters
            old, found = managed.older[milter], self._found
            self._main = main_cf_milters.swap(
                found.main, old, milter, managed.queue, found.quoting()
            )
            self._own = service_milters.plan_swap(found, managed)

    def changes(self) -> dict[str, dict[str, str | None]]:
        """Return the old and new value of each parameter."""
        return {**self._changes(self._main), **self._changes(self._own)}

    def write(self, done: dict[str, object]) -> None:
        """Set the parameters. ``done`` gets each change, even if a command fails afterwards."""
        try:
            main_cf.write(self._main)
            done.update(self._changes(self._main))
            main_cf.write_own(self._own)
            done.update(self._changes(self._own))
        except Exception:
            with contextlib.suppress(PostfixError):
                done.update(self._set_by_now())
            raise

    def _set_by_now(self) -> dict[str, dict[str, str | None]]:
        now = service_milters.read()
        values = {**now.main, **now.own}
        return {
            name: change
            for name, change in self.changes().items()
            if values.get(name) == change["new"]
        }

    def _changes(self, new: dict[str, str]) -> dict[str, dict[str, str | None]]:
        old = {**self._found.main, **self._found.own}
        return {name: {"old": old.get(name), "new": new[name]} for name in new}


@contextlib.contextmanager
def _note_outcome(daemon: str, socket_path: str, done: dict[str, object]) -> Iterator[None]:
    """Note in ``done`` whether a daemon is stopped or restarted after its restart has failed."""
    before = _instance(socket_path)
    try:
        yield
    except Exception:
        now = _instance(socket_path)
        if now is None and before is not None:
            done[daemon] = {"old": "running", "new": "stopped"}
        elif now != before:
            done[daemon] = {"old": None, "new": "restarted"}
        raise


def _instance(socket_path: str) -> tuple[int, int] | None:
    """Return an identifier of a running daemon, which makes a new socket at each start, or None."""
    try:
        status = os.stat(socket_path)
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns) if answers(socket_path) else None


@contextlib.contextmanager
def _one_at_a_time(socket_path: str) -> Iterator[None]:
    """
    Make restarts on this machine run one after another.

    A concurrent second restart would find Postfix stopped and not stop it. Its daemon would still
    be down when the first restart starts Postfix again.
    """
    try:
        # All daemons serve the same Postfix, so their sockets are in one directory.
        folder = os.open(os.path.dirname(socket_path), os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        yield
        return
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


@contextlib.contextmanager
def _postfix_paused(
    init: Services, mail_service: str, managed: ManagedMilters | None, done: dict[str, object]
) -> Iterator[bool]:
    pause = _has_to_pause(managed)
    try:
        if pause:
            init.stop(mail_service)
            control.wait_until_stopped()
        yield pause
    finally:
        if pause:
            _start_again(init, mail_service, done)


def _has_to_pause(managed: ManagedMilters | None) -> bool:
    found = service_milters.read()
    return milter_actions.lets_mail_leave_unsigned(found, managed) and control.running()


def _start_again(init: Services, mail_service: str, done: dict[str, object]) -> None:
    started = False
    try:
        started = init.start(mail_service)
    finally:
        if not started and not control.running():
            done[mail_service] = {"old": "running", "new": "stopped"}
    if not started:
        raise OpenDKIMError(
            f"service {mail_service} was stopped for OpenDKIM's restart and did not start "
            f"again; see: journalctl -u {mail_service} -n 50"
        )
