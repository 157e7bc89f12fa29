"""A writable file tree over cached trees."""

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
        The folder for written files; made if it is missing. The tree is mounted at its ``root``.
    """

    def __init__(self, layers: Sequence[Path], home: Path):
        self.layers = tuple(layers)
        self.home = home
        self.root = home / "root"
        self.upper = home / "upper"

    def mount(self) -> None:
        """Mount the tree. A throw-away tree needs no fsync: ``volatile`` leaves them out."""
        work = self.home / "work"
        for folder in (self.root, self.upper, work):
            folder.mkdir(parents=True, exist_ok=True)
        self.upper.chmod(0o755)
        lower = ":".join(str(layer) for layer in self.layers)
        options = f"lowerdir={lower},upperdir={self.upper},workdir={work},volatile"
        command = ["mount", "-t", "overlay", "overlay", "-o", options, str(self.root)]
        subprocess.run(command, check=True, capture_output=True, text=True)

    def mounted(self) -> bool:
        """Return whether the tree is mounted."""
        return is_mounted(self.root)

    def unmount(self) -> Path:
        """Unmount the tree, and return the folder of written files."""
        while is_mounted(self.root):
            subprocess.run(["umount", "--lazy", str(self.root)], check=True, capture_output=True)
        return self.upper

    def remove(self) -> None:
        """Unmount the tree and remove the written files; does nothing to a missing tree."""
        self.unmount()
        if self.home.exists():
            # A sweep of another process may remove the folder at the same time.
            shutil.rmtree(self.home, ignore_errors=True)


def is_mounted(folder: Path) -> bool:
    """Return whether something is mounted at a folder, once or several times."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return str(folder) in {line.split()[1] for line in mounts}
