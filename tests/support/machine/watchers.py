"""
A further layer with programs that read what the formula tells: Prometheus, and a browser.

The layer is for one release: the programs read the same text on each.
"""

from pathlib import Path

from support.machine import further
from support.progress import SILENT, Progress

RELEASE = "bookworm"
SCRIPT = further.installing("prometheus", "chromium", "chromium-driver")


def layers(progress: Progress = SILENT) -> list[Path]:
    """
    The layers of a machine with the programs, uppermost first; made where they are missing.

    Raises what :func:`support.machine.further.layers` does.
    """
    return further.layers(RELEASE, "watchers", SCRIPT, progress)
