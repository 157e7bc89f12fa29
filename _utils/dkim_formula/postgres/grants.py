"""The rights that are granted to a role in this database, read and changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from .driver import driver
from .sql import acting_as, execute_or_report, quoted

if TYPE_CHECKING:
    import psycopg2.extensions as pg


Grant = tuple[str, str, str]  # kind, name as SQL writes it, privilege
_PLAIN_NAME = re.compile(r'"([a-z_][a-z0-9_]*)"')
_GRANTABLE = " WITH GRANT OPTION"
# The access privileges of each catalogue by aclexplode: the kind of object as REVOKE writes it,
# its qualified name, and the grantor if that is not the owner. Names are always quoted, because
# PostgreSQL's format('%I') omits the quotes by its own list of keywords.
_GRANTS = """
    SELECT kind, name, privilege_type, is_grantable,
           CASE WHEN grantor <> owner THEN pg_get_userbyid(grantor) END
    FROM (
        SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind,
               {schema} || '.' || {relation} AS name, a.*, c.relowner AS owner
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
             aclexplode(c.relacl) a
        UNION ALL
        SELECT 'COLUMN', {schema} || '.' || {relation} || '(' || {column} || ')', a.*, c.relowner
        FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid
             JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(t.attacl) a
        UNION ALL
        SELECT CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END,
               {schema} || '.' || {function} || '('
                   || pg_get_function_identity_arguments(p.oid) || ')',
               a.*, p.proowner
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace, aclexplode(p.proacl) a
        UNION ALL
        SELECT 'SCHEMA', {schema}, a.*, n.nspowner
        FROM pg_namespace n, aclexplode(n.nspacl) a
        UNION ALL
        SELECT 'DATABASE', {database}, a.*, d.datdba
        FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = current_database()
        UNION ALL
        SELECT 'LANGUAGE', {language}, a.*, l.lanowner
        FROM pg_language l, aclexplode(l.lanacl) a
        UNION ALL
        SELECT 'TYPE', {schema} || '.' || {type}, a.*, t.typowner
        FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace, aclexplode(t.typacl) a
        UNION ALL
        SELECT CASE f.defaclobjtype WHEN 'r' THEN 'DEFAULT TABLES' WHEN 'S' THEN 'DEFAULT SEQUENCES'
                    WHEN 'f' THEN 'DEFAULT FUNCTIONS' WHEN 'T' THEN 'DEFAULT TYPES'
                    ELSE 'DEFAULT SCHEMAS' END,
               'FOR ROLE ' || {maker} || coalesce(' IN SCHEMA ' || {schema}, ''),
               a.*, f.defaclrole
        FROM pg_default_acl f JOIN pg_roles r ON r.oid = f.defaclrole
             LEFT JOIN pg_namespace n ON n.oid = f.defaclnamespace, aclexplode(f.defaclacl) a
    ) AS granted
    WHERE grantee = %s
    ORDER BY 1, 2, 3, 4, 5 NULLS FIRST
""".format(
    **{
        what: f"""'"' || replace({column}::text, '"', '""') || '"'"""
        for what, column in (
            ("schema", "n.nspname"),
            ("relation", "c.relname"),
            ("column", "t.attname"),
            ("function", "p.proname"),
            ("database", "d.datname"),
            ("language", "l.lanname"),
            ("type", "t.typname"),
            ("maker", "r.rolname"),
        )
    }
)
# False if the session may not grant the right and PUBLIC has the right, so that each role has it.
_GIVEN = {
    "DATABASE": "has_database_privilege(%(name)s, %(right)s || ' WITH GRANT OPTION')"
    " OR NOT has_database_privilege('public', %(name)s, %(right)s)",
    "SCHEMA": "has_schema_privilege(%(name)s, %(right)s || ' WITH GRANT OPTION')"
    " OR NOT has_schema_privilege('public', %(name)s, %(right)s)",
}


def read(cursor: pg.cursor, oid: int) -> dict[Grant, tuple[str | None, ...]]:
    """Return what is granted to a role, each with its grantors. None is the object's owner."""
    cursor.execute(_GRANTS, (oid,))
    grantors: dict[Grant, tuple[str | None, ...]] = {}
    for kind, name, privilege, grantable, grantor in cursor:
        for what in (privilege, privilege + _GRANTABLE) if grantable else (privilege,):
            grant = (kind, name, what)
            grantors[grant] = (*grantors.get(grant, ()), grantor)
    return grantors


