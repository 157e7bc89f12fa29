"""Which rights a session's role lacks for the formula's work, measured after a refusal (42501)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..database import worker
from ..database.objects import names, quoted
from ..settings.model import Database

if TYPE_CHECKING:
    import psycopg2.extensions as pg

_TABLES = """
SELECT w.privilege, n.nspname, c.relname
  FROM unnest(%s::text[], %s::text[], %s::text[]) AS w (namespace, relation, privilege)
  JOIN pg_namespace AS n ON n.nspname = w.namespace
  JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.relation
 WHERE NOT has_table_privilege(c.oid, w.privilege)
"""
_FUNCTIONS = """
SELECT n.nspname, p.proname FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
 WHERE n.nspname = %s AND p.proname = ANY (%s) AND NOT has_function_privilege(p.oid, 'EXECUTE')
 ORDER BY 2
"""
# Whose member the session's role would have to be, for what ALTER and GRANT ask.
_OWNERS = """
SELECT DISTINCT pg_get_userbyid(c.relowner)
  FROM unnest(%s::text[], %s::text[]) AS w (namespace, relation)
  JOIN pg_namespace AS n ON n.nspname = w.namespace
  JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.relation
 WHERE NOT pg_has_role(c.relowner, 'USAGE')
"""


def lacking(cursor: pg.cursor, database: Database) -> list[str]:
    """
    Return the GRANT statements that the session's role needs: for the daily work, or, where it has
    all rights for that, for set-up.
    """
    cursor.execute("SELECT current_user")
    me = quoted(cursor.fetchone()[0])
    known = names(database)
    grants = [
        f"{right} ON {kind} {quoted(name)}" for kind, name, right in _places(cursor, database)
    ]
    wants = [(*known[table], right) for table, rights in worker.TABLES.items() for right in rights]
    cursor.execute(_TABLES, tuple(map(list, zip(*wants, strict=True))))
    grants += [f"{right} ON {quoted(schema)}.{quoted(name)}" for right, schema, name in cursor]
    functions = [known[function][1] for function in worker.FUNCTIONS]
    cursor.execute(_FUNCTIONS, (database.schema, functions))
    grants += [f"EXECUTE ON FUNCTION {quoted(schema)}.{quoted(name)}()" for schema, name in cursor]
    if not grants:
        grants = _for_setup(cursor, database)
    return [f"GRANT {grant} TO {me}" for grant in grants]


def _places(cursor: pg.cursor, database: Database) -> list[tuple[str, str, str]]:
    found = []
    cursor.execute("SELECT has_database_privilege(current_database(), 'TEMPORARY')")
    if not cursor.fetchone()[0]:
        found.append(("DATABASE", database.name, "TEMPORARY"))
    cursor.execute(
        "SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = %s",
        (database.schema,),
    )
    if cursor.fetchone() == (False,):
        found.append(("SCHEMA", database.schema, "USAGE"))
    return found


def _for_setup(cursor: pg.cursor, database: Database) -> list[str]:
    known = names(database)
    tables = [known[table] for table in worker.TABLES]
    read = (database.domains, database.aliases)
    tables += [(one.schema, one.table) for one in read if one is not None]
    cursor.execute(_OWNERS, tuple(map(list, zip(*tables, strict=True))))
    grants = [quoted(owner) for (owner,) in cursor]
    cursor.execute(
        "SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = %s",
        (database.schema,),
    )
    if cursor.fetchone() == (False,):
        grants.append(f"CREATE ON SCHEMA {quoted(database.schema)}")
    return grants
