"""A further layer with programs that sign mail: Debian's rspamd, amavisd and dkimpy-milter."""

from pathlib import Path

from support.machine import further
from support.progress import SILENT, Progress

SERVICES = "rspamd redis-server amavis dkimpy-milter"
SCRIPT = further.installing("rspamd", "redis-server", "amavisd-new", "dkimpy-milter")


def layers(release: str, progress: Progress = SILENT) -> list[Path]:
    """
    The layers of a machine with the programs, uppermost first; made where they are missing.

    Raises what :func:`support.machine.further.layers` does.
    """
    return further.layers(release, "signers", SCRIPT, progress)