def to_read(relations: Iterable[tuple[str, str]], dbname: str) -> set[Grant]:
    """Return the grants that a role needs to SELECT from relations: (schema, name) pairs."""
    tables = {("TABLE", f"{quoted(schema)}.{quoted(name)}", "SELECT") for schema, name in relations}
    if not tables:
        return tables
    uses = {("SCHEMA", quoted(schema), "USAGE") for schema, _ in relations}
    # An administrator may have revoked CONNECT from PUBLIC.
    return {*tables, *uses, ("DATABASE", quoted(dbname), "CONNECT")}


def by_public(cursor: pg.cursor, desired: Iterable[Grant]) -> frozenset[Grant]:
    """Return the desired rights that PUBLIC has and that the session may not grant."""
    found = set()
    for grant in desired:
        kind, name, right = grant
        if kind in _GIVEN:
            plain = name[1:-1].replace('""', '"')
            cursor.execute(f"SELECT {_GIVEN[kind]}", {"name": plain, "right": right})
            if cursor.fetchone()[0] is False:
                found.add(grant)
    return frozenset(found)


def change(
    cursor: pg.cursor,
    role: str,
    present: Mapping[Grant, tuple[str | None, ...]],
    needed: frozenset[Grant],
) -> None:
    """
    Grant the rights that a role lacks, and revoke the rights that it does not need.

    present
        The role's present rights, as :func:`read` returns them.
    """
    excess = sorted(present.keys() - needed)
    for grant in excess:
        for grantor in present[grant]:
            _revoke(cursor, role, grant, grantor)
    # Revoking a right on a table also revokes it on the table's columns (REVOKE, Notes).
    for grant in sorted(needed if excess else needed - present.keys()):
        _execute(cursor, role, f"GRANT {_clause(grant)} TO {{name}}")


def text(grant: Grant, dbname: str) -> str:
    """Return the text of a grant in a plan."""
    kind, name, privilege = grant
    return f"{privilege} on {kind.lower()} {_shown(name)} of {dbname}"


def _shown(name: str) -> str:
    return _PLAIN_NAME.sub(r"\1", name)


def _revoke(cursor: pg.cursor, role: str, grant: Grant, grantor: str | None) -> None:
    with acting_as(cursor, grantor):
        _execute(cursor, role, _revocation(grant))


def _revocation(grant: Grant) -> str:
    kind, name, privilege = grant
    option = "GRANT OPTION FOR " if privilege.endswith(_GRANTABLE) else ""
    privilege = privilege.removesuffix(_GRANTABLE)
    if kind.startswith("DEFAULT "):
        objects = kind.removeprefix("DEFAULT ")
        revoke = f"REVOKE {option}{privilege} ON {objects} FROM {{name}}"
        return f"ALTER DEFAULT PRIVILEGES {name} {revoke}"
    return f"REVOKE {option}{_clause((kind, name, privilege))} FROM {{name}} CASCADE"


def _clause(grant: Grant) -> str:
    kind, name, privilege = grant
    if kind != "COLUMN":
        return f"{privilege} ON {kind} {name}"
    table, _, column = name.rstrip(")").rpartition("(")
    return f"{privilege} ({column}) ON TABLE {table}"


def _execute(cursor: pg.cursor, role: str, statement: str) -> None:
    # The objects' names in the statement are already quoted, and may contain braces.
    sql = driver().sql
    head, _, tail = statement.rpartition("{name}")
    execute_or_report(cursor, sql.SQL(head) + sql.Identifier(role) + sql.SQL(tail))
