"""When a key's rotation is due: spread over days, each domain always at the same place of them."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from ..settings.model import Rotation


def due_at(activated: datetime, rotation: Rotation, domain: str, algorithm: str) -> datetime:
    """
    When a key that was made active at a moment is to be followed by the next.

    It is ``rotation.every`` after that moment, less a part of ``rotation.spread`` that follows from
    the domain's name (and, where algorithms rotate apart, the key's algorithm): a hundred thousand
    keys that were made in one run are not replaced in one run, and none grows older than ``every``.
    """
    whose = domain if rotation.together else f"{domain} {algorithm}"
    early = rotation.spread * _fraction(whose)
    return activated + timedelta(seconds=rotation.every - early)


def never_before(rotation: Rotation) -> timedelta:
    """The age below which no key is due, whatever its domain."""
    return timedelta(seconds=rotation.every - rotation.spread)


def _fraction(text: str) -> float:
    """From 0 to below 1, the same on every machine and in every version of Python."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / 2**48
