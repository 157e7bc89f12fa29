"""The role that owns the formula's own objects, and as which nobody logs in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..database.connection import compose, execute_or_tell, is_superuser

if TYPE_CHECKING:
    import psycopg2.extensions as pg


def make(cursor: pg.cursor, owner: str) -> None:
    """Makes the role where it is missing, and a session's role that is no superuser its member."""
    cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", (owner,))
    if not cursor.rowcount:
        cursor.execute(compose("CREATE ROLE {owner} NOLOGIN", owner=owner))
    if not is_superuser(cursor.connection):
        # Who makes an object another role's has to be a member of it (ALTER TABLE, Notes).
        cursor.execute("SELECT pg_has_role(%s, 'USAGE')", (owner,))
        if not cursor.fetchone()[0]:
            # From PostgreSQL 16 on it may, where it made the role itself.
            me = cursor.connection.info.user
            execute_or_tell(cursor, compose("GRANT {owner} TO {me}", owner=owner, me=me))


@contextlib.contextmanager
def may_create(cursor: pg.cursor, owner: str, schema: str) -> Iterator[None]:
    """
    Lets the role have objects in a schema meanwhile, as PostgreSQL asks of whom a role that is no
    superuser gives an object to (ALTER TABLE, Notes).
    """
    cursor.execute("SELECT has_schema_privilege(%s, %s, 'CREATE')", (owner, schema))
    given = not is_superuser(cursor.connection) and not cursor.fetchone()[0]
    known = {"schema": schema, "owner": owner}
    if given:
        cursor.execute(compose("GRANT CREATE ON SCHEMA {schema} TO {owner}", **known))
    yield
    if given:
        cursor.execute(compose("REVOKE CREATE ON SCHEMA {schema} FROM {owner}", **known))
