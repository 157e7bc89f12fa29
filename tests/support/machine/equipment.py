"""
A third layer over a release's image, with the packages that the formula installs.

A test that is not about installation starts from this layer and saves most of a highstate's time.
A booted machine makes the layer: it installs the same packages as a first highstate does.
"""

import shutil
from pathlib import Path

from support.machine import host, image, recipe
from support.machine.machine import Machine
from support.progress import SILENT, Progress

PACKAGES = ("postgresql", "postfix", "opendkim", "opendkim-tools", "libopendbx1-pgsql")
# The packages that Salt's own Python lacks: python_packages of dkim/defaults.yaml.
WHEELS = ("psycopg2-binary", "dnspython")


def layers(release: str, progress: Progress = SILENT) -> list[Path]:
    """
    Return the layers of an equipped machine, uppermost first; missing layers are made.

    Raises the exceptions of :meth:`Machine.start` and :meth:`Machine.run`.
    """
    below = image.layers(release, progress)
    key = recipe.digest([recipe.software_key(release), PACKAGES, WHEELS])
    equipped = host.cache() / "images" / release / f"equipped-{key}"
    with host.locked(f"equipment-{release}"):
        if not equipped.is_dir():
            with progress.step(f"{release}: PostgreSQL, Postfix and OpenDKIM as packaged"):
                _build(release, equipped)
        image.in_use(equipped.parent, "equipped-*", equipped)
    return [equipped, *below]


def _build(release: str, target: Path) -> None:
    machine = Machine(release)
    machine.start()
    try:
        machine.install(*PACKAGES)
        machine.run(["/opt/salt/bin/python", "-m", "pip", "install", "--quiet", *WHEELS])
        # Each machine over this layer makes its own id at its first start (machine-id(5)).
        machine.write("/etc/machine-id", "", mode=0o444)
        machine.run("apt-get clean && rm -rf /var/lib/apt/lists/* /var/log/journal/*")
        machine.power_off()
        written = machine.unmount()
        shutil.rmtree(target, ignore_errors=True)
        scratch = target.with_name("new-equipped")
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.move(written, scratch)
        scratch.rename(target)
    finally:
        machine.stop(hard=True)
