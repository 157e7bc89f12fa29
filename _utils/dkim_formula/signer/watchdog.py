"""
A watchdog for OpenDKIM: it ends a daemon that can't use its database while the database works.

If PostgreSQL ends a session during a look-up, OpenDKIM keeps a connection that it neither uses nor
replaces. From then on OpenDKIM answers every message with 451 (measured, 2.11.0~beta2). systemd
restarts a daemon that the watchdog has ended.

The watchdog judges a daemon only by the daemon's own answers. It asks at the milter socket, with
the envelope and the headers of a message without a body. It reads no log, because anyone who sends
mail can write text into OpenDKIM's log. The watchdog runs as OpenDKIM's own account. It needs no
rights over other processes, and it logs in to the database as the daemon does.

Run by systemd: ``python -m dkim_formula.signer.watchdog OPENDKIM_CONF …``
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from ..errors import OpenDKIMError
from .milter import Connection, NoAnswerInTime, listener
from .watchdog_database import (
    IDENTIFIER,
    KEY,
    NAME,
    NOBODY,
    PATTERNS,
    Session,
    Table,
    log_in,
    query,
    table_at,
)

INTERVAL = 2.0  # seconds between two questions to a daemon
SILENCE = 60.0  # seconds that an answer may take
CONFIRMED_BY = 3  # further questions that have to fail too
CONFIRMED_WITHIN = 10.0  # seconds that the answer to each further question may take
PAUSE = 0.3  # seconds between further questions
SENDERS = 3  # senders in a question
MORE_SENDERS = 20  # senders in a question that confirms a failure
SENDERS_LAST = 600.0  # seconds after which the watchdog chooses other senders
# Seconds between two endings of a daemon. The delay doubles if an ending did not help.
FIRST_DELAY, LONGEST_DELAY = 10.0, 86400.0


DATE = "Thu, 01 Jan 1970 00:00:00 +0000"


# A pattern of a SigningTable that is a sender's domain or address, without wildcards.
_SENDER = re.compile(r"(?:[a-z0-9_+-]+@)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)+")


@dataclass(frozen=True)
class Daemon:
    """The socket and the tables that a daemon's configuration file names."""

    socket: str
    signing: Table
    keys: Table


def read_daemon(configuration: str) -> Daemon | None:
    """Return the socket and tables of an opendkim.conf; None if the formula did not write it."""
    options = {}
    for line in configuration.splitlines():
        name, _, value = line.partition(" ")
        options[name] = value.strip()
    kind, _, socket = options.get("Socket", "").partition(":")
    tables = [table_at(options.get(name, "")) for name in ("SigningTable", "KeyTable")]
    if kind != "local" or None in tables:
        return None
    return Daemon(socket, *tables)


@dataclass(frozen=True)
class Answers:
    """
    A daemon's answers to one question.

    process
        The PID of the daemon.
    failed, succeeded
        The senders that the daemon answers with a temporary failure, and all others.
    silent
        Whether the daemon accepts a connection but sends no answer in time.
    """

    process: int
    failed: frozenset[str] = frozenset()
    succeeded: frozenset[str] = frozenset()
    silent: bool = False


class System(Protocol):
    """The functions that a watchdog needs; tests have a double."""

    def ask(self, senders: Iterable[str], timeout: float) -> Answers | None:
        """Ask the daemon to look up the keys of senders; return None if no daemon listens."""

    def database_answers(self) -> bool:
        """Return whether a session of the watchdog can read the daemon's SigningTable."""

    def can_look_up(self, sender: str) -> bool:
        """Return whether a new login and the daemon's look-ups work for a sender."""

    def known_senders(self) -> Collection[str]:
        """Return some senders with a key; empty if the database does not answer."""

    def end(self, process: int, why: str) -> bool:
        """End a process if it is still the daemon's; return whether it is ended."""

    def now(self) -> float:
        """Return a monotonic time in seconds."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class Watchdog:
    """The logic that decides when to end one daemon."""

    def __init__(self, system: System):
        self._system = system
        self._senders: tuple[str, ...] = ()
        self._senders_until = float("-inf")
        self._delay = FIRST_DELAY
        self._not_before = float("-inf")

    def step(self) -> None:
        """Ask the daemon once, and end it if it can't use a working database."""
        # A look-up while the database is down crashes OpenDKIM (SIGSEGV in libopendbx, measured).
        if not self._system.database_answers():
            return
        answers = self._system.ask([NOBODY, *self._senders], SILENCE)
        if answers is None:
            return
        why = _suspicion(answers)
        if not why:
            self._delay = FIRST_DELAY
            if self._system.now() >= self._senders_until:
                self._use(self._system.known_senders())
        elif self._system.now() >= self._not_before and self._confirmed(answers):
            self._end(answers.process, why)

    def _confirmed(self, first: Answers) -> bool:
        """Return whether a daemon keeps failing while the database works."""
        failing = sorted(first.failed) or [NOBODY]
        if not self._database_works(failing):
            return False
        senders = self._system.known_senders()
        for _ in range(CONFIRMED_BY):
            self._system.sleep(PAUSE)
            answers = self._system.ask([NOBODY, *senders], CONFIRMED_WITHIN)
            if answers is None or answers.process != first.process:
                return False
            if not _suspicion(answers):
                self._delay = FIRST_DELAY
                self._use(sorted(answers.succeeded - {NOBODY}))
                return False
        # The database may have been down in the meantime, which is no fault of the daemon.
        return self._database_works(failing)

    def _database_works(self, failing: Iterable[str]) -> bool:
        return any(self._system.can_look_up(sender) for sender in failing)

    def _end(self, process: int, why: str) -> None:
        if self._system.end(process, why):
            self._not_before = self._system.now() + self._delay
            self._delay = min(2 * self._delay, LONGEST_DELAY)

    def _use(self, senders: Collection[str]) -> None:
        self._senders = tuple(senders)[:SENDERS]
        self._senders_until = self._system.now() + SENDERS_LAST


