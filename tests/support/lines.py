"""Output of several programs that run at once."""

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
    """Output of several programs at once: complete lines, each with its origin."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: dict[subprocess.Popen, Callable[[], None]] = {}
        self._stopped = False

    def stop(self) -> None:
        """End the running commands, and start no further ones."""
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
        Run a command, and show its lines as they come.

        Return the exit status, the lines and the processor seconds of the command and its children.

        end
            A function that ends the command early, if SIGTERM does not.
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
            # Replaces Popen.wait, which drops the kernel's figures of processor time.
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            del self._ends[process]
        return process.returncode, lines, usage.ru_utime + usage.ru_stime


def _terminate(pid: int) -> None:
    """
    Send SIGTERM to a process.

    Popen.terminate may reap a process that has ended, and lose its status and processor time.
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
