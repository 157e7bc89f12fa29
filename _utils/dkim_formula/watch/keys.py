"""What the database says of keys and domains."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..database.connection import compose, session
from ..database.objects import names
from ..errors import DatabaseError, FormulaError
from ..operations import orphans
from ..operations.orphans import Orphans
from ..postgres import schema
from ..settings.model import Settings
from ..wanted import domain_problem
from .facts import MOST_NAMES, Keys, Late

if TYPE_CHECKING:
    import psycopg2.extensions as pg

_COUNTS = """
SELECT k.algorithm, k.state, count(*)::integer FROM {dkim} AS k GROUP BY 1, 2 ORDER BY 1, 2
"""

_OLDEST = """
SELECT k.algorithm, extract(epoch FROM min(k.activated_at))::float8
  FROM {dkim} AS k WHERE k.state = 'active' AND k.activated_at IS NOT NULL
 GROUP BY 1 ORDER BY 1
"""

# When each key's next step is due. A pending key waits for its record alone, so it is due when it
# is made; one without a date was adopted, and nobody has mended it since.
_LATE = """
WITH life AS (
    SELECT k.id, k.selector::text AS selector, k.domain, k.state,
           CASE k.state
               WHEN 'active' THEN k.activated_at + make_interval(secs => %(every)s)
               WHEN 'pending' THEN k.created_at
               WHEN 'retired' THEN k.retired_at + make_interval(secs => %(retire_for)s)
               ELSE k.revoked_at + make_interval(secs => %(revoke_for)s)
           END AS due
      FROM {dkim} AS k
     WHERE k.domain <> ALL (%(excluded)s)
), late AS (
    SELECT * FROM life
     WHERE coalesce(due + make_interval(secs => %(overdue)s), '-infinity') < now()
)
"""
_LATE_NAMES = (
    _LATE
    + """
SELECT selector || '._domainkey.' || domain, state, extract(epoch FROM due)::float8
  FROM late ORDER BY due NULLS FIRST, id LIMIT %(most)s
"""
)
_LATE_COUNTS = _LATE + "SELECT state, count(*)::integer FROM late GROUP BY 1 ORDER BY 1"

# Of the hosted domains and of the pillar's own: those that no key signs for.
_UNSIGNED = """
SELECT d.domain
  FROM (SELECT domain FROM {hosted} () UNION SELECT unnest(%(named)s::text[])) AS d (domain)
 WHERE NOT EXISTS (SELECT FROM {signing} AS s WHERE s.pattern = d.domain)
 ORDER BY d.domain COLLATE "C"
"""


def look(settings: Settings) -> Keys:
    """One session with the database; where there can't be one, ``problem`` says why."""
    at, sudden = time.time(), ""
    try:
        with session(settings.database) as connection:
            if not schema.has_tables(connection, settings.database):
                raise DatabaseError("the database has none of the formula's tables")
            found = orphans.look(settings)
            sudden = found.sudden
            return _facts(connection, settings, at, found)
    except FormulaError as error:
        return Keys(at, sudden or str(error))


def _facts(connection: pg.connection, settings: Settings, at: float, found: Orphans) -> Keys:
    known, rotation = names(settings.database), settings.rotation
    limits = {
        "every": rotation.every,
        "retire_for": rotation.retire_for,
        "revoke_for": rotation.revoke_for,
        "overdue": settings.watch.overdue,
        "excluded": sorted(settings.excluded | found.gone),
        "named": sorted(settings.domains),
        "most": MOST_NAMES,
    }
    with connection.cursor() as cursor:

        def rows(statement: str) -> list[tuple]:
            cursor.execute(compose(statement, **known), limits)
            return cursor.fetchall()

        unsigned = _worth_signing(settings, (name for (name,) in rows(_UNSIGNED)))
        return Keys(
            at,
            counts=tuple(rows(_COUNTS)),
            oldest=tuple(rows(_OLDEST)),
            late=tuple(Late(*row) for row in rows(_LATE_NAMES)),
            late_counts=tuple(rows(_LATE_COUNTS)),
            hosted=rows("SELECT count(*)::integer FROM {hosted} ()")[0][0],
            unsigned=tuple(unsigned[:MOST_NAMES]),
            unsigned_count=len(unsigned),
            sudden=found.sudden,
        )


def _worth_signing(settings: Settings, hosted: Iterable[str]) -> list[str]:
    """
    Return those of the names that have to sign, by the pillar.

    A name that OpenDKIM never looks up, or that is too long to have a key, would be an alarm
    without an end: ``dkim.check`` and ``dkim.doctor`` say what is wrong with it.
    """
    found = []
    for name in hosted:
        chosen = name in settings.domains or settings.every_hosted is not None
        judged = name not in settings.excluded and (chosen or settings.watch.unsigned == "hosted")
        if judged and not domain_problem(settings, name):
            found.append(name)
    return found
