"""The clock: a signature says when it was made (RFC 6376, section 3.5, t= and x=)."""

import subprocess

from . import database
from .finding import Finding, right, unknown, wrong
from .site import Site

# Verifiers that look at t= allow for some minutes; a rotation counts days.
MOST_APART = 60.0  # seconds
TIMEDATECTL = "/usr/bin/timedatectl"
DO = "apt-get install systemd-timesyncd, or chrony; then: timedatectl"


def synchronised(site: Site) -> list[Finding]:
    """Something keeps this machine's clock right."""
    name = "clock"
    if not site.systemd:
        return [unknown(name, "systemd is not here to tell who keeps it")]
    try:
        done = subprocess.run(
            [TIMEDATECTL, "show", "--property=NTPSynchronized"],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return [unknown(name, f"{TIMEDATECTL} is not there to tell who keeps it")]
    if done.stdout.strip() == "NTPSynchronized=yes":
        return [right(name, "it is synchronised")]
    # A host may keep its guests' clocks, of which the guest's kernel knows nothing.
    return [unknown(name, "the kernel knows of nobody who keeps it right", DO)]


def database_clock(site: Site) -> list[Finding]:
    """The database's clock, which dates keys and their rotation, is this machine's."""
    name = "database's clock"
    apart, uncertain = database.clock(site)
    if abs(apart) - uncertain > MOST_APART:
        ahead = "ahead of" if apart > 0 else "behind"
        found = f"it is {abs(apart):.0f} s {ahead} this machine's"
        return [wrong(name, found, f"on the machine that is wrong: {DO}")]
    return [right(name, f"it is this machine's, to {max(abs(apart), uncertain):.1f} s")]
