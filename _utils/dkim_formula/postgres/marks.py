"""The comments that tell the formula's roles from the site's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# What a role's comment says: the formula made the role, or uses one that was there before.
_MADE, _USED = "made", "used"
_MARK = re.compile(f"({_MADE}|{_USED}) by the dkim formula for the database (.+)", re.DOTALL)


def read(cursor: pg.cursor, oid: int) -> tuple[str | None, bool]:
    """Return a role's comment, and whether the session may give it another."""
    # COMMENT, Notes: CREATEROLE, and from PostgreSQL 16 on the ADMIN option on that role too.
    admin = (
        "rolcreaterole AND pg_has_role(%s, 'MEMBER WITH ADMIN OPTION')"
        if cursor.connection.server_version >= 160000
        else "rolcreaterole AND %s IS NOT NULL"
    )
    cursor.execute(
        f"SELECT shobj_description(%s, 'pg_authid'), rolsuper OR ({admin})"
        " FROM pg_roles WHERE rolname = current_user",
        (oid, oid),
    )
    return cursor.fetchone()


def due(comment: str | None, database: str, made: bool) -> str | None:
    """
    Return the comment that a role is to get; None where it keeps the one that it has.

    comment
        Its present one. A comment of the site's stays.
    made
        The formula makes the role just now.
    """
    found = None if comment is None else _MARK.fullmatch(comment)
    if comment is not None and found is None:
        return None
    verb = found[1] if found else (_MADE if made else _USED)
    new = f"{verb} by the dkim formula for the database {database}"
    return None if new == comment else new


def database_of(comment: str | None) -> str | None:
    """Return the database of the formula's comment; None for another comment or none."""
    found = _MARK.fullmatch(comment or "")
    return found[2] if found else None


def is_made(comment: str | None) -> bool:
    """Tell whether a role's comment says that the formula made it."""
    found = _MARK.fullmatch(comment or "")
    return found is not None and found[1] == _MADE
