"""A fresh file tree over cached ones."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path


class Overlay:
    """
    A writable tree over read-only layers.

    layers
        Folders, the uppermost first.
    home
        A folder for what is written; made if absent. The tree is its ``root``.
    """

    def __init__(self, layers: Sequence[Path], home: Path):
        self.layers = tuple(layers)
        self.home = home
        self.root = home / "root"
        self.upper = home / "upper"

    def mount(self) -> None:
        """Mount it. A throw-away tree needs no fsync: ``volatile`` leaves them out."""
        work = self.home / "work"
        for folder in (self.root, self.upper, work):
            folder.mkdir(parents=True, exist_ok=True)
        self.upper.chmod(0o755)
        lower = ":".join(str(layer) for layer in self.layers)
        options = f"lowerdir={lower},upperdir={self.upper},workdir={work},volatile"
        command = ["mount", "-t", "overlay", "overlay", "-o", options, str(self.root)]
        subprocess.run(command, check=True, capture_output=True, text=True)

    def mounted(self) -> bool:
        """Whether the tree is there."""
        return is_mounted(self.root)

    def unmount(self) -> Path:
        """Unmount it, and give the folder with what was written."""
        while is_mounted(self.root):
            subprocess.run(["umount", "--lazy", str(self.root)], check=True, capture_output=True)
        return self.upper

    def remove(self) -> None:
        """Unmount it and remove what was written; nothing happens where it never was."""
        self.unmount()
        if self.home.exists():
            # Somebody else may be removing it too: a sweep, and the machine's own end.
            shutil.rmtree(self.home, ignore_errors=True)


def is_mounted(folder: Path) -> bool:
    """Whether something is mounted there (also twice)."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return str(folder) in {line.split()[1] for line in mounts}
