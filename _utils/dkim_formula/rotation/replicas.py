"""
Standby servers of the database, and since when each shows its readers what was switched.

A mail host may read a standby, which signs with the former key until it has replayed the switch.
docs/rotation.md, "Standby servers", has the rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Mark:
    """
    A moment of the primary server.

    replica
        The standby, as a person names it.
    at
        The moment.
    reached
        When the standby was first seen to have replayed all that was committed by then; None where
        it was not.
    """

    replica: str
    at: datetime
    reached: datetime | None


@dataclass(frozen=True)
class Replicas:
    """Every standby that was ever seen, by its marks."""

    marks: Sequence[Mark] = ()

    def lagging(self, since: datetime) -> list[str]:
        """Return the standbys that were not seen to have replayed what was committed by a time."""
        return sorted({one.replica for one in self.marks} - self._reached(since).keys())

    def read_since(self, since: datetime) -> datetime:
        """
        Return the time from which every standby shows what was committed by ``since``: ``since``
        itself where there is no standby. Meaningful where none is lagging.
        """
        return max([since, *self._reached(since).values()])

    def _reached(self, since: datetime) -> dict[str, datetime]:
        found: dict[str, datetime] = {}
        for one in self.marks:
            if one.at >= since and one.reached is not None:
                found[one.replica] = min(one.reached, found.get(one.replica, one.reached))
        return found
