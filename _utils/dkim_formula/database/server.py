"""The database itself: that it exists, with an owner that is no superuser."""

from __future__ import annotations

from dataclasses import dataclass

from ..settings.model import Database
from .plan import Plan


@dataclass(frozen=True)
class Snapshot:
    """``owner_exists``: the owner role is there. ``database_exists``: the database is there."""

    owner_exists: bool
    database_exists: bool


ABSENT = Snapshot(owner_exists=False, database_exists=False)


def look(database: Database) -> Snapshot:
    """What the server has. Raises DatabaseUnavailable where there is no server."""
    raise NotImplementedError


def plan(snapshot: Snapshot, database: Database) -> Plan:
    """What is missing: ``role NAME`` and ``database NAME``, from None to a description."""
    raise NotImplementedError


def apply(database: Database) -> Plan:
    """Makes what is missing, and gives the plan that was carried out."""
    raise NotImplementedError
