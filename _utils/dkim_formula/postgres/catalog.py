"""Queries of PostgreSQL's catalogue: relations, columns and indexes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg2.extensions as pg


def relation_kind(cursor: pg.cursor, schema: str, name: str) -> str | None:
    """Return ``pg_class.relkind`` of the relation with that name, or None."""
    cursor.execute(
        """
        SELECT c.relkind::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname = %s AND c.relname = %s
        """,
        (schema, name),
    )
    row = cursor.fetchone()
    return None if row is None else row[0]


def columns(cursor: pg.cursor, schema: str, table: str) -> dict[str, str]:
    """Return a table's or view's columns, in order, with their types; empty if it is missing."""
    cursor.execute(
        """
        SELECT a.attname, format_type(a.atttypid, a.atttypmod)
          FROM pg_attribute AS a
          JOIN pg_class AS c ON c.oid = a.attrelid
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped
         ORDER BY a.attnum
        """,
        (schema, table),
    )
    return dict(cursor.fetchall())


def has_index(
    cursor: pg.cursor, schema: str, table: str, column: str, *, unique: bool = False
) -> bool:
    """
    Return whether a valid, not partial index begins with the column.

    unique
        Whether the index must be unique and on that column alone.
    """
    cursor.execute(
        """
        SELECT count(*) > 0
          FROM pg_index AS i
          JOIN pg_class AS c ON c.oid = i.indrelid
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
          JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
         WHERE n.nspname = %s AND c.relname = %s AND a.attname = %s
           AND i.indpred IS NULL AND i.indisvalid
           AND (NOT %s OR (i.indisunique AND i.indnkeyatts = 1))
        """,
        (schema, table, column, unique),
    )
    return cursor.fetchone()[0]
