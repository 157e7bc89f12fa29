"""Whether Postfix runs, as Postfix itself sees it."""

import subprocess
import time

from ..errors import PostfixError

POSTFIX = "/usr/sbin/postfix"
STOPPED_WITHIN = 60.0  # seconds


def running() -> bool:
    """
    Whether the master process runs.

    Debian's unit ``postfix`` is only a bracket around ``postfix@-``: it can be active over a dead
    master, and its stop returns before the instance has stopped (measured, Debian 12).
    Source: postfix(1), ``status``.
    """
    try:
        done = subprocess.run([POSTFIX, "status"], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


def wait_until_stopped(within: float = STOPPED_WITHIN) -> None:
    """Returns when the master process is gone; PostfixError after ``within`` seconds."""
    deadline = time.monotonic() + within
    while running():
        if time.monotonic() > deadline:
            raise PostfixError(f"Postfix still runs {within:.0f} s after it was told to stop")
        time.sleep(0.1)
