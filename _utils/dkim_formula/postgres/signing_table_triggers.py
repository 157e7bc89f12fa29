"""
The flat table that answers OpenDKIM's look-ups: which key signs for which pattern.

OpenDBX prepares no statement, so PostgreSQL plans each look-up. Over a join, planning takes most of
the time (measured: 0.3 ms a look-up, 0.06 ms over one table). Triggers derive the table from the
tables of keys and of patterns, for all rows of a statement at once. The primary key guarantees that
a pattern has one signing key for an algorithm, whichever program writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..settings.model import Database
from .objects import LOCK_CLASS, LOCK_PATTERNS, names
from .sql import compose

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# The desired rows of the table: every pattern with an active key.
ROWS = """
    SELECT k.domain AS pattern, k.algorithm, k.identifier
      FROM {dkim} AS k
     WHERE k.state = 'active' AND k.address = ''
    UNION ALL
    SELECT p.pattern, k.algorithm, k.identifier
      FROM {pattern} AS p
      JOIN {dkim} AS k ON k.domain = p.domain AND k.address = p.address
     WHERE k.state = 'active'
"""

# The rows of the table that follow from some keys, or from some patterns.
_OF_KEYS = """
    SELECT k.domain AS pattern, k.algorithm, k.id::text AS identifier
      FROM ({rows}) AS k
     WHERE k.address = ''
    UNION ALL
    SELECT p.pattern, k.algorithm, k.id::text
      FROM ({rows}) AS k
      JOIN {{pattern}} AS p ON p.domain = k.domain AND p.address = k.address
"""
_OF_PATTERNS = """
    SELECT p.pattern, k.algorithm, k.identifier
      FROM ({rows}) AS p
      JOIN {{dkim}} AS k ON k.domain = p.domain AND k.address = p.address AND k.state = 'active'
"""
_KEYS = "SELECT domain, address, algorithm, id FROM {}_rows WHERE state = 'active'"
_PATTERNS = "SELECT pattern, domain, address FROM {}_rows"


def _changes(of: str, changed: str) -> str:
    """Return the statements that delete rows without a signing key and insert those with one."""
    old, new = changed.format("old"), changed.format("new")
    removed = of.format(rows=f"{old} EXCEPT {new}")
    added = of.format(rows=f"{new} EXCEPT {old}")
    return (
        f"IF TG_OP = 'INSERT' THEN {_insert(of.format(rows=new))}"
        f" ELSIF TG_OP = 'DELETE' THEN {_delete(of.format(rows=old))}"
        f" ELSE {_delete(removed)} {_insert(added)} END IF;"
    )


def _insert(rows: str) -> str:
    return f"INSERT INTO {{signing}} (pattern, algorithm, identifier) {rows};"


def _delete(rows: str) -> str:
    return (
        f"DELETE FROM {{signing}} AS s USING ({rows}) AS r WHERE s.pattern = r.pattern"
        " AND s.algorithm = r.algorithm AND s.identifier = r.identifier;"
    )


_DELETE_STRAY = f"""
    DELETE FROM {{signing}} AS s
     WHERE NOT EXISTS (
           SELECT FROM ({ROWS}) AS r
            WHERE r.pattern = s.pattern AND r.algorithm = s.algorithm
              AND r.identifier = s.identifier);
"""

# The locks let a transaction that activates a key see a new pattern for the key, and the reverse.
# With the planner's settings each row is looked up by an index. Otherwise statistics from when a
# table was small make a bulk load quadratic (measured: nine minutes for a twentieth of 100,000
# keys). PostgreSQL's own error on a violated primary key names the pattern only in its DETAIL.
_KEPT = f"""
CREATE OR REPLACE FUNCTION {{signing_kept}} () RETURNS trigger %(rights)s
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    detail text;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM {{signing_redraw}} ();
    ELSIF TG_TABLE_NAME = 'dkim_pattern' THEN
        PERFORM pg_advisory_xact_lock({LOCK_CLASS}, {LOCK_PATTERNS});
        {_changes(_OF_PATTERNS, _PATTERNS)}
    ELSE
        PERFORM pg_advisory_xact_lock_shared({LOCK_CLASS}, {LOCK_PATTERNS});
        {_changes(_OF_KEYS, _KEYS)}
    END IF;
    RETURN NULL;
EXCEPTION WHEN unique_violation THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RAISE 'dkim: the pattern %% has an active %% key already',
        substring(detail from '=[(](.*), [a-z0-9]+[)]'),
        substring(detail from '=[(].*, ([a-z0-9]+)[)]')
        USING ERRCODE = 'unique_violation';
END
$$
"""

# For rows that were loaded while the triggers were disabled. Always by hash joins, whatever sizes
# PostgreSQL assumes: with nested loops 100,000 keys took more than seven minutes (measured).
_REDRAW = f"""
CREATE OR REPLACE FUNCTION {{signing_redraw}} () RETURNS void %(rights)s
    SET enable_nestloop = off AS $$
BEGIN
    {_DELETE_STRAY}
    INSERT INTO {{signing}} (pattern, algorithm, identifier)
    SELECT r.pattern, r.algorithm, r.identifier
      FROM ({ROWS}) AS r
     WHERE NOT EXISTS (
           SELECT FROM {{signing}} AS s
            WHERE s.pattern = r.pattern AND s.algorithm = r.algorithm);
END
$$
"""

FUNCTIONS = (_REDRAW, _KEPT)
EMPTIED = """
CREATE OR REPLACE TRIGGER dkim_signing_emptied AFTER TRUNCATE ON {dkim}
    FOR EACH STATEMENT EXECUTE FUNCTION {signing_kept} ();
CREATE OR REPLACE TRIGGER dkim_signing_emptied AFTER TRUNCATE ON {pattern}
    FOR EACH STATEMENT EXECUTE FUNCTION {signing_kept} ()
"""


def fill(cursor: pg.cursor, database: Database) -> None:
    """Correct all rows of the table, without a commit."""
    known = names(database)
    cursor.execute(compose("SELECT {signing_redraw} ()", **known))
    # Without statistics the planner chooses a bitmap scan for a single row (measured).
    cursor.execute(compose("ANALYZE {signing}", **known))
