"""Patterns beside the domains' own names: ``.example.com``, ``user@example.com``, an alias."""

from __future__ import annotations

from collections.abc import Mapping

from ..settings.model import Database
from .plan import Plan

# pattern -> (domain whose key signs, '' or the address that the key is for)
Patterns = Mapping[str, tuple[str, str]]


def look(connection, database: Database) -> dict[str, tuple[str, str]]:
    """The patterns that are there."""
    raise NotImplementedError


def plan(snapshot: Patterns, wanted: Patterns) -> Plan:
    """An entry for each pattern that is new, points elsewhere, or goes."""
    raise NotImplementedError


def apply(connection, database: Database, wanted: Patterns) -> Plan:
    """Makes them so, set-based; gives the plan that was carried out."""
    raise NotImplementedError
