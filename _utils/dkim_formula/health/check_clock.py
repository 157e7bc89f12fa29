"""Checks of this machine's clock: is it synchronised, and does it agree with the database's?"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

from ..errors import DatabaseUnavailable
from ..postgres.connection import session
from . import remote_database
from .model import NO_OPENDKIM, Finding, Host, right, unknown, wrong

# A signature has its time of creation (RFC 6376, section 3.5, t= and x=). Verifiers that check t=
# allow some minutes, and dkimpy ten hours. A rotation counts days.
MOST_APART = 60.0  # seconds
TIMEDATECTL = "/usr/bin/timedatectl"
KEEP_CLOCK = "apt-get install systemd-timesyncd, or chrony; then: timedatectl"
_NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"


def synchronised(host: Host) -> Iterator[Finding]:
    """Check that this machine's clock is synchronised."""
    name = "clock"
    if not host.systemd:
        yield unknown(name, "without systemd its synchronisation is unknown")
        return
    command = [TIMEDATECTL, "show", "--property=NTPSynchronized"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        yield unknown(name, f"without {TIMEDATECTL} its synchronisation is unknown")
        return
    if done.stdout.strip() == "NTPSynchronized=yes":
        yield right(name, "it is synchronised")
    else:
        # A hypervisor may set the clocks of its guests without the knowledge of their kernels.
        yield unknown(name, "the kernel reports no synchronisation", KEEP_CLOCK)


def with_database(host: Host) -> Iterator[Finding]:
    """
    Check that the database's clock, which dates keys and moves, agrees with this machine's.

    All machines that share the database so agree with each other. An unavailable database is a
    problem of the check of the database, or of the login.
    """
    name = "database-clock"
    if host.settings.database.only_signs and not host.has_opendkim:
        yield unknown(name, NO_OPENDKIM)
        return
    try:
        apart, uncertain = _apart(host)
    except DatabaseUnavailable as error:
        yield unknown(name, str(error))
        return
    if abs(apart) - uncertain > MOST_APART:
        ahead = "ahead of" if apart > 0 else "behind"
        found = f"PostgreSQL's clock is {abs(apart):.0f} s {ahead} this machine's"
        yield wrong(name, found, f"on the machine whose clock is wrong: {KEEP_CLOCK}")
    else:
        within = max(abs(apart), uncertain)
        yield right(name, f"PostgreSQL's clock agrees with this machine's to {within:.1f} s")


def _apart(host: Host) -> tuple[float, float]:
    """Return the database's time minus this machine's, and the uncertainty, in seconds."""
    before = time.time()
    if host.settings.database.only_signs:
        _, database_time = remote_database.ask(host, _NOW)
    else:
        with session(host.settings.database) as connection, connection.cursor() as cursor:
            before = time.time()
            cursor.execute(_NOW)
            database_time = cursor.fetchone()[0]
    after = time.time()
    return database_time - (before + after) / 2, (after - before) / 2
