"""Throw-away Debian machines for the tests and the demo: ``with Machine("trixie") as machine``."""

from support.machine import equipment
from support.machine.container import ContainerError
from support.machine.host import missing
from support.machine.image import ImageError
from support.machine.machine import CommandFailed, Machine, NotInTime
from support.machine.recipe import KNOWN, RELEASES, ROOT

__all__ = [
    "KNOWN",
    "RELEASES",
    "ROOT",
    "CommandFailed",
    "ContainerError",
    "ImageError",
    "Machine",
    "NotInTime",
    "equipment",
    "missing",
]
