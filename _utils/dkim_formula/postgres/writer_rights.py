"""
The writer's rights in the database: only those for keys, rotation and records.

The writer owns nothing, is no superuser and can't change a table, a view, a role or an access
file. The writer reads private keys, because the formula parses a key before the key signs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..settings.model import Database
from .objects import names
from .sql import is_superuser, quoted

if TYPE_CHECKING:
    import psycopg2.extensions as pg

    from .grants import Grant

# The privileges on each table, by the names of ``objects.names``. Rows of the history are never
# changed or deleted. Triggers write ``signing`` with the rights of their owner.
TABLES: dict[str, tuple[str, ...]] = {
    "dkim": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "pattern": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "history": ("SELECT", "INSERT"),
    "published": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "observation": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "awaited": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "disclosure": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "replica": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "alias_domain": ("SELECT", "INSERT", "DELETE"),
    "signing": ("SELECT",),
    "migration": ("SELECT",),
}

# Functions by which the writer reads what its own role can't: tables of domains, standby servers.
FUNCTIONS = ("hosted_rows", "hosted", "replicas")

_MISSING_ON_TABLES = """
SELECT w.privilege, n.nspname, c.relname
  FROM unnest(%s::text[], %s::text[], %s::text[]) AS w (namespace, relation, privilege)
  JOIN pg_namespace AS n ON n.nspname = w.namespace
  JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.relation
 WHERE NOT has_table_privilege(c.oid, w.privilege)
"""

_MISSING_ON_FUNCTIONS = """
SELECT n.nspname, p.proname FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
 WHERE n.nspname = %s AND p.proname = ANY (%s) AND NOT has_function_privilege(p.oid, 'EXECUTE')
 ORDER BY 2
"""

# The owners that the session's role must be a member of: ALTER and GRANT require the owner.
_NOT_MEMBER_OF = """
SELECT DISTINCT pg_get_userbyid(c.relowner)
  FROM unnest(%s::text[], %s::text[]) AS w (namespace, relation)
  JOIN pg_namespace AS n ON n.nspname = w.namespace
  JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.relation
 WHERE NOT pg_has_role(c.relowner, 'USAGE')
"""


def desired(cursor: pg.cursor | None, database: Database) -> frozenset[Grant]:
    """
    Return the rights that the writer is to have, in the notation of GRANT.

    cursor
        A cursor of a set-up session; None if the database does not exist yet.
    """
    known = names(database)
    found: set[Grant] = {
        ("DATABASE", quoted(database.name), "CONNECT"),
        ("DATABASE", quoted(database.name), "TEMPORARY"),
        ("SCHEMA", quoted(database.schema), "USAGE"),
    }
    if cursor is None or is_superuser(cursor.connection):
        # secret_writes.change needs it if an administrator has revoked it from PUBLIC.
        found.add(("LANGUAGE", quoted("plpgsql"), "USAGE"))
    found |= {("FUNCTION", f"{_qualified(*known[name])}()", "EXECUTE") for name in FUNCTIONS}
    for table, privileges in TABLES.items():
        found |= {("TABLE", _qualified(*known[table]), privilege) for privilege in privileges}
    if cursor is not None:
        numbered = [(*known["dkim"], "id")]
        found |= {("SEQUENCE", one, "USAGE") for one in sequences(cursor, numbered)}
    return frozenset(found)


def _qualified(schema: str, name: str) -> str:
    return f"{quoted(schema)}.{quoted(name)}"


def sequences(cursor: pg.cursor, numbered: list[tuple[str, str, str]]) -> list[str]:
    """
    Return the sequences that number these columns by a default, as ``serial`` does.

    The sequence of an identity column needs no right.
    """
    cursor.execute(
        """
        SELECT sn.nspname, s.relname
          FROM unnest(%s::text[], %s::text[], %s::text[]) AS w (namespace, relation, attribute)
          JOIN pg_namespace AS n ON n.nspname = w.namespace
          JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.relation
          JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = w.attribute
          JOIN pg_attrdef AS f ON f.adrelid = c.oid AND f.adnum = a.attnum
          JOIN pg_depend AS d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
               AND d.refclassid = 'pg_class'::regclass
          JOIN pg_class AS s ON s.oid = d.refobjid AND s.relkind = 'S'
          JOIN pg_namespace AS sn ON sn.oid = s.relnamespace
        """,
        tuple(map(list, zip(*numbered, strict=True))),
    )
    return [_qualified(*row) for row in cursor]


def sufficient(cursor: pg.cursor, database: Database) -> bool:
    """Return whether every table and function exists, and the session's role has its rights."""
    known = names(database)
    required = [(*known[table], right) for table, rights in TABLES.items() for right in rights]
    cursor.execute(
        """
        SELECT coalesce(bool_and(coalesce(has_table_privilege(c.oid, w.privilege), false)), false)
          FROM unnest(%s::text[], %s::text[], %s::text[]) AS w (namespace, relation, privilege)
          LEFT JOIN pg_namespace AS n ON n.nspname = w.namespace
          LEFT JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.relation
        """,
        tuple(map(list, zip(*required, strict=True))),
    )
    if not cursor.fetchone()[0]:
        return False
    cursor.execute(
        """
        SELECT count(*) = %s
          FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
         WHERE n.nspname = %s AND p.proname = ANY (%s)
           AND has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE')
        """,
        (len(FUNCTIONS), database.schema, [known[name][1] for name in FUNCTIONS]),
    )
    return cursor.fetchone()[0]


def lacking(cursor: pg.cursor, database: Database) -> list[str]:
    """
    Return the GRANT statements that the session's role needs.

    They grant the writer's missing rights, or if none is missing, those for set-up.
    """
    cursor.execute("SELECT current_user")
    me = quoted(cursor.fetchone()[0])
    grants = lacking_for_writer(cursor, database) or _lacking_for_setup(cursor, database)
    return [f"GRANT {grant} TO {me}" for grant in grants]


def lacking_for_writer(cursor: pg.cursor, database: Database) -> list[str]:
    """Return the writer's rights that the session's role lacks, in the notation of GRANT."""
    known = names(database)
    grants = [
        f"{right} ON {kind} {quoted(name)}"
        for kind, name, right in _lacking_on_containers(cursor, database)
    ]
    required = [(*known[table], right) for table, rights in TABLES.items() for right in rights]
    cursor.execute(_MISSING_ON_TABLES, tuple(map(list, zip(*required, strict=True))))
    grants += [f"{right} ON {quoted(schema)}.{quoted(name)}" for right, schema, name in cursor]
    functions = [known[function][1] for function in FUNCTIONS]
    cursor.execute(_MISSING_ON_FUNCTIONS, (database.schema, functions))
    return grants + [
        f"EXECUTE ON FUNCTION {quoted(schema)}.{quoted(name)}()" for schema, name in cursor
    ]


def _lacking_on_containers(cursor: pg.cursor, database: Database) -> list[tuple[str, str, str]]:
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


def _lacking_for_setup(cursor: pg.cursor, database: Database) -> list[str]:
    known = names(database)
    tables = [known[table] for table in TABLES]
    read = (database.domains, database.aliases)
    tables += [(one.schema, one.table) for one in read if one is not None]
    cursor.execute(_NOT_MEMBER_OF, tuple(map(list, zip(*tables, strict=True))))
    grants = [quoted(owner) for (owner,) in cursor]
    cursor.execute(
        "SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = %s",
        (database.schema,),
    )
    if cursor.fetchone() == (False,):
        grants.append(f"CREATE ON SCHEMA {quoted(database.schema)}")
    return grants
