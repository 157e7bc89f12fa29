"""The layer of the machines that run unit and functional tests: the real programs of the tests."""

from pathlib import Path

from support.machine import equipment
from support.progress import SILENT, Progress

PACKAGES = (
    "shellcheck",
    "postgresql",
    "opendkim",
    "opendkim-tools",
    "libopendbx1-pgsql",
    "bind9",
    "bind9-dnsutils",
    "bind9-utils",
    "knot",
    "knot-dnssecutils",
    "pdns-server",
    "pdns-backend-sqlite3",
)
# The tests start their own daemons. Debian's unit of PowerDNS restarts every second while another
# name server has its port.
OWN_SERVICES_OFF = "for unit in pdns named knot opendkim; do systemctl disable --now $unit; done"


def layers(release: str, progress: Progress = SILENT) -> list[Path]:
    """
    Return the layers of a machine with the programs, uppermost first. A missing layer is made.

    Raises the exceptions of :func:`support.machine.equipment.with_packages`.
    """
    what = "PostgreSQL, OpenDKIM and name servers for tests inside the machine"
    return equipment.with_packages(release, "programs", PACKAGES, OWN_SERVICES_OFF, what, progress)
