"""
A watchdog for OpenDKIM: ends a daemon that can't use its database while the database works.

A session that PostgreSQL ends during a look-up leaves OpenDKIM with a connection that it neither
uses nor replaces: it answers every message with 451 from then on (measured, 2.11.0~beta2). systemd
starts a daemon that was ended anew.

A daemon is judged by its own answers alone. The watchdog asks it at its milter socket, with the
envelope and the headers of a message that has no body; no log is read, since whoever sends mail can
write text into OpenDKIM's log. The watchdog runs as OpenDKIM's own account. It needs no right over
other processes, and its login to the database is the daemon's login.

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
SILENCE = 60.0  # seconds without an answer
CONFIRMED_BY = 3  # further questions that have to fail as well
CONFIRMED_WITHIN = 10.0  # seconds for the answer to each of them
PAUSE = 0.3  # seconds between these
SENDERS = 3  # in a question
MORE_SENDERS = 20  # in a question that confirms a failure
SENDERS_LAST = 600.0  # seconds
# Seconds from one ending of a daemon to the next, doubled where the first one did not help.
FIRST_DELAY, LONGEST_DELAY = 10.0, 86400.0


DATE = "Thu, 01 Jan 1970 00:00:00 +0000"


# Patterns of a SigningTable that are a sender's domain or address as they stand.
_SENDER = re.compile(r"(?:[a-z0-9_+-]+@)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)+")


@dataclass(frozen=True)
class Daemon:
    """What a configuration file says of its daemon."""

    socket: str
    signing: Table
    keys: Table


def read_daemon(configuration: str) -> Daemon | None:
    """Return what an opendkim.conf says of its daemon; None for one of another origin."""
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
    What a daemon answers.

    process
        The id of the daemon's process.
    failed, well
        The senders that it answers with a temporary failure, and those that it does not.
    silent
        It accepts a connection and gives no answer in time.
    """

    process: int
    failed: frozenset[str] = frozenset()
    well: frozenset[str] = frozenset()
    silent: bool = False


class World(Protocol):
    """What a watchdog asks and does; a test has a double of it."""

    def ask(self, senders: Iterable[str], timeout: float) -> Answers | None:
        """Ask the daemon whether it can look up the keys of senders; None where there is none."""

    def database_answers(self) -> bool:
        """Tell whether a session of the watchdog's own reads the daemon's SigningTable."""

    def can_look_up(self, sender: str) -> bool:
        """Tell whether a new login and the daemon's look-ups work for a sender."""

    def known_senders(self) -> Collection[str]:
        """Return some senders with a key; none where the database does not answer."""

    def end(self, process: int, why: str) -> bool:
        """End the daemon's process, if it is still the daemon's; tell whether it is ended."""

    def now(self) -> float:
        """Return seconds that never go back."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class Watchdog:
    """The judgement of one daemon, question by question."""

    def __init__(self, world: World):
        self._world = world
        self._senders: tuple[str, ...] = ()
        self._senders_until = float("-inf")
        self._delay = FIRST_DELAY
        self._not_before = float("-inf")

    def step(self) -> None:
        """Ask the daemon once, and end it where it can't use a database that works."""
        # A look-up while the database is away crashes OpenDKIM (SIGSEGV in libopendbx, measured).
        if not self._world.database_answers():
            return
        answers = self._world.ask([NOBODY, *self._senders], SILENCE)
        if answers is None:
            return
        why = _suspicion(answers)
        if not why:
            self._delay = FIRST_DELAY
            if self._world.now() >= self._senders_until:
                self._use(self._world.known_senders())
        elif self._world.now() >= self._not_before and self._confirmed(answers):
            self._end(answers.process, why)

    def _confirmed(self, first: Answers) -> bool:
        """Tell whether the database works for a daemon that goes on failing."""
        failing = sorted(first.failed) or [NOBODY]
        if not self._database_works(failing):
            return False
        senders = self._world.known_senders()
        for _ in range(CONFIRMED_BY):
            self._world.sleep(PAUSE)
            answers = self._world.ask([NOBODY, *senders], CONFIRMED_WITHIN)
            if answers is None or answers.process != first.process:
                return False
            if not _suspicion(answers):
                self._delay = FIRST_DELAY
                self._use(sorted(answers.well - {NOBODY}))
                return False
        # A database that was away for a moment has nothing to do with the daemon.
        return self._database_works(failing)

    def _database_works(self, failing: Iterable[str]) -> bool:
        return any(self._world.can_look_up(sender) for sender in failing)

    def _end(self, process: int, why: str) -> None:
        if self._world.end(process, why):
            self._not_before = self._world.now() + self._delay
            self._delay = min(2 * self._delay, LONGEST_DELAY)

    def _use(self, senders: Collection[str]) -> None:
        self._senders = tuple(senders)[:SENDERS]
        self._senders_until = self._world.now() + SENDERS_LAST


