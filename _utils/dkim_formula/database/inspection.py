"""What stands in the way of signing from this database, found before anything is changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..settings.model import Database
from .connection import compose
from .objects import VIEWS, names

if TYPE_CHECKING:
    import psycopg2.extensions as pg

_HOWTO = ("id", "domain_id", "selector", "key")
_OURS = (
    "algorithm",
    "bits",
    "public_key",
    "state",
    "address",
    "created_at",
    "activated_at",
    "retired_at",
    "revoked_at",
)
_TABLES = ("r", "p")
_EXAMPLES = 5


@dataclass(frozen=True)
class Inspection:
    """``problems`` forbid going on; ``advice`` is legal but unwise. Sentences for a person."""

    problems: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


def inspect(connection: pg.connection, database: Database) -> Inspection:
    """
    Looks at the site's domains table and at a ``dkim`` table that may be there; changes nothing.

    A domains table that is not there is no problem here: whether it may be made is the schema's
    plan to say.
    """
    with connection.cursor() as cursor:
        found = problems(cursor, database)
        advice = () if found else tuple(_names_advice(cursor, database))
    return Inspection(found, advice)


def problems(cursor: pg.cursor, database: Database) -> tuple[str, ...]:
    """The first half of :func:`inspect`: catalogue alone, no row is read."""
    found = [
        *_domains_problems(cursor, database),
        *_dkim_problems(cursor, database),
        *_view_problems(cursor, database),
    ]
    return tuple(found or _rights_problems(cursor, database))


def relation_kind(cursor: pg.cursor, schema: str, name: str) -> str | None:
    """``pg_class.relkind`` of what has that name, or None."""
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
    """The columns of a table or view, in their order, with their types; empty where it is not."""
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


def _domains_problems(cursor: pg.cursor, database: Database) -> list[str]:
    site = database.domains
    where = "dkim:database:domains"
    cursor.execute("SELECT count(*) FROM pg_namespace WHERE nspname = %s", (site.schema,))
    if not cursor.fetchone()[0]:
        return [f"{where}:schema: there is no schema {site.schema!r} in {database.name!r}"]
    kind = relation_kind(cursor, site.schema, site.table)
    if kind is None:
        return []
    if kind not in _TABLES:
        return [
            f"{where}:table: {site.schema}.{site.table} is no table, so no key can refer to its "
            "rows; name the table behind it"
        ]
    found = columns(cursor, site.schema, site.table)
    problems = [
        f"{where}:{key}: {site.schema}.{site.table} has no column {column!r}; it has "
        f"{', '.join(found)}"
        for key, column in (("id", site.id), ("name", site.name))
        if column not in found
    ]
    if not problems and not has_index(cursor, site.schema, site.table, site.id, unique=True):
        problems.append(
            f"{where}:id: {site.schema}.{site.table}.{site.id} is neither primary key nor unique, "
            "so no key can refer to it; add a UNIQUE constraint"
        )
    return problems


def _dkim_problems(cursor: pg.cursor, database: Database) -> list[str]:
    site = database.domains
    kind = relation_kind(cursor, site.schema, "dkim")
    if kind is None:
        return []
    table = f"{site.schema}.dkim"
    if kind not in _TABLES:
        return [f"{table} is there and is no table; rename it"]
    found = columns(cursor, site.schema, "dkim")
    missing = [column for column in _HOWTO if column not in found]
    if missing:
        return [
            f"{table} is not a table of keys as the howto makes one: it has no column "
            f"{', '.join(missing)}; rename it, or give it those columns"
        ]
    problems = []
    ours = [column for column in _OURS if column in found]
    if ours and not _is_adopted(cursor, database):
        problems.append(
            f"{table} has columns that the formula did not make and that it needs the names of: "
            f"{', '.join(ours)}; rename them"
        )
    refers = columns(cursor, site.schema, site.table).get(site.id)
    if refers is not None and refers != found["domain_id"]:
        problems.append(
            f"{table}.domain_id is {found['domain_id']}, {site.table}.{site.id} is {refers}: they "
            "must be of one type (dkim:database:domains:id)"
        )
    return problems


def _is_adopted(cursor: pg.cursor, database: Database) -> bool:
    if relation_kind(cursor, database.domains.schema, "dkim_migration") is None:
        return False
    cursor.execute(compose("SELECT count(*) FROM {migration} WHERE number = 2", **names(database)))
    return bool(cursor.fetchone()[0])


def _view_problems(cursor: pg.cursor, database: Database) -> list[str]:
    schema = database.domains.schema
    return [
        f"{schema}.{view} is there and is no view; rename it"
        for view in VIEWS
        if relation_kind(cursor, schema, view) not in (None, "v")
    ]


def _rights_problems(cursor: pg.cursor, database: Database) -> list[str]:
    """The views read with their owner's rights, who must therefore be let at the site's table."""
    site = database.domains
    if not (
        relation_kind(cursor, site.schema, "dkim") and columns(cursor, site.schema, site.table)
    ):
        return []
    cursor.execute(
        """
        SELECT pg_get_userbyid(d.relowner), s.oid::regclass::text
          FROM pg_class AS d
          JOIN pg_class AS s ON s.relnamespace = d.relnamespace AND s.relname = %s
          JOIN pg_namespace AS n ON n.oid = d.relnamespace
         WHERE n.nspname = %s AND d.relname = 'dkim'
           AND NOT has_table_privilege(d.relowner, s.oid, 'SELECT')
        """,
        (site.table, site.schema),
    )
    return [
        f"{owner}, who owns {site.schema}.dkim and so the views, can't read {table}: "
        f'GRANT SELECT ON {table} TO "{owner}"'
        for owner, table in cursor
    ]


def has_index(
    cursor: pg.cursor, schema: str, table: str, column: str, *, unique: bool = False
) -> bool:
    """Whether a whole index begins with the column; ``unique``: one on it alone that is unique."""
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


def _names_advice(cursor: pg.cursor, database: Database) -> list[str]:
    site = database.domains
    kind = columns(cursor, site.schema, site.table).get(site.name)
    if kind is None:
        return []
    table, advice = f"{site.schema}.{site.table}", []
    if not has_index(cursor, site.schema, site.table, site.name):
        advice.append(
            f"{table}.{site.name} has no index, so each message costs a scan of the table: "
            f"CREATE INDEX ON {table} ({site.name})"
        )
    elif not (kind == "text" or kind.startswith("character varying")):
        advice.append(
            f"{table}.{site.name} is {kind}, whose index does not answer a look-up by text: "
            f"CREATE INDEX ON {table} (({site.name}::text))"
        )
    # A unique index has looked already.
    if not has_index(cursor, site.schema, site.table, site.name, unique=True):
        advice += _advice_on(cursor, database, *_TWICE)
    if relation_kind(cursor, site.schema, "dkim_pattern"):
        advice += _advice_on(cursor, database, _SHADOWED, "also an extra pattern of another's key")
    return advice


_TWICE = (
    "{domain_name}::text IN"
    " (SELECT {domain_name}::text FROM {domains} GROUP BY 1 HAVING count(*) > 1)",
    "there more than once, and OpenDKIM takes the first row that it gets",
)

# The triggers don't let it come so; a domain that was renamed afterwards can.
_SHADOWED = """
{domain_name}::text IN (
    SELECT p.pattern
      FROM {pattern} AS p
      JOIN {dkim} AS other ON other.domain_id = p.domain_id AND other.address = p.address
      JOIN {domains} AS d ON d.{domain_name}::text = p.pattern
      JOIN {dkim} AS own ON own.domain_id = d.{domain_id} AND own.address = ''
     WHERE own.state = 'active' AND other.state = 'active' AND own.algorithm = other.algorithm
)
"""


def _advice_on(cursor: pg.cursor, database: Database, condition: str, what: str) -> list[str]:
    site = database.domains
    cursor.execute(
        compose(
            "SELECT {domain_name}::text, count(*) OVER () FROM {domains} WHERE "
            f"{condition} GROUP BY 1 ORDER BY 1 LIMIT {_EXAMPLES}",
            **names(database),
        )
    )
    rows = cursor.fetchall()
    if not rows:
        return []
    listed = ", ".join(name for name, _ in rows)
    return [f"{site.schema}.{site.table}: names that are {what}: {rows[0][1]}, such as {listed}"]
