"""The dates of keys: when a key is due for rotation, and how long a key may be standby."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from ..settings.model import Rotation


def due_at(activated: datetime, rotation: Rotation, domain: str, algorithm: str) -> datetime:
    """
    Return the time at which a key is due for rotation.

    The time is ``rotation.every`` after the activation, less a fraction of ``rotation.spread``. The
    fraction depends on the domain's name, and on the algorithm if algorithms rotate separately. So
    a hundred thousand keys of one run are due on different days, and no key grows older than
    ``every``.
    """
    name = domain if rotation.together else f"{domain} {algorithm}"
    early = rotation.spread * _fraction(name)
    return activated + timedelta(seconds=rotation.every - early)


def least_age(rotation: Rotation) -> timedelta:
    """Return the age below which no key of any domain is due."""
    return timedelta(seconds=rotation.every - rotation.spread)


def standby_for(rotation: Rotation) -> int:
    """
    Return for how many seconds a key may be standby: one and a half ``rotation.every``.

    Automatic rotation uses a standby key after one ``every`` at the latest. A standby key grows
    older only if rotation is late or never starts. An attacker has had the public key since its
    record was published in DNS.
    """
    return rotation.every + rotation.every // 2


def _fraction(text: str) -> float:
    """Return a number from 0 to below 1, the same on every machine and in every Python."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48
