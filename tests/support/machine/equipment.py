"""
Layers over a release's image with packages, which a booted machine installs and starts.

A test that is not about installation starts from the layer of the formula's packages and saves most
of a highstate's time.
"""

import shutil
from pathlib import Path

from support.machine import image, recipe
from support.machine.machine import Machine
from support.progress import SILENT, Progress

PACKAGES = ("postgresql", "postfix", "opendkim", "opendkim-tools", "libopendbx1-pgsql")
# The packages that Salt's own Python lacks: python_packages of dkim/defaults.yaml.
WHEELS = ("psycopg2-binary", "dnspython")


def layers(release: str, progress: Progress = SILENT) -> list[Path]:
    """
    Return the layers of a machine with what a first highstate installs, uppermost first.

    A missing layer is made. Raises the exceptions of :func:`with_packages`.
    """
    wheels = f"/opt/salt/bin/python -m pip install --quiet {' '.join(WHEELS)}"
    what = "PostgreSQL, Postfix and OpenDKIM as packaged"
    return with_packages(release, "equipped", PACKAGES, wheels, what, progress)


def with_packages(
    release: str,
    name: str,
    packages: tuple[str, ...],
    command: str,
    what: str,
    progress: Progress = SILENT,
) -> list[Path]:
    """
    Return the layers of a machine with packages, uppermost first. A missing layer is made.

    name
        The name of the layer.
    command
        A shell command that runs after the installation.
    what
        The description of the layer that ``progress`` shows.

    Raises the exceptions of :meth:`Machine.start` and :meth:`Machine.run`.
    """
    below = image.layers(release, progress)
    key = recipe.digest([recipe.software_key(release), packages, command])
    return image.with_layer(
        release,
        below,
        name,
        key,
        what,
        lambda target: _build(release, target, name, packages, command),
        progress,
    )


def _build(release: str, target: Path, name: str, packages: tuple[str, ...], command: str) -> None:
    machine = Machine(release)
    machine.start()
    try:
        machine.install(*packages)
        machine.run(command)
        # Each machine over this layer makes its own id at its first start (machine-id(5)).
        machine.write("/etc/machine-id", "", mode=0o444)
        machine.run("apt-get clean && rm -rf /var/lib/apt/lists/* /var/log/journal/*")
        machine.power_off()
        written = machine.unmount()
        shutil.rmtree(target, ignore_errors=True)
        scratch = target.with_name(f"new-{name}")
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.move(written, scratch)
        scratch.rename(target)
    finally:
        machine.stop(hard=True)
