"""A login role with exactly the rights that it is to have."""

from __future__ import annotations

from dataclasses import dataclass

from ..secret import Secret
from .plan import Plan


@dataclass(frozen=True)
class Wanted:
    """
    The role as it is to be: LOGIN, and no other attribute.

    password
        ``keep`` leaves it alone, ``absent`` takes it away, a Secret sets it.
    connection_limit
        None leaves it alone; -1 is PostgreSQL's word for none.
    relations
        (schema, relation) pairs to SELECT from.
    memberships
        Roles to be a member of; any other membership is taken back.
    """

    name: str
    password: Secret | str = "keep"
    connection_limit: int | None = None
    relations: tuple[tuple[str, str], ...] = ()
    memberships: tuple[str, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """The role as it is."""


ABSENT = Snapshot()


def look(connection, wanted: Wanted) -> Snapshot:
    """Reads the role's attributes, memberships, grants (in this database) and possessions."""
    raise NotImplementedError


def plan(snapshot: Snapshot, wanted: Wanted, dbname: str) -> Plan:
    """What differs, an entry for each attribute and grant. Objects that it owns are notes."""
    raise NotImplementedError


def apply(connection, wanted: Wanted) -> Plan:
    """Makes the role so; gives the plan that was carried out."""
    raise NotImplementedError


def look_absent(connection, name: str) -> bool:
    """Whether the role exists."""
    raise NotImplementedError
