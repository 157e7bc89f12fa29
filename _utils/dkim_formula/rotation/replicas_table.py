"""The table of standby servers: seen in pg_stat_replication, stored, read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import StepRefused
from ..postgres.objects import names
from ..postgres.replicas import HIDDEN, RIGHT
from ..postgres.sql import compose, quoted
from ..settings.model import Database
from .replicas import Mark, Replicas

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# A standby that was not seen to have come so far, however far it is by now.
_SEEN = """
UPDATE {replica} AS m SET reached_at = clock_timestamp()
  FROM {replicas} () AS r
 WHERE m.reached_at IS NULL AND m.name = r.name AND m.address = r.address
   AND m.mark_lsn <= r.replayed
"""
# A moment for each standby that has none after the last retirement; and for one that is new, so
# that it is known when its connection is lost. What was committed before is in the log by now.
_MARKED = """
INSERT INTO {replica} (name, address, mark_lsn)
SELECT k.name, k.address, pg_current_wal_insert_lsn()
  FROM (SELECT name, address FROM {replica} UNION SELECT name, address FROM {replicas} ()) AS k
  LEFT JOIN (SELECT name, address, max(mark_at) AS at FROM {replica} GROUP BY 1, 2) AS m
    ON m.name = k.name AND m.address = k.address
 WHERE m.at IS NULL
    OR m.at <= (SELECT max(retired_at) FROM {dkim} WHERE state = 'retired')
"""
# Since the formula's owner may see standbys, each has its name.
_SHOWN = """
DELETE FROM {replica} WHERE address = %(hidden)s
   AND NOT EXISTS (SELECT FROM {replicas} () WHERE address = %(hidden)s)
"""
# Every key that is retired was retired after these, and a later moment of the standby is known.
_FORGOTTEN = """
DELETE FROM {replica} AS m
 WHERE m.mark_at < coalesce((SELECT min(retired_at) FROM {dkim} WHERE state = 'retired'), now())
   AND EXISTS (SELECT FROM {replica} AS l
                WHERE l.name = m.name AND l.address = m.address AND l.mark_at > m.mark_at)
"""


def observe(connection: pg.connection, database: Database) -> None:
    """Store how far each standby is. Does not commit."""
    with connection.cursor() as cursor:
        for statement in (_SHOWN, _SEEN, _MARKED, _FORGOTTEN):
            cursor.execute(compose(statement, **names(database)), {"hidden": HIDDEN})


def read(connection: pg.connection, database: Database) -> Replicas:
    """Return what is stored of the standbys."""
    with connection.cursor() as cursor:
        cursor.execute(
            compose(
                "SELECT name, address, mark_at, reached_at FROM {replica} ORDER BY 1, 2, 3",
                **names(database),
            )
        )
        owner = database.keys_owner
        marks = [Mark(_shown(name, address, owner), *rest) for name, address, *rest in cursor]
        return Replicas(marks)


def forget(connection: pg.connection, database: Database, address: str) -> list[str]:
    """
    Delete what is stored of a standby by its address, and return the standbys. Does not commit.

    Raises StepRefused where no such standby was ever seen.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            compose(
                "DELETE FROM {replica} WHERE address = %s RETURNING name, address",
                **names(database),
            ),
            (address,),
        )
        gone = sorted({_shown(*row, database.keys_owner) for row in cursor})
        if gone:
            return gone
        cursor.execute(compose("SELECT DISTINCT address FROM {replica}", **names(database)))
        known = ", ".join(sorted(one for (one,) in cursor)) or "none"
    raise StepRefused(f"address: {address!r} is no standby that was ever seen; known: {known}")


def _shown(name: str, address: str, owner: str) -> str:
    if address == HIDDEN:
        return f"{HIDDEN} (to see it, run as a superuser: GRANT {RIGHT} TO {quoted(owner)})"
    return f"{address} ({name})" if name else address
