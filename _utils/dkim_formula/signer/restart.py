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
from ..postfix import control, main_cf, milter_addresses, milters, service_milters
from ..postfix.milters import LOOPBACK, Ours

# A cold start looks nothing up (docs/database.md), so it is the daemon's own few seconds; the
# packaged unit's stop alone may take five. PostgreSQL may be starting at the same time.
READY_WITHIN = 30.0  # seconds


class Services(Protocol):
    """What starts and stops services here: Salt's ``service`` module, or a test's double."""

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
    ready_within: float = READY_WITHIN,
    test: bool = False,
) -> dict[str, object]:
    """
    Restarts the daemon and returns when its milter socket takes connections.

    With the action ``accept`` Postfix sends mail on unsigned while the daemon is away, and with
    ``quarantine`` when it is released; an smtpd(8) that has a client keeps the configuration that
    it started with, so no change of main.cf closes that gap. Postfix stands still for these
    seconds: clients are refused and come back, sendmail(1) queues. With any other action at the
    daemon's own entry Postfix goes on.

    init
        Starts and stops services.
    daemon, mail_service
        The services' names.
    socket_path
        The milter socket that the daemon is to make.
    milter, moved_from
        The daemon's address as main.cf writes it, and the spellings of the address that it had
        before: main.cf and master.cf follow before Postfix runs again. Without them every milter
        counts as this one.
    ready_within
        Seconds that the daemon has to make its socket.
    test
        Only tell: the return is that of a run, and nothing is changed.

    Returns ``{"restarted": daemon, "paused": bool, "main_cf": {parameter: {"old", "new"}}}``.

    Raises OpenDKIMError where the service does not restart or the socket does not come; Postfix
    runs again all the same. An error has what had been done (:func:`errors.done_before`).
    """
    ours = _ours(socket_path, milter, moved_from)
    if test:
        followed = _Following(ours if moved_from else None)
        paused = _has_to_pause(ours)
        return {"restarted": daemon, "paused": paused, "main_cf": followed.changes()}
    done: dict[str, object] = {}
    with (
        keeping_what_was_done(lambda: done),
        _one_at_a_time(socket_path),
        _mail_held_back(init, mail_service, ours, done) as paused,
    ):
        with _fate_told(daemon, socket_path, done):
            if not init.restart(daemon):
                raise OpenDKIMError(
                    f"service {daemon} did not restart; see: journalctl -u {daemon} -n 50"
                )
        done[daemon] = {"old": None, "new": "restarted"}
        wait_until_ready(daemon, socket_path, ready_within)
        followed = _Following(ours if moved_from else None)
        followed.write(done)
    return {"restarted": daemon, "paused": paused, "main_cf": followed.changes()}


def wait_until_ready(daemon: str, socket_path: str, ready_within: float = READY_WITHIN) -> None:
    """Waits for the milter socket to take a connection; OpenDKIMError after ``ready_within`` s."""
    deadline = time.monotonic() + ready_within
    while not answers(socket_path):
        if time.monotonic() > deadline:
            raise OpenDKIMError(
                f"{daemon} runs but made no socket at {socket_path} within {ready_within:.0f} s; "
                f"see: journalctl -u {daemon} -n 50"
            )
        time.sleep(0.1)


def answers(socket_path: str) -> bool:
    """Whether something accepts connections at the Unix socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        try:
            client.connect(socket_path)
        except OSError:
            return False
        return True


def must_answer(socket_path: str) -> None:
    """OpenDKIMError where nothing accepts connections at the socket."""
    if not answers(socket_path):
        raise OpenDKIMError(
            f"no milter answers at {socket_path}, so main.cf is left as it is; apply dkim.opendkim "
            "first"
        )


def is_up_to_date(socket_path: str, reads: Iterable[str], user: str | None = None) -> bool:
    """
    Whether the daemon answers, and has read its files as they are now.

    The daemon makes its socket at its start, so the socket is as old as the daemon. A file that is
    not there counts as changed.

    user
        The account that the socket has to belong to, open for its group; any without it. A socket
        that somebody gave to another is made anew by a restart.
    """
    try:
        status = os.stat(socket_path)
        written = max((os.stat(path).st_mtime_ns for path in reads), default=0)
    except (FileNotFoundError, NotADirectoryError):
        return False
    if user is not None and not open_for_group(status, user):
        return False
    return written < status.st_mtime_ns and answers(socket_path)


def open_for_group(status: os.stat_result, user: str) -> bool:
    """Whether a socket is that account's, and its group may connect: unix(7) wants to write."""
    try:
        owner = pwd.getpwnam(user)
    except KeyError:
        return False
    own = (status.st_uid, status.st_gid) == (owner.pw_uid, owner.pw_gid)
    return own and bool(status.st_mode & stat.S_IWGRP)