def _suspicion(answers: Answers) -> str:
    """
    Return the reason to suspect a daemon, or ''.

    One sender with a key that does not fail clears the daemon: an unusable key causes a 451 for its
    own domain only.
    """
    if answers.silent:
        return "it does not answer"
    if NOBODY in answers.failed:
        return "it answers every sender with a temporary failure"
    if answers.failed and not answers.succeeded - {NOBODY}:
        return "it answers every sender that has a key with a temporary failure"
    return ""


class Machine:
    """
    The daemon of one configuration file, its database, and its process.

    path
        The daemon's opendkim.conf. It is read for each question, because a highstate may change it.
    """

    def __init__(self, path: str):
        self._path = path
        self._session: Session | None = None

    def ask(self, senders: Iterable[str], timeout: float) -> Answers | None:
        """
        Ask the daemon, as an authenticated client.

        OpenDKIM logs nothing for such a question, makes no signature, and takes 3 ms (measured).
        """
        daemon = self._daemon()
        process = None if daemon is None else listener(daemon.socket)
        if daemon is None or process is None:
            return None
        failed, succeeded = set(), set()
        macros = {"i": NAME, "{auth_authen}": NAME}
        try:
            with closing(Connection(daemon.socket, timeout)) as connection:
                for sender in senders:
                    headers = [("From", sender), ("Date", DATE), ("Subject", NAME)]
                    answer = connection.headers_only(sender, headers, NOBODY, macros)
                    (failed if answer.verdict == "deferred" else succeeded).add(sender)
        except NoAnswerInTime:
            return Answers(process, silent=True)
        except OpenDKIMError:
            return None
        return Answers(process, frozenset(failed), frozenset(succeeded))

    def database_answers(self) -> bool:
        """Return whether the watchdog's session works; open a new session if necessary."""
        daemon = self._daemon()
        if daemon is None:
            return False
        session = self._session
        if session is not None and (session.table != daemon.signing or not session.works()):
            session.close()
            session = None
        self._session = session or log_in(daemon.signing)
        return self._session is not None and self._session.works()

    def can_look_up(self, sender: str) -> bool:
        """Return whether the daemon's login and look-ups work; the private key is not read."""
        daemon = self._daemon()
        if daemon is None:
            return False
        identifiers = query(daemon.signing, IDENTIFIER, sender)
        if identifiers is None or sender == NOBODY:
            return identifiers is not None
        domain = sender.rpartition("@")[2]
        identifiers = identifiers or query(daemon.signing, IDENTIFIER, domain)
        return bool(identifiers) and bool(query(daemon.keys, KEY, identifiers[0]))

    def known_senders(self) -> list[str]:
        """Return random senders from the daemon's SigningTable."""
        daemon = self._daemon()
        patterns = None if daemon is None else query(daemon.signing, PATTERNS, 2 * MORE_SENDERS)
        plain = [pattern for pattern in patterns or () if _SENDER.fullmatch(pattern)]
        return [one if "@" in one else f"{NAME}@{one}" for one in plain[:MORE_SENDERS]]

    def end(self, process: int, why: str) -> bool:
        """
        End the daemon's process, so that systemd restarts the daemon.

        SIGKILL is necessary: a daemon whose threads wait for a session ignores SIGTERM.
        """
        daemon = self._daemon()
        try:
            descriptor = os.pidfd_open(process)
        except OSError:
            return False
        try:
            # If this process still listens, the descriptor refers to the daemon.
            if daemon is None or listener(daemon.socket) != process:
                return False
            say(f"{self._path}: ending OpenDKIM, process {process}: {why}; its database works")
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except OSError as error:
            say(f"{self._path}: can't end process {process}: {error.strerror}")
            return False
        finally:
            os.close(descriptor)
        return True

    def now(self) -> float:
        """Return a monotonic time in seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def _daemon(self) -> Daemon | None:
        try:
            with open(self._path, encoding="utf-8", errors="surrogateescape") as stream:
                return read_daemon(stream.read())
        except OSError:
            return None


def say(text: str) -> None:
    """Write one line to the journal."""
    print(text, file=sys.stderr, flush=True)


def watch(path: str) -> None:
    """Watch the daemon of one configuration file forever."""
    watchdog = Watchdog(Machine(path))
    while True:
        watchdog.step()
        time.sleep(INTERVAL)


def main(paths: Iterable[str]) -> int:
    """Watch the daemons of these configuration files; return if one of the threads ends."""
    threads = [threading.Thread(target=watch, args=(path,), daemon=True) for path in paths]
    for thread in threads:
        thread.start()
    while all(thread.is_alive() for thread in threads):
        time.sleep(INTERVAL)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
