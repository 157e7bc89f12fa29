"""The SQL function that shows standby servers to a role without pg_read_all_stats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..settings.model import Database
from .objects import names
from .sql import compose, is_superuser

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# Without this right pg_stat_replication has a row for each standby, and NULL in its columns.
RIGHT = "pg_read_all_stats"
# The text instead of the address of a standby that the function may not see.
HIDDEN = "hidden"

# pg_basebackup and pg_receivewal replay nothing, so their replay_lsn is NULL: no mail host reads
# from them. A subscriber of logical replication has no copy of the formula's views.
_REPLICAS = """
CREATE OR REPLACE FUNCTION {replicas} () RETURNS TABLE (name text, address text, replayed pg_lsn)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
SELECT DISTINCT CASE WHEN sees THEN coalesce(r.application_name, '') ELSE '' END,
       CASE WHEN sees THEN coalesce(host(r.client_addr), 'socket') ELSE '%(hidden)s' END,
       r.replay_lsn
  FROM pg_stat_replication AS r, pg_has_role(current_user, '%(right)s', 'USAGE') AS sees
 WHERE NOT EXISTS (SELECT FROM pg_replication_slots AS s
                    WHERE s.active_pid = r.pid AND s.slot_type = 'logical')
   AND (r.replay_lsn IS NOT NULL OR NOT sees)
$$
"""


def statement(cursor: pg.cursor, database: Database) -> str:
    """Return the statement that defines the function."""
    return compose(_REPLICAS % {"right": RIGHT, "hidden": HIDDEN}, **names(database)).as_string(
        cursor
    )


def let_owner_see(cursor: pg.cursor, database: Database) -> None:
    """Grant the function's owner the right to see standby servers, if the session may grant it."""
    if is_superuser(cursor.connection):
        owner = database.keys_owner
        cursor.execute(compose("GRANT {right} TO {owner}", right=RIGHT, owner=owner))
