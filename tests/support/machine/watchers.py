"""
An additional layer with Prometheus and a browser, which read the formula's metrics and report.

The layer is for one release only, because the programs read the same text on every release.
"""

from pathlib import Path

from support.machine import further
from support.progress import SILENT, Progress

RELEASE = "bookworm"
SCRIPT = further.installing("prometheus", "chromium", "chromium-driver")


def layers(progress: Progress = SILENT) -> list[Path]:
    """
    Return the layers of a machine with the programs, uppermost first; missing layers are made.

    Raises the exceptions of :func:`support.machine.further.layers`.
    """
    return further.layers(RELEASE, "watchers", SCRIPT, progress)
