"""
Comparisons of the hosted domains with the table of keys, made in the database.

Only names that differ are sent to this process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..settings.model import Database, KeyPlan
from .conditions import served_domain
from .driver import driver
from .hosted import READABLE, source
from .objects import names as known_names
from .sql import compose, copy_rows

if TYPE_CHECKING:
    import psycopg2.extensions as pg


def unnamed(connection: pg.connection, database: Database) -> list[str]:
    """
    Return the domains with an active, standby or pending key whose exact name no row contains.

    A row may contain such a name in another spelling, which :func:`hosted.every_name` shows.
    """
    with source(connection, database) as (cursor, rows):
        keys = compose("{dkim}", **known_names(database)).as_string(cursor)
        # An anti-join on indexed columns. The table's check ensures that OpenDKIM finds an active
        # key's domain.
        cursor.execute(
            f"""
            SELECT k.domain
              FROM (SELECT domain FROM {keys} WHERE state = 'active'
                     UNION ALL
                    SELECT domain FROM {keys} WHERE state = 'standby'
                     UNION ALL
                    SELECT domain FROM {keys} WHERE state = 'pending') AS k
             WHERE k.domain IS NOT NULL
               AND NOT EXISTS (SELECT FROM ({rows}) AS r WHERE r.name = k.domain)
             UNION
            SELECT domain FROM {keys} WHERE state = 'pending' AND NOT {served_domain("domain")}
            """
        )
        return [domain for (domain,) in cursor]


def copy_lacking(cursor: pg.cursor, database: Database, plans: Sequence[KeyPlan]) -> None:
    """
    Write hosted domains to the temporary table ``dkim_lacking (domain)``.

    A domain whose active keys match all plans is left out, without an evaluation of its name.
    """
    cursor.execute('CREATE TEMPORARY TABLE dkim_lacking (domain text COLLATE "C") ON COMMIT DROP')
    with source(cursor.connection, database) as (reading, rows):
        query = _lacking(reading, database, rows, plans)
        # A separate session does not see the temporary table, so this process copies the rows.
        if reading.connection is cursor.connection:
            reading.execute(f"INSERT INTO pg_temp.dkim_lacking {query}")
        else:
            reading.execute(query)
            copy_rows(cursor, "dkim_lacking", ("domain",), reading)
    cursor.execute("ANALYZE pg_temp.dkim_lacking")


def _lacking(cursor: pg.cursor, database: Database, rows: str, plans: Sequence[KeyPlan]) -> str:
    keys = compose("{dkim}", **known_names(database)).as_string(cursor)
    joins, wheres = "", []
    for number, plan in enumerate(plans):
        # Literals, not arguments: a value of the pillar in ``rows`` may contain a %.
        selector = driver().sql.Literal(plan.selector).as_string(cursor)
        bits = f" AND bits = {int(plan.bits)}" if plan.algorithm == "rsa" else ""
        joins += (
            f" LEFT JOIN (SELECT domain FROM {keys} WHERE state = 'active' AND address = ''"
            f" AND algorithm = '{plan.algorithm}' AND selector = {selector}{bits}) AS k{number}"
            f" ON k{number}.domain = r.name"
        )
        wheres.append(f"k{number}.domain IS NULL")
    # OFFSET makes the planner compare the keys first, so that READABLE is evaluated for few names.
    return (
        f"SELECT DISTINCT lower(name) FROM (SELECT r.name FROM ({rows}) AS r{joins}"
        f" WHERE {' OR '.join(wheres) or 'false'} OFFSET 0) AS l WHERE {READABLE}"
    )
