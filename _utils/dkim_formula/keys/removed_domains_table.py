"""Queries of the table of keys and the history about removed domains."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from ..postgres.objects import names
from ..postgres.sql import compose
from ..settings.model import Database

if TYPE_CHECKING:
    import psycopg2.extensions as pg


def domains(connection: pg.connection, database: Database) -> dict[str, bool]:
    """Return the domains with a key, and whether any of these is active, standby or pending."""
    with connection.cursor() as cursor:
        cursor.execute(
            compose(
                # Index-only scans answer each part. A row of the table itself is large, since it
                # contains a private key.
                """
                SELECT d.domain, bool_or(d.goes_on)
                  FROM (SELECT k.domain, true AS goes_on
                          FROM {dkim} AS k WHERE k.state = 'active'
                         UNION ALL
                        SELECT k.domain, true
                          FROM {dkim} AS k WHERE k.state = 'standby'
                         UNION ALL
                        SELECT k.domain, k.state = 'pending'
                          FROM {dkim} AS k WHERE k.state NOT IN ('active', 'standby')) AS d
                 WHERE d.domain IS NOT NULL
                 GROUP BY 1
                """,
                **names(database),
            )
        )
        return dict(cursor)


def alias_domains(connection: pg.connection, database: Database) -> frozenset[str]:
    """Return the domains that only the table of alias domains had at the last run."""
    with connection.cursor() as cursor:
        cursor.execute(compose("SELECT domain FROM {alias_domain}", **names(database)))
        return frozenset(domain for (domain,) in cursor)


def store_alias_domains(
    connection: pg.connection, database: Database, domains: Collection[str]
) -> None:
    """Replace the stored domains of :func:`alias_domains`. Does not commit."""
    with connection.cursor() as cursor:
        for statement in (
            "DELETE FROM {alias_domain} WHERE domain <> ALL (%s)",
            "INSERT INTO {alias_domain} SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING",
        ):
            cursor.execute(compose(statement, **names(database)), (sorted(domains),))


def orphaned(
    connection: pg.connection, database: Database, why: str
) -> list[tuple[int, tuple[str, str, str]]]:
    """
    Return the retired keys whose last retirement has the reason ``why``, as (id, (domain, address,
    algorithm)): the newest key of each slot without an active key.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            compose(
                """
                SELECT DISTINCT ON (k.domain, k.address, k.algorithm) k.id, k.domain, k.address,
                       k.algorithm
                  FROM {dkim} AS k
                 WHERE k.state = 'retired'
                   AND NOT EXISTS (
                       SELECT FROM {dkim} AS a
                        WHERE a.domain = k.domain AND a.address = k.address
                          AND a.algorithm = k.algorithm AND a.state = 'active')
                   AND (SELECT h.why FROM {history} AS h
                         WHERE h.dkim_id = k.id AND h.domain = k.domain AND h.to_state = 'retired'
                         ORDER BY h.id DESC LIMIT 1) = %s
                 ORDER BY k.domain, k.address, k.algorithm, k.id DESC
                """,
                **names(database),
            ),
            (why,),
        )
        return [(number, (domain, *rest)) for number, domain, *rest in cursor]


def lost_slots(
    connection: pg.connection, database: Database, why: str
) -> list[tuple[str, str, str]]:
    """
    Return the slots (domain, address, algorithm) without an active key whose last active key was
    retired for the reason ``why``.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            compose(
                """
                SELECT l.domain, l.address, l.algorithm
                  FROM (SELECT DISTINCT ON (h.domain, h.address, h.algorithm)
                               h.domain, h.address, h.algorithm, h.why
                          FROM {history} AS h
                         WHERE h.from_state = 'active'
                           AND h.domain IN (SELECT o.domain FROM {history} AS o WHERE o.why = %s)
                         ORDER BY h.domain, h.address, h.algorithm, h.id DESC) AS l
                 WHERE l.why = %s
                   AND NOT EXISTS (
                       SELECT FROM {dkim} AS a
                        WHERE a.domain = l.domain AND a.address = l.address
                          AND a.algorithm = l.algorithm AND a.state = 'active')
                """,
                **names(database),
            ),
            (why, why),
        )
        return cursor.fetchall()
