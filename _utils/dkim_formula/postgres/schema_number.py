"""
The number of the database's schema, by which a formula knows whether it may change the database.

A change of tables that an older formula can't work with raises the number. Hosts of a fleet are
updated one after the other. A host with an older formula signs mail and changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import NewerSchema
from ..settings.model import Database
from .catalog import relation_kind
from .objects import names
from .sql import compose

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# The number that this formula makes, and the newest that it knows.
NUMBER = 1


def applied(cursor: pg.cursor, database: Database) -> tuple[int, ...]:
    """Return the numbers that were applied to the database, in ascending order."""
    if relation_kind(cursor, database.schema, "dkim_migration") is None:
        return ()
    cursor.execute(compose("SELECT number FROM {migration} ORDER BY 1", **names(database)))
    return tuple(number for (number,) in cursor)


def newer(numbers: tuple[int, ...]) -> str:
    """Return why this formula can't work with a schema of these numbers; empty if it can."""
    newest = max(numbers, default=0)
    if newest <= NUMBER:
        return ""
    return (
        f"the database has migration {newest}, made by a newer formula; this one knows {NUMBER} at "
        "most: update the formula on this machine"
    )


def refuse_newer(cursor: pg.cursor, database: Database) -> None:
    """Raise NewerSchema if a newer formula made the tables."""
    problem = newer(applied(cursor, database))
    if problem:
        raise NewerSchema(problem)
