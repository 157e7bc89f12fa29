"""An additional layer over an equipped machine, made by a script with the host's network."""

import shutil
from pathlib import Path

from support.machine import equipment, image, recipe
from support.machine.overlay import Overlay
from support.progress import SILENT, Progress

# Installs Debian packages from the release's archive, and removes every trace of the installation.
_INSTALLING = """\
set -eu
export DEBIAN_FRONTEND=noninteractive
echo 'exit 101' > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
cp /etc/apt/sources.list /tmp
cp /recipe/sources.list /etc/apt/sources.list
apt-get update
apt-get install --yes --no-install-recommends {packages}
mv /tmp/sources.list /etc/apt
apt-get clean
rm -rf /var/lib/apt/lists/* /usr/sbin/policy-rc.d /recipe
"""


def installing(*packages: str) -> str:
    """Return the script of a layer that adds only Debian packages."""
    return _INSTALLING.format(packages=" ".join(packages))


def layers(release: str, name: str, script: str, progress: Progress = SILENT) -> list[Path]:
    """
    Return the layers of an equipped machine and one more, uppermost first.

    Missing layers are made.

    name
        The name of the additional layer.
    script
        The script that makes the layer. The release's own ``sources.list`` is in ``/recipe``.

    Raises ImageError and the exceptions of :func:`support.machine.equipment.layers`.
    """
    below = equipment.layers(release, progress)
    key = recipe.digest([below[0].name, script])
    return image.with_layer(
        release,
        below,
        name,
        key,
        name,
        lambda target: _build(below, target, name, script, progress),
        progress,
    )


def _build(below: list[Path], target: Path, name: str, script: str, progress: Progress) -> None:
    scratch = Overlay(below, target.with_name(f"{name}.scratch"))
    # A killed build may have left its scratch tree, still mounted.
    scratch.remove()
    system = below[-1]
    files = {"script": script, "sources.list": (system / "etc/apt/sources.list").read_text()}
    try:
        scratch.mount()
        image.run_recipe(scratch.root, files, target, progress)
        shutil.move(scratch.unmount(), target)
    finally:
        scratch.remove()
