"""The replay of the log by standby servers: observed in pg_stat_replication, stored, read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import StepRefused
from ..postgres.objects import names
from ..postgres.replica_function import HIDDEN, RIGHT
from ..postgres.sql import compose, quoted
from ..settings.model import Database
from .replicas import Mark, Replicas

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# Stores the time at which a standby is first observed to have replayed a mark.
_REACHED = """
UPDATE {replica} AS m SET reached_at = clock_timestamp()
  FROM {replicas} () AS r
 WHERE m.reached_at IS NULL AND m.name = r.name AND m.address = r.address
   AND m.mark_lsn <= r.replayed
"""
# Adds a mark for each standby without a mark after the last retirement. A new standby gets a mark
# too, so that the formula knows it when its connection is lost. All that was committed before the
# mark is already in the log.
_MARK = """
INSERT INTO {replica} (name, address, mark_lsn)
SELECT k.name, k.address, pg_current_wal_insert_lsn()
  FROM (SELECT name, address FROM {replica} UNION SELECT name, address FROM {replicas} ()) AS k
  LEFT JOIN (SELECT name, address, max(mark_at) AS at FROM {replica} GROUP BY 1, 2) AS m
    ON m.name = k.name AND m.address = k.address
 WHERE m.at IS NULL
    OR m.at <= (SELECT max(retired_at) FROM {dkim} WHERE state = 'retired')
"""
# Deletes the nameless standby once the formula's owner role may see the standbys' names.
_DELETE_HIDDEN = """
DELETE FROM {replica} WHERE address = %(hidden)s
   AND NOT EXISTS (SELECT FROM {replicas} () WHERE address = %(hidden)s)
"""
# Deletes marks that are older than the retirement of every retired key, if the standby has a later
# mark.
_DELETE_OLD = """
DELETE FROM {replica} AS m
 WHERE m.mark_at < coalesce((SELECT min(retired_at) FROM {dkim} WHERE state = 'retired'), now())
   AND EXISTS (SELECT FROM {replica} AS l
                WHERE l.name = m.name AND l.address = m.address AND l.mark_at > m.mark_at)
"""


def observe(connection: pg.connection, database: Database) -> None:
    """Store how far each standby has replayed the log. Does not commit."""
    with connection.cursor() as cursor:
        for statement in (_DELETE_HIDDEN, _REACHED, _MARK, _DELETE_OLD):
            cursor.execute(compose(statement, **names(database)), {"hidden": HIDDEN})


def read(connection: pg.connection, database: Database) -> Replicas:
    """Return the stored marks of the standbys."""
    with connection.cursor() as cursor:
        cursor.execute(
            compose(
                "SELECT name, address, mark_at, reached_at FROM {replica} ORDER BY 1, 2, 3",
                **names(database),
            )
        )
        owner = database.keys_owner
        marks = [Mark(_label(name, address, owner), *rest) for name, address, *rest in cursor]
        return Replicas(marks)


def forget(connection: pg.connection, database: Database, address: str) -> list[str]:
    """
    Delete the marks of the standbys at an address, and return these standbys. Does not commit.

    Raises StepRefused for an address without marks.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            compose(
                "DELETE FROM {replica} WHERE address = %s RETURNING name, address",
                **names(database),
            ),
            (address,),
        )
        gone = sorted({_label(*row, database.keys_owner) for row in cursor})
        if gone:
            return gone
        cursor.execute(compose("SELECT DISTINCT address FROM {replica}", **names(database)))
        known = ", ".join(sorted(one for (one,) in cursor)) or "none"
    raise StepRefused(f"address: {address!r} is not the address of a known standby; known: {known}")


def _label(name: str, address: str, owner: str) -> str:
    if address == HIDDEN:
        return f"{HIDDEN} (to see it, run as a superuser: GRANT {RIGHT} TO {quoted(owner)})"
    return f"{address} ({name})" if name else address
