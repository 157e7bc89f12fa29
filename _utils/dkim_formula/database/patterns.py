"""Patterns beside the domains' own names: ``.example.com``, ``user@example.com``, an alias."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import DatabaseError
from ..settings.model import Database
from .connection import compose, copy_rows
from .inspection import relation_kind
from .objects import LOCK_CLASS, LOCK_KEYS, names
from .plan import Plan, change

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# A pattern, to the domain whose key signs and '' or the address that the key is for.
Patterns = Mapping[str, tuple[str, str]]


def look(connection: pg.connection, database: Database) -> dict[str, tuple[str, str]]:
    """The patterns that are there; none before the first migration."""
    with connection.cursor() as cursor:
        if not relation_kind(cursor, database.domains.schema, "dkim_pattern"):
            return {}
        cursor.execute(
            compose(
                """
                SELECT p.pattern, d.{domain_name}::text, p.address
                  FROM {pattern} AS p JOIN {domains} AS d ON d.{domain_id} = p.domain_id
                 ORDER BY 1
                """,
                **names(database),
            )
        )
        return {pattern: (domain, address) for pattern, domain, address in cursor}


def plan(snapshot: Patterns, wanted: Patterns) -> Plan:
    """
    An entry ``pattern P`` for each that is new, points elsewhere or goes: from and to a
    description of whose key signs, or None.
    """
    changes = {}
    for pattern in sorted({*snapshot, *wanted}):
        old, new = snapshot.get(pattern), wanted.get(pattern)
        if old != new:
            changes[f"pattern {pattern}"] = change(_described(old), _described(new))
    return Plan(changes)


def apply(connection: pg.connection, database: Database, wanted: Patterns) -> Plan:
    """
    Makes the patterns so, set-based, and gives the plan that was carried out. Does not commit.

    Raises DatabaseError where a domain is not in the table, and where a pattern would have two
    keys of one algorithm.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK_CLASS, LOCK_KEYS))
        planned = plan(look(connection, database), wanted)
        if not planned:
            return planned
        cursor.execute(
            """
            CREATE TEMPORARY TABLE dkim_wanted_pattern (pattern text, domain text, address text)
            ON COMMIT DROP
            """
        )
        rows = ((pattern, *target) for pattern, target in wanted.items())
        copy_rows(cursor, "dkim_wanted_pattern", ("pattern", "domain", "address"), rows)
        cursor.execute("ANALYZE pg_temp.dkim_wanted_pattern")
        _refuse_unknown_domains(cursor, database)
        for statement in (_DELETE, _UPSERT):
            cursor.execute(compose(statement, **names(database)))
        cursor.execute("DROP TABLE pg_temp.dkim_wanted_pattern")
    return planned


_DELETE = """
DELETE FROM {pattern} AS p
 WHERE NOT EXISTS (SELECT FROM pg_temp.dkim_wanted_pattern AS w WHERE w.pattern = p.pattern)
"""

_UPSERT = """
INSERT INTO {pattern} AS p (pattern, domain_id, address)
SELECT w.pattern, d.{domain_id}, w.address
  FROM pg_temp.dkim_wanted_pattern AS w
  JOIN {domains} AS d ON d.{domain_name}::text = w.domain
ON CONFLICT (pattern) DO UPDATE SET domain_id = excluded.domain_id, address = excluded.address
 WHERE (p.domain_id, p.address) IS DISTINCT FROM (excluded.domain_id, excluded.address)
"""


def _refuse_unknown_domains(cursor: pg.cursor, database: Database) -> None:
    cursor.execute(
        compose(
            """
            SELECT DISTINCT w.domain FROM pg_temp.dkim_wanted_pattern AS w
             WHERE NOT EXISTS
                   (SELECT FROM {domains} AS d WHERE d.{domain_name}::text = w.domain)
             ORDER BY 1
            """,
            **names(database),
        )
    )
    unknown = [domain for (domain,) in cursor]
    if unknown:
        site = database.domains
        raise DatabaseError(
            f"not in {site.schema}.{site.table}, so no key of theirs can sign: {', '.join(unknown)}"
        )


def _described(target: tuple[str, str] | None) -> str | None:
    if target is None:
        return None
    domain, address = target
    return f"the key of {domain} for {address}" if address else f"the key of {domain}"
