"""An additional layer with Debian's rspamd, amavisd and dkimpy-milter, which sign mail."""

from pathlib import Path

from support.machine import further
from support.progress import SILENT, Progress

SERVICES = "rspamd redis-server amavis dkimpy-milter"
SCRIPT = further.installing("rspamd", "redis-server", "amavisd-new", "dkimpy-milter")


def layers(release: str, progress: Progress = SILENT) -> list[Path]:
    """
    Return the layers of a machine with the programs, uppermost first; missing layers are made.

    Raises the exceptions of :func:`support.machine.further.layers`.
    """
    return further.layers(release, "signers", SCRIPT, progress)
