"""
Steps that change something outside the process. A test can make each step fail.

These are steps: a statement, a commit or a new session of PostgreSQL, a command, a message to a
name server, and whatever a test passes to :meth:`Steps.step`. A file that is opened for writing,
written, renamed or removed, or gets another owner or mode, is a step too. Each step has a kind:
the first words of a statement, or a program.
"""

import contextlib
import errno
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import psycopg2

# The modes in which a step fails.
ONCE = "refused"  # this step is not done, but later steps work
LOST = "lost"  # the step is done, but returns an error
FOR_GOOD = "away"  # neither this step nor any later step is done
SILENT = "silent"  # a server receives the message, ignores it and does not answer
TAKEN = "taken in silence"  # a server does what the message says and does not answer

FEW = 3
COMMIT_OF_CHANGES = "commit of changes"
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Steps:
    """
    A counter of the steps while :meth:`failing` is open, which makes one of them fail.

    folders
        The folders in which the formula writes. Files elsewhere belong to Salt and to the test.
    """

    def __init__(self, monkeypatch, folders: Iterable[Path]):
        self.has_failed = False
        self.kinds: list[str] = []
        self._folders = tuple(f"{folder}/" for folder in folders)
        self._number: int | None = None
        self._mode = ""
        self._counted = 0
        monkeypatch.setattr(psycopg2, "connect", self._connect(psycopg2.connect))
        monkeypatch.setattr(subprocess, "run", self._run(subprocess.run))
        monkeypatch.setattr(os, "fdopen", self._fdopen(os.fdopen))
        monkeypatch.setattr(sys.modules[__name__], "_current", self)
        _hook_once()

    @contextlib.contextmanager
    def failing(self, number: int, mode: str) -> Iterator[None]:
        """
        Make the ``number``-th step fail while this is open. ``has_failed`` is whether the step was
        reached, ``kinds`` the kinds of all steps.
        """
        self._number, self._mode, self._counted, self.has_failed = number, mode, 0, False
        self.kinds = []
        try:
            yield
        finally:
            self._number = None

    def counting(self) -> contextlib.AbstractContextManager[None]:
        """Count the steps in ``kinds`` while this is open. No step fails."""
        return self.failing(0, ONCE)

    def uncounted(self, action: Callable[[], object]) -> object:
        """Run an action of the test itself, without counting its steps."""
        number, self._number = self._number, None
        try:
            return action()
        finally:
            self._number = number

    def step(self, kind: str, action: Callable[[], object], fail: Callable[[], object]) -> object:
        """Take one step, or make ``fail`` raise its error or return its failure."""
        if not self._fails(kind):
            return action()
        if self._mode in (LOST, TAKEN):
            action()
        return fail()

    def message(self, forward: Callable[[], bytes], refused: Callable[[], bytes]) -> bytes | None:
        """
        Return a name server's answer to one message. It is empty if the server closes the
        connection without an answer, and None if the server stays silent.
        """
        if not self._fails("message"):
            return forward()
        if self._mode in (LOST, TAKEN):
            forward()
        if self._mode == ONCE:
            return refused()
        return None if self._mode in (SILENT, TAKEN) else b""

    def _fails(self, kind: str) -> bool:
        if self._number is None:
            return False
        self._counted += 1
        self.kinds.append(kind)
        here = self._counted == self._number
        fails = here or (self._mode == FOR_GOOD and self._counted > self._number > 0)
        self.has_failed = self.has_failed or fails
        return fails

    def file_step(self, kind: str, path: object) -> None:
        """Count a change of a file, which is given by its path or by a descriptor."""
        if self._number is None:
            return
        is_managed = isinstance(path, int) or os.fsdecode(path).startswith(self._folders)
        if is_managed and self._fails(kind):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _connect(self, connect):
        def connecting(**given):
            factory = _connection_class(self)
            return self.step(
                "connect",
                lambda: connect(**given, connection_factory=factory),
                lambda: _lost("no session"),
            )

        return connecting

    def _run(self, run):
        def running(command, **given):
            if not sys._getframe(1).f_globals["__name__"].startswith("dkim_formula."):
                return run(command, **given)  # a command of Salt's own

            def fail():
                is_text = any(given.get(one) for one in ("text", "encoding", "errors"))
                out, err = ("", "the fault") if is_text else (b"", b"the fault")
                return subprocess.CompletedProcess(command, 1, out, err)

            kind = " ".join(map(os.path.basename, command[:2]))
            return self.step(kind, lambda: run(command, **given), fail)

        return running

    def _fdopen(self, fdopen):
        return lambda *given, **named: _Writing(self, fdopen(*given, **named))


