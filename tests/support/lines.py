"""Runs several programs at once and shows what they say."""

import contextlib
import functools
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError

from support.machine import ROOT


class Lines:
    """Output of several programs at once, a whole line at a time, each with its origin."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: dict[subprocess.Popen, Callable[[], None]] = {}
        self._stopped = False

    def stop(self) -> None:
        """End the commands that run, and start no more."""
        with self._lock:
            self._stopped = True
            ends = list(self._ends.values())
        for end in ends:
            end()

    def write(self, line: str) -> None:
        """Print a line."""
        with self._lock:
            print(line, flush=True)

    def stream(
        self, command: Sequence[str], origin: str, end: Callable[[], None] | None = None
    ) -> tuple[int, list[str], float]:
        """
        Run a command, show its output as it comes, and return its status, its lines and the seconds
        of processor time that it and its children took.

        end
            What ends it before its time, where SIGTERM does not.
        """
        with self._lock:
            if self._stopped:
                raise CancelledError
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
            self._ends[process] = end or functools.partial(_terminate, process.pid)
        lines = []
        try:
            for line in process.stdout:
                lines.append(line.rstrip("\n"))
                self.write(f"{origin} | {lines[-1]}")
        finally:
            # As Popen.wait does, which leaves out what the kernel says of the time that it took.
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            del self._ends[process]
        return process.returncode, lines, usage.ru_utime + usage.ru_stime


def _terminate(pid: int) -> None:
    """Not by Popen.terminate: that may take the status, and the time, of a process that is over."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
