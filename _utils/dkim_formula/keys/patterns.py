"""Patterns other than the domains' own names: ``.example.com``, ``user@example.com``, an alias."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..plan import Plan, change
from ..postgres.catalog import relation_kind
from ..postgres.objects import LOCK_CLASS, LOCK_KEYS, names
from ..postgres.sql import compose, copy_rows
from ..settings.model import Database

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# Pattern to (domain whose key signs, address of the key or '').
Patterns = Mapping[str, tuple[str, str]]


def read(connection: pg.connection, database: Database) -> dict[str, tuple[str, str]]:
    """Return the stored patterns; none before the first migration."""
    with connection.cursor() as cursor:
        if not relation_kind(cursor, database.schema, "dkim_pattern"):
            return {}
        cursor.execute(
            compose(
                """
                SELECT p.pattern, p.domain, p.address FROM {pattern} AS p ORDER BY 1
                """,
                **names(database),
            )
        )
        return {pattern: (domain, address) for pattern, domain, address in cursor}


def plan(snapshot: Patterns, desired: Patterns) -> Plan:
    """
    Return the plan with a change ``pattern P`` for each new, changed or removed pattern. Old and
    new value describe whose key signs, or are None.
    """
    changes = {}
    for pattern in sorted({*snapshot, *desired}):
        old, new = snapshot.get(pattern), desired.get(pattern)
        if old != new:
            changes[f"pattern {pattern}"] = change(_described(old), _described(new))
    return Plan(changes)


def apply(connection: pg.connection, database: Database, desired: Patterns) -> Plan:
    """
    Write the desired patterns, set-based, and return the applied plan. Does not commit.

    Raises DatabaseError if a pattern would have two keys of one algorithm.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK_CLASS, LOCK_KEYS))
        planned = plan(read(connection, database), desired)
        if not planned:
            return planned
        cursor.execute(
            """
            CREATE TEMPORARY TABLE dkim_desired_pattern (pattern text, domain text, address text)
            ON COMMIT DROP
            """
        )
        rows = ((pattern, *target) for pattern, target in desired.items())
        copy_rows(cursor, "dkim_desired_pattern", ("pattern", "domain", "address"), rows)
        cursor.execute("ANALYZE pg_temp.dkim_desired_pattern")
        for statement in (_DELETE, _UPSERT):
            cursor.execute(compose(statement, **names(database)))
        cursor.execute("DROP TABLE pg_temp.dkim_desired_pattern")
    return planned


_DELETE = """
DELETE FROM {pattern} AS p
 WHERE NOT EXISTS (SELECT FROM pg_temp.dkim_desired_pattern AS w WHERE w.pattern = p.pattern)
"""

_UPSERT = """
INSERT INTO {pattern} AS p (pattern, domain, address)
SELECT w.pattern, w.domain, w.address
  FROM pg_temp.dkim_desired_pattern AS w
ON CONFLICT (pattern) DO UPDATE SET domain = excluded.domain, address = excluded.address
 WHERE (p.domain, p.address) IS DISTINCT FROM (excluded.domain, excluded.address)
"""


def _described(target: tuple[str, str] | None) -> str | None:
    if target is None:
        return None
    domain, address = target
    return f"the key of {domain} for {address}" if address else f"the key of {domain}"
