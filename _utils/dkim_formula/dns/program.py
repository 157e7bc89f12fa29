"""Programs that the formula starts: bounded in time and in what is kept of their output."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import stat
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from ..errors import DnsError, without_secrets

# So many octets of what the program prints are kept: the last ones of standard error, whose last
# lines are told, and the first ones of standard output.
_ERRORS = 4096
_OUTPUT = 1048576
_LINES = 3
SHOWN = 300
# The program ends of itself when it is asked to; after so many seconds it is killed.
_GRACE = 2
# What a program may have left running keeps its streams open: its end is looked for so often.
_LOOK_EVERY = 0.1
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/root",
}


class NotInTime(DnsError):
    """A program was ended, since its time was over."""


def call(command: Sequence[str], document: bytes, deadline: float, limit: str) -> bytes:
    """
    Start a program with a document on its standard input, and return the start of its output.

    deadline
        The moment of ``time.monotonic`` at which the program is ended, with its process group.
    limit
        What the deadline comes of, for the error.

    Raises NotInTime; DnsError for a program that does not start, or fails.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env=_ENVIRONMENT,
            start_new_session=True,
        )
    except OSError as error:
        raise DnsError(f"can't be started: {error.strerror}") from None
    streams = _Streams(process, document)
    try:
        is_over = streams.carry(deadline)
    finally:
        _end(process)
    if not is_over:
        raise NotInTime(f"did not end within {limit} and was ended{streams.last_lines()}")
    if process.returncode:
        how = f"exit status {process.returncode}"
        if process.returncode < 0:
            how = f"signal {-process.returncode}"
        raise DnsError(f"failed ({how}){streams.last_lines()}")
    return bytes(streams.output)


class _Streams:
    """The streams of a running program, of which a bounded part is kept."""

    def __init__(self, process: subprocess.Popen[bytes], document: bytes):
        self._process = process
        self._document = memoryview(document)
        self.output = bytearray()
        self.errors = bytearray()

    def carry(self, deadline: float) -> bool:
        """Write the document and read what comes; return whether the program ended in time."""
        process = self._process
        with selectors.DefaultSelector() as selector:
            for stream in (process.stdin, process.stdout, process.stderr):
                os.set_blocking(stream.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE)
            selector.register(process.stdout, selectors.EVENT_READ)
            selector.register(process.stderr, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(_LOOK_EVERY)
                for key, _ in ready:
                    if not self._moved(key.fileobj):
                        selector.unregister(key.fileobj)
                        key.fileobj.close()
                if not ready and process.poll() is not None:
                    return True
                if time.monotonic() > deadline:
                    return False
        try:
            process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        return True

    def last_lines(self) -> str:
        """Return the last lines of standard error as the end of a sentence."""
        text = self.errors.decode("utf-8", "replace")
        lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
        told = without_secrets(" / ".join(lines[-_LINES:]))[-SHOWN:]
        return f": {''.join(c if c.isprintable() else '?' for c in told)}" if told else ""

    def _moved(self, stream) -> bool:
        """Move one part; return whether there may be more."""
        if stream is self._process.stdin:
            return self._wrote()
        part = os.read(stream.fileno(), 65536)
        if stream is self._process.stdout:
            self.output += part[: _OUTPUT - len(self.output)]
        else:
            self.errors += part
            del self.errors[:-_ERRORS]
        return bool(part)

    def _wrote(self) -> bool:
        try:
            count = os.write(self._process.stdin.fileno(), self._document[:65536])
        except BrokenPipeError:
            # Its exit status tells whether a program has to read everything.
            return False
        self._document = self._document[count:]
        return bool(self._document)


def check_file(path: str, where: str) -> None:
    """
    Refuse a program that somebody else than root could change: it runs as root. Raises DnsError.

    where
        The pillar key that names the program.
    """
    try:
        resolved = Path(path).resolve(strict=True)
        found = resolved.stat()
    except OSError as error:
        raise DnsError(f"{where}: {path}: {error.strerror}; put the program there") from None
    if not stat.S_ISREG(found.st_mode) or not found.st_mode & stat.S_IXUSR:
        raise DnsError(f"{where}: {path} is no program; make it executable: chmod 0755")
    for one in (resolved, *resolved.parents):
        state = one.stat()
        # In a directory with the sticky bit, /tmp for one, nobody replaces what is root's.
        is_open = state.st_mode & 0o022 and not (one != resolved and state.st_mode & stat.S_ISVTX)
        if state.st_uid != 0 or is_open:
            raise DnsError(
                f"{where}: {one} belongs to somebody else than root, or others can write "
                f"it, and {path} runs as root; run: chown root {one}; chmod go-w {one}"
            )


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program that still runs, and everything that it has started."""
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    # What it started in its own group ends with it.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
