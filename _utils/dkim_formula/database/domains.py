"""The site's domains: reading them, and adding to a table that the formula made."""

from __future__ import annotations

from collections.abc import Iterable

from ..settings.model import Database


def hosted(connection, database: Database) -> dict[str, object]:
    """Every domain of the site's table: name as it stands there, to id."""
    raise NotImplementedError


def missing(connection, database: Database, names: Iterable[str]) -> list[str]:
    """Those of ``names`` that the table has not, sorted."""
    raise NotImplementedError


def may_insert(connection, database: Database) -> bool:
    """Whether missing domains are inserted: ``create_missing``, or None and the table is ours."""
    raise NotImplementedError


def insert_missing(connection, database: Database, names: Iterable[str]) -> list[str]:
    """Inserts them, and gives those that were; DatabaseError where that is not allowed."""
    raise NotImplementedError