class _Writing:
    """A stream to a disk that fills up: a failing write writes half of its text."""

    def __init__(self, steps: Steps, stream):
        self._steps = steps
        self._stream = stream

    def __enter__(self):
        self._stream.__enter__()
        return self

    def __exit__(self, *error):
        return self._stream.__exit__(*error)

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text):
        def half():
            self._stream.write(text[: len(text) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        return self._steps.step("write", lambda: self._stream.write(text), half)


def spread(kinds: Sequence[str], modes: Sequence[str]) -> list[tuple[int, str]]:
    """
    Return steps to fail at, each with a mode.

    Up to ``FEW`` steps each fail in every mode. Of more steps, one of each of ``FEW`` kinds fails,
    in turn the first and the last of its kind, in one mode; the modes take turns. The first commit
    of changes fails too; the last one fails as ``LOST``, and the step after it as ``FOR_GOOD``:
    then no second read can show what was committed. ``bin/test soak`` lets each step fail in every
    mode.
    """
    if len(kinds) <= FEW:
        return [(number, mode) for number in range(1, len(kinds) + 1) for mode in modes]
    numbers: dict[str, list[int]] = {}
    for number, kind in enumerate(kinds, 1):
        numbers.setdefault(kind, []).append(number)
    commits = numbers.pop(COMMIT_OF_CHANGES, [])
    every = list(numbers.values())
    several = every[:: math.ceil(len(every) / FEW)]
    chosen = {found[-(at % 2)] for at, found in enumerate(several)} | {*commits[:1]}
    due = {(number, modes[at % len(modes)]) for at, number in enumerate(sorted(chosen))}
    for number in commits[-1:]:
        due |= {(number, LOST), (number + 1, FOR_GOOD)}
    return sorted(due)


def _lost(what: str) -> None:
    raise psycopg2.OperationalError(f"{what}: the fault of the test")


def _connection_class(steps: Steps):
    class Cursor(psycopg2.extensions.cursor):
        def execute(self, statement, *given):
            parent = super()
            kind = self._begins(statement)
            return steps.step(
                kind, lambda: parent.execute(statement, *given), lambda: _lost("statement")
            )

        def executemany(self, statement, rows):
            for row in rows:
                self.execute(statement, row)

        def copy_expert(self, *given):
            parent = super()
            return steps.step("COPY", lambda: parent.copy_expert(*given), lambda: _lost("COPY"))

        def _begins(self, statement):
            text = statement
            if isinstance(statement, bytes):
                text = statement.decode(errors="replace")
            elif not isinstance(statement, str):
                text = statement.as_string(self)
            words = text.split(None, 2)
            return " ".join(words[: 1 if words[0] in ("SELECT", "SET") else 2])

    class Connection(psycopg2.extensions.connection):
        def cursor(self, *given, **named):
            return super().cursor(*given, cursor_factory=Cursor, **named)

        def commit(self):
            parent = super()
            if self.get_transaction_status() == psycopg2.extensions.TRANSACTION_STATUS_IDLE:
                return parent.commit()  # psycopg2 sends nothing in this status
            kind = COMMIT_OF_CHANGES if self._has_written() else "commit"
            return steps.step(kind, parent.commit, lambda: _lost("commit"))

        def _has_written(self):
            if self.get_transaction_status() != psycopg2.extensions.TRANSACTION_STATUS_INTRANS:
                return False  # an error has ended the transaction
            with super().cursor() as cursor:
                cursor.execute("SELECT txid_current_if_assigned() IS NOT NULL")
                return cursor.fetchone()[0]

    return Connection


_current: Steps | None = None
_hooked: list[bool] = []


def _hook_once() -> None:
    # Python cannot remove an audit hook (PEP 578).
    if not _hooked:
        _hooked.append(True)
        sys.addaudithook(_audit)


def _audit(event: str, given: tuple) -> None:
    if _current is None:
        return
    if event == "open" and isinstance(given[0], str) and (given[2] or 0) & _WRITING:
        _current.file_step("open", given[0])
    elif event == "os.rename":
        _current.file_step("rename", given[1])
    elif event in ("os.chmod", "os.chown"):
        _current.file_step("rights", given[0])
    elif event == "os.remove" and not os.path.basename(given[0]).startswith("."):
        # A temporary file can be removed on a full disk too.
        _current.file_step("remove", given[0])