def _suspicion(answers: Answers) -> str:
    """
    Return what speaks against a daemon, or ''.

    One sender with a key that is answered well is enough: a key that can't be used is a 451 for its
    domain alone.
    """
    if answers.silent:
        return "it does not answer"
    if NOBODY in answers.failed:
        return "it answers every sender with a temporary failure"
    if answers.failed and not answers.well - {NOBODY}:
        return "it answers every sender that has a key with a temporary failure"
    return ""


class Machine:
    """
    The daemon of one configuration file, its database, and its process.

    path
        The daemon's opendkim.conf; read anew for each question, since a highstate changes it.
    """

    def __init__(self, path: str):
        self._path = path
        self._session: Session | None = None

    def ask(self, senders: Iterable[str], timeout: float) -> Answers | None:
        """
        Ask the daemon, as a client that has logged in.

        OpenDKIM writes no log of such a question, makes no signature, and takes 3 ms (measured).
        """
        daemon = self._daemon()
        process = None if daemon is None else listener(daemon.socket)
        if daemon is None or process is None:
            return None
        failed, well = set(), set()
        macros = {"i": NAME, "{auth_authen}": NAME}
        try:
            with closing(Connection(daemon.socket, timeout)) as connection:
                for sender in senders:
                    headers = [("From", sender), ("Date", DATE), ("Subject", NAME)]
                    answer = connection.headers_only(sender, headers, NOBODY, macros)
                    (failed if answer.verdict == "deferred" else well).add(sender)
        except NoAnswerInTime:
            return Answers(process, silent=True)
        except OpenDKIMError:
            return None
        return Answers(process, frozenset(failed), frozenset(well))

    def database_answers(self) -> bool:
        """Tell whether the watchdog's session works, or a new one in its place."""
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
        """Tell whether the daemon's login and its look-ups work; the private key is not read."""
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
        """Return addresses that the daemon's SigningTable has, at random."""
        daemon = self._daemon()
        patterns = None if daemon is None else query(daemon.signing, PATTERNS, 2 * MORE_SENDERS)
        plain = [pattern for pattern in patterns or () if _SENDER.fullmatch(pattern)]
        return [one if "@" in one else f"{NAME}@{one}" for one in plain[:MORE_SENDERS]]

    def end(self, process: int, why: str) -> bool:
        """
        End the daemon's process for systemd to start the daemon anew.

        A daemon whose threads wait for a session does not hear SIGTERM.
        """
        daemon = self._daemon()
        try:
            descriptor = os.pidfd_open(process)
        except OSError:
            return False
        try:
            # The process that listens now is the one that the descriptor stands for.
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
        """Return seconds that never go back."""
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
    """Watch the daemon of one configuration file, for ever."""
    watchdog = Watchdog(Machine(path))
    while True:
        watchdog.step()
        time.sleep(INTERVAL)


def main(paths: Iterable[str]) -> int:
    """Watch the daemons of these configuration files; return where one of these ends."""
    threads = [threading.Thread(target=watch, args=(path,), daemon=True) for path in paths]
    for thread in threads:
        thread.start()
    while all(thread.is_alive() for thread in threads):
        time.sleep(INTERVAL)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
