"""Programs that the formula starts, with a time limit and a size limit for their output."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence

from ..errors import DnsError
from ..secret import without_secrets

# Octets that are kept of the output: the last ones of standard error, whose last lines are part of
# the error text, and the first ones of standard output.
_ERRORS = 4096
_OUTPUT = 1048576
_LINES = 3
SHOWN = 300
# Seconds between SIGTERM and SIGKILL.
_GRACE = 2
# Seconds between two checks whether the program ended. A child that it left running keeps the
# streams open, so their end does not show the end of the program.
_POLL_INTERVAL = 0.1
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/root",
}


class NotInTime(DnsError):
    """A program was stopped at its deadline."""


def call(command: Sequence[str], document: bytes, deadline: float, limit: str) -> bytes:
    """
    Run a program with a document on its standard input, and return the start of its output.

    deadline
        The time by ``time.monotonic`` at which the program and its process group are stopped.
    limit
        The setting behind the deadline, as text for the error.

    Raises NotInTime; DnsError for a program that does not start or that fails. At the deadline a
    program is not started any more.
    """
    if time.monotonic() >= deadline:
        raise DnsError(
            f"was not started, because {limit} were over; run again, or set a longer deadline"
        )
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
        has_ended = streams.transfer(deadline)
    finally:
        _end(process)
    if not has_ended:
        raise NotInTime(f"did not end within {limit} and was ended{streams.last_lines()}")
    if process.returncode:
        how = f"exit status {process.returncode}"
        if process.returncode < 0:
            how = f"signal {-process.returncode}"
        raise DnsError(f"failed ({how}){streams.last_lines()}")
    return bytes(streams.output)


class _Streams:
    """The streams of a running program. A limited part of the output is kept."""

    def __init__(self, process: subprocess.Popen[bytes], document: bytes):
        self._process = process
        self._document = memoryview(document)
        self.output = bytearray()
        self.errors = bytearray()

    def transfer(self, deadline: float) -> bool:
        """Write the document and read the output; return whether the program ended in time."""
        process = self._process
        with selectors.DefaultSelector() as selector:
            for stream in (process.stdin, process.stdout, process.stderr):
                os.set_blocking(stream.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE)
            selector.register(process.stdout, selectors.EVENT_READ)
            selector.register(process.stderr, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(_POLL_INTERVAL)
                for key, _ in ready:
                    if not self._transfer_part(key.fileobj):
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
        shown = without_secrets(" / ".join(lines[-_LINES:]))[-SHOWN:]
        return f": {''.join(c if c.isprintable() else '?' for c in shown)}" if shown else ""

    def _transfer_part(self, stream) -> bool:
        """Write or read one part; return whether there may be more."""
        if stream is self._process.stdin:
            return self._write_part()
        part = os.read(stream.fileno(), 65536)
        if stream is self._process.stdout:
            self.output += part[: _OUTPUT - len(self.output)]
        else:
            self.errors += part
            del self.errors[:-_ERRORS]
        return bool(part)

    def _write_part(self) -> bool:
        try:
            count = os.write(self._process.stdin.fileno(), self._document[:65536])
        except BrokenPipeError:
            # A program may end before it has read everything. Its exit status is the result.
            return False
        self._document = self._document[count:]
        return bool(self._document)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop a program that still runs, and every process in its group."""
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    # Other processes of the group may outlive the program.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
