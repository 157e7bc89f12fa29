"""The state of Postfix's master process, from postfix(1)."""

import subprocess
import time

from ..errors import PostfixError

POSTFIX = "/usr/sbin/postfix"
STOPPED_WITHIN = 60.0  # seconds


def running() -> bool:
    """
    Return whether the master process runs.

    Debian's unit ``postfix`` only groups ``postfix@-``. It can be active while the master is dead,
    and its stop returns before the instance has stopped (measured, Debian 12).
    Source: postfix(1), ``status``.
    """
    try:
        done = subprocess.run([POSTFIX, "status"], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


def wait_until_stopped(within: float = STOPPED_WITHIN) -> None:
    """Wait until the master process has ended. Raises PostfixError after ``within`` seconds."""
    deadline = time.monotonic() + within
    while running():
        if time.monotonic() > deadline:
            raise PostfixError(f"Postfix still runs {within:.0f} s after the request to stop")
        time.sleep(0.1)
