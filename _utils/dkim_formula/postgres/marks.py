"""The comments on roles that mark which roles the formula made or uses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# The verb of a role's comment: the formula made the role, or uses a role that existed before. The
# formula removes the second comment when it ceases to use the role.
_MADE, _USED = "made", "used"
_MARK = re.compile(f"({_MADE}|{_USED}) by the dkim formula for the database (.+)", re.DOTALL)


def read(cursor: pg.cursor, oid: int) -> tuple[str | None, bool]:
    """Return a role's comment, and whether the session may change the comment."""
    # COMMENT, Notes: this needs CREATEROLE, and from PostgreSQL 16 on also the ADMIN option on the
    # role.
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


def new_comment(comment: str | None, database: str, made: bool) -> str | None:
    """
    Return the new comment of a role, or None if the present comment stays.

    comment
        The present comment. A comment that is not the formula's stays.
    made
        Whether the formula makes the role in this run.
    """
    found = None if comment is None else _MARK.fullmatch(comment)
    if comment is not None and found is None:
        return None
    verb = found[1] if found else (_MADE if made else _USED)
    new = f"{verb} by the dkim formula for the database {database}"
    return None if new == comment else new


def database_of(comment: str | None) -> str | None:
    """Return the database that a comment of the formula names; None for any other comment."""
    found = _MARK.fullmatch(comment or "")
    return found[2] if found else None


def is_made(comment: str | None) -> bool:
    """Return whether a role's comment says that the formula made the role."""
    found = _MARK.fullmatch(comment or "")
    return found is not None and found[1] == _MADE