def previous_addresses(config_text: str, chroot: str, socket_path: str) -> tuple[str, ...]:
    """
    How main.cf may have written the address that a configuration file gives its daemon, if that is
    not ``socket_path`` already.

    config_text
        An opendkim.conf(5), before it is replaced.
    chroot
        Postfix's queue directory: what lies in it has a shorter path there.

    Returns spellings such as ``unix:opendkim/opendkim.sock`` or ``inet:localhost:8891``. Source:
    opendkim.conf(5) «Socket», postconf(5) «smtpd_milters».
    """
    value = ""
    for line in config_text.splitlines():
        words = line.split("#", 1)[0].split()
        if len(words) == 2 and words[0].lower() == "socket":
            value = words[1]
    kind, colon, rest = value.partition(":")
    if not colon:
        kind, rest = "local", value
    if not rest or (kind in ("local", "unix") and rest == socket_path):
        return ()
    if kind in ("local", "unix"):
        return tuple(_unix_spellings(rest, chroot))
    return tuple(_inet_spellings(rest))


def _inet_spellings(port_at_host: str) -> Iterator[str]:
    # Postfix has one transport, inet, for both address families; [ ] around an address is free.
    port, _, host = port_at_host.partition("@")
    host = host.strip("[]")
    names = [host, f"[{host}]"] if host else []
    if not host or host in LOOPBACK:
        names = [*LOOPBACK, *(f"[{name}]" for name in LOOPBACK)]
    yield from (f"inet:{name}:{port}" for name in names)


def _unix_spellings(path: str, chroot: str) -> Iterator[str]:
    paths = [path]
    if path.startswith(chroot.rstrip("/") + "/"):
        inside = path[len(chroot.rstrip("/")) :]
        paths += [inside, inside.lstrip("/")]
    for spelling in paths:
        yield f"unix:{spelling}"
        yield f"local:{spelling}"


def _ours(socket_path: str, milter: str, moved_from: Sequence[str]) -> Ours | None:
    """Return the daemon's milter with its older addresses; None where its name is not known."""
    if not milter:
        return None
    older = {milter: [f"unix:{socket_path}", *moved_from]}
    return Ours([milter], older, service_milters.read().queue)


class _Following:
    """What of main.cf and master.cf has to name a daemon's new address; nothing without one."""

    def __init__(self, ours: Ours | None):
        self._found = service_milters.read() if ours else service_milters.Configuration()
        self._main: dict[str, str] = {}
        self._own: dict[str, str] = {}
        if ours:
            (milter,) = ours.milters
            old, found = ours.older[milter], self._found
            self._main = milters.swap(found.main, old, milter, ours.queue, found.quoting())
            self._own = service_milters.plan_swap(found, ours)

    def changes(self) -> dict[str, dict[str, str | None]]:
        """Return each parameter, old and new."""
        return {**self._changes(self._main), **self._changes(self._own)}

    def write(self, done: dict[str, object]) -> None:
        """Set them; ``done`` gets what is set, also by a command that then failed."""
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
def _fate_told(daemon: str, socket_path: str, done: dict[str, object]) -> Iterator[None]:
    """Note what became of a daemon whose restart failed: it may be stopped now, or run anew."""
    before = _life(socket_path)
    try:
        yield
    except Exception:
        now = _life(socket_path)
        if now is None and before is not None:
            done[daemon] = {"old": "running", "new": "stopped"}
        elif now != before:
            done[daemon] = {"old": None, "new": "restarted"}
        raise


def _life(socket_path: str) -> tuple[int, int] | None:
    """Return what tells one life of a daemon from the next: it makes its socket at its start."""
    try:
        status = os.stat(socket_path)
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns) if answers(socket_path) else None


@contextlib.contextmanager
def _one_at_a_time(socket_path: str) -> Iterator[None]:
    """
    Two restarts on this machine go one after the other: the second would find Postfix stopped,
    leave it so, and have its daemon away when the first one starts Postfix again.
    """
    try:
        # The daemons' sockets are in one directory, as Postfix is one for all of them.
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
def _mail_held_back(
    init: Services, mail_service: str, ours: Ours | None, done: dict[str, object]
) -> Iterator[bool]:
    pause = _has_to_pause(ours)
    try:
        if pause:
            init.stop(mail_service)
            control.wait_until_stopped()
        yield pause
    finally:
        if pause:
            _start_again(init, mail_service, done)


def _has_to_pause(ours: Ours | None) -> bool:
    return milter_addresses.let_mail_go(service_milters.read(), ours) and control.running()


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
