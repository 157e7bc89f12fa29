"""Rights of PUBLIC on the formula's objects, and the reader's access to other objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..plan import Plan, change
from ..settings.model import Database
from .objects import FUNCTIONS, OPEN_FUNCTION, TABLES, VIEWS, names
from .sql import acting_as, quoted

if TYPE_CHECKING:
    import psycopg2.extensions as pg

    # The privilege and the object, in the notation of REVOKE, and the grantor (None: the owner).
    Grant = tuple[str, str, str | None]

_EXAMPLES = 5

# A function without an access list may be executed by PUBLIC (GRANT, Notes).
_GRANTS = """
SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.relname::text, NULL, NULL,
       a.privilege_type, CASE WHEN a.grantor <> c.relowner THEN pg_get_userbyid(a.grantor) END
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace,
       aclexplode(c.relacl) AS a
 WHERE a.grantee = 0 AND n.nspname = %(schema)s AND c.relname = ANY (%(relations)s)
UNION ALL
SELECT 'TABLE', c.relname::text, t.attname::text, NULL, a.privilege_type,
       CASE WHEN a.grantor <> c.relowner THEN pg_get_userbyid(a.grantor) END
  FROM pg_attribute AS t JOIN pg_class AS c ON c.oid = t.attrelid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace, aclexplode(t.attacl) AS a
 WHERE a.grantee = 0 AND n.nspname = %(schema)s AND c.relname = ANY (%(relations)s)
UNION ALL
SELECT 'FUNCTION', p.proname::text, NULL, pg_get_function_identity_arguments(p.oid),
       a.privilege_type, CASE WHEN a.grantor <> p.proowner THEN pg_get_userbyid(a.grantor) END
  FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace,
       aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
 WHERE a.grantee = 0 AND n.nspname = %(schema)s AND p.proname = ANY (%(functions)s)
 ORDER BY 1, 2, 3, 5
"""

# The relations and schemas that a role has rights on: by own grants, by memberships, by PUBLIC.
_REACHED = """
SELECT format('%%I.%%I', n.nspname, c.relname)
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_'
   AND n.nspname <> 'information_schema'
   AND NOT (n.nspname = %(schema)s AND c.relname = ANY (%(views)s))
   AND has_schema_privilege(%(reader)s, n.oid, 'USAGE')
   AND (has_table_privilege(%(reader)s, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
        OR has_any_column_privilege(%(reader)s, c.oid, 'SELECT, INSERT, UPDATE'))
UNION ALL
SELECT format('schema %%I (CREATE)', n.nspname)
  FROM pg_namespace AS n
 WHERE n.nspname !~ '^pg_' AND has_schema_privilege(%(reader)s, n.oid, 'CREATE')
 ORDER BY 1
"""


def read(connection: pg.connection, database: Database) -> tuple[Grant, ...]:
    """Return PUBLIC's rights on the formula's tables, views and functions."""
    known = {thing: name[1] for thing, name in names(database).items() if thing != "schema"}
    with connection.cursor() as cursor:
        cursor.execute(
            _GRANTS,
            {
                "schema": database.schema,
                "relations": [*(known[table] for table in TABLES), *VIEWS],
                "functions": [known[thing] for thing in FUNCTIONS if thing != OPEN_FUNCTION],
            },
        )
        return tuple(_grant(database.schema, *row) for row in cursor)


def plan(grants: tuple[Grant, ...]) -> Plan:
    """Plan an entry for each right that is to be revoked."""
    return Plan(
        {
            f"{privilege} on {thing} for PUBLIC": change(True, False)
            for privilege, thing, _ in grants
        }
    )


def apply(connection: pg.connection, database: Database) -> Plan:
    """Revoke PUBLIC's rights in one transaction. Return the plan that was carried out."""
    grants = read(connection, database)
    with connection.cursor() as cursor:
        for privilege, thing, grantor in grants:
            with acting_as(cursor, grantor):
                cursor.execute(f"REVOKE {privilege} ON {thing} FROM PUBLIC CASCADE")
    connection.commit()
    return plan(grants)


def reached(connection: pg.connection, database: Database) -> list[str]:
    """Return a sentence on what the reader can access beside the formula's views, if anything."""
    given = {
        "schema": database.schema,
        "views": list(VIEWS),
        "reader": database.reader.name,
    }
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_roles WHERE rolname = %(reader)s", given)
        if not cursor.rowcount:
            return []
        cursor.execute(_REACHED, given)
        found = [name for (name,) in cursor]
    if not found:
        return []
    shown = ", ".join(found[:_EXAMPLES]) + (", …" if len(found) > _EXAMPLES else "")
    return [
        f"dkim:database:reader: {database.reader.name} can reach {len(found)} things beside the "
        f"views, by grants to PUBLIC or to a role that it is a member of: {shown}; the next run "
        "revokes what is granted to it alone or on the formula's own tables; REVOKE the rest"
    ]


def _grant(
    schema: str,
    kind: str,
    name: str,
    column: str | None,
    arguments: str | None,
    privilege: str,
    grantor: str | None,
) -> Grant:
    thing = f"{kind} {quoted(schema)}.{quoted(name)}"
    if arguments is not None:
        thing += f"({arguments})"
    if column is not None:
        privilege += f" ({quoted(column)})"
    return privilege, thing, grantor
