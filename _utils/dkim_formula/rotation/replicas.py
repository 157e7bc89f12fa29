"""
Standby servers of the database, and the time since which each one shows a switch of keys.

A mail host may read a standby. Such a host signs with the former key until the standby has replayed
the switch. docs/rotation.md, "Standby servers", has the rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Mark:
    """
    A time of the primary server, recorded for one standby.

    replica
        The standby's name for people.
    at
        The recorded time.
    reached
        The time of the first observation that the standby has replayed all that was committed by
        ``at``. None without such an observation.
    """

    replica: str
    at: datetime
    reached: datetime | None


@dataclass(frozen=True)
class Replicas:
    """The marks of every standby that was ever observed."""

    marks: Sequence[Mark] = ()

    def lagging(self, since: datetime) -> list[str]:
        """Return the standbys not yet observed to have replayed all that a time had committed."""
        return sorted({one.replica for one in self.marks} - self._reached(since).keys())

    def replayed_since(self, since: datetime) -> datetime:
        """
        Return the time since which every standby shows all that was committed by ``since``. Without
        standbys that is ``since``. Valid only if no standby is lagging.
        """
        return max([since, *self._reached(since).values()])

    def _reached(self, since: datetime) -> dict[str, datetime]:
        found: dict[str, datetime] = {}
        for one in self.marks:
            if one.at >= since and one.reached is not None:
                found[one.replica] = min(one.reached, found.get(one.replica, one.reached))
        return found
