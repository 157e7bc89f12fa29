"""Our tables and views in the site's database: migrations, views, triggers."""

from __future__ import annotations

from dataclasses import dataclass

from ..settings.model import Database
from .plan import Plan


@dataclass(frozen=True)
class Snapshot:
    """What the database holds of ours, of the howto's and of the site's."""


ABSENT = Snapshot()


def look(connection, database: Database) -> Snapshot:
    """Reads the catalogue, and where the howto's table waits to be adopted, its keys."""
    raise NotImplementedError


def plan(snapshot: Snapshot, database: Database) -> Plan:
    """Which migrations and which definitions are due. Raises DatabaseError where none can go."""
    raise NotImplementedError


def apply(connection, database: Database) -> Plan:
    """Carries the plan out in one transaction under an advisory lock; gives that plan."""
    raise NotImplementedError


def view_name(database: Database, kind: str, algorithm: str = "rsa") -> str:
    """
    The name that a DSN's ``table=`` takes: ``dkim_signing_table``, with the schema before it
    where that is not ``public``. ``kind``: ``signing`` or ``key``.
    """
    raise NotImplementedError


def reader_relations(database: Database) -> tuple[tuple[str, str], ...]:
    """The (schema, view) pairs that the reader may SELECT from, and nothing else."""
    raise NotImplementedError
