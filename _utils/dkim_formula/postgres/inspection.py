"""What stands in the way of signing from this database, found before anything is changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..settings.model import Database
from . import adoption, hosted, presets
from .catalog import columns, relation_kind
from .objects import TABLES, VIEWS, names
from .sql import compose

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# What helps where a name is taken: nobody can rename a table of his mail panel.
_ELSEWHERE = (
    "set dkim:database:preset to the program that made it, or dkim:database:schema to a schema for "
    "the formula's own tables, such as dkim"
)
_AS_BEFORE = "set dkim:database:preset and dkim:database:schema as they were when these were made"
_HOWTO = ("id", "domain_id", "selector", "key")
_OURS = (
    "domain",
    "identifier",
    "algorithm",
    "bits",
    "public_key",
    "state",
    "address",
    "signs_with",
    "odd",
    "created_at",
    "activated_at",
    "retired_at",
    "revoked_at",
)
_TABLES = ("r", "p")


@dataclass(frozen=True)
class Inspection:
    """``problems`` forbid going on; ``advice`` is legal but unwise. Sentences for a person."""

    problems: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


def inspect(connection: pg.connection, database: Database) -> Inspection:
    """
    Looks at the tables that hosted domains are read from and at a ``dkim`` table that may be there;
    changes nothing.
    """
    with connection.cursor() as cursor:
        found = problems(cursor, database)
        advice = []
        if not found:
            advice += presets.advice(cursor, database)
            advice += hosted.not_counted(cursor, database)
            advice += names_advice(cursor, database)
    return Inspection(found, tuple(advice))


def problems(cursor: pg.cursor, database: Database) -> tuple[str, ...]:
    """The first half of :func:`inspect`: the catalogue alone is read."""
    return tuple(
        _schema_problems(cursor, database)
        or [text for text in [presets.problem(cursor, database)] if text]
        or [
            *hosted.problems(cursor, database),
            *_dkim_problems(cursor, database),
            *_names_taken(cursor, database),
            *_view_problems(cursor, database),
        ]
    )


def _schema_problems(cursor: pg.cursor, database: Database) -> list[str]:
    cursor.execute("SELECT quote_ident(%s) = %s", (database.schema,) * 2)
    if cursor.fetchone()[0]:
        return []
    return [
        f"dkim:database:schema: {database.schema!r} is a word or a name that SQL takes in quotes "
        "alone, and OpenDKIM writes none; give another"
    ]


def _dkim_problems(cursor: pg.cursor, database: Database) -> list[str]:
    kind = relation_kind(cursor, database.schema, database.keys_table)
    table = f"{database.schema}.{database.keys_table}"
    if kind is None:
        if _is_ours(cursor, database):
            return [f"{table} is missing, and the formula's other tables are there; {_AS_BEFORE}"]
        return [*_keys_elsewhere(cursor, database), *_other_keys(cursor, database)]
    if kind not in _TABLES:
        return [f"{table} is there and is no table; {_ELSEWHERE}"]
    return [] if _is_ours(cursor, database) else _howto_problems(cursor, database, table)


def _howto_problems(cursor: pg.cursor, database: Database, table: str) -> list[str]:
    """Why a table of that name can't be taken over as the howto's."""
    found = columns(cursor, database.schema, database.keys_table)
    missing = [column for column in _HOWTO if column not in found]
    if missing:
        return [
            f"{table} is not a table of keys as the howto makes one: it has no column "
            f"{', '.join(missing)}; {_ELSEWHERE}"
        ]
    ours = [column for column in _OURS if column in found]
    if ours:
        return [
            f"{table} has columns that the formula did not make and that it needs the names of: "
            f"{', '.join(ours)}; rename them"
        ]
    return _reference_problems(cursor, database, table)


def _reference_problems(cursor: pg.cursor, database: Database, table: str) -> list[str]:
    """A table of the howto's whose rows' domains can't be found."""
    site = database.domains
    name = f"{site.schema}.{site.table}"
    found = columns(cursor, site.schema, site.table)
    if site.name not in found:
        return [
            f"dkim:database:domains:table: {table} has keys by domain_id, and there is no table "
            f"{name} with a column {site.name!r} that has the names; name it"
        ]
    if adoption.site_id(cursor, database) is None:
        return [
            f"{table}.domain_id refers to no column of {name}: add its foreign key, or give {name} "
            "the column 'id'"
        ]
    return []


def _keys_elsewhere(cursor: pg.cursor, database: Database) -> list[str]:
    """The formula's own tables in another schema: their keys sign, and would be left behind."""
    cursor.execute(
        """
        SELECT n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE c.relname = 'dkim_migration' AND c.relkind = 'r' AND n.nspname <> %s
         ORDER BY 1
        """,
        (database.schema,),
    )
    return [
        f"dkim:database:schema: {database.schema!r} has none of the formula's tables, and the "
        f"schema {schema!r} has them, with keys that may sign; {_AS_BEFORE}"
        for (schema,) in cursor.fetchall()
    ]


def _other_keys(cursor: pg.cursor, database: Database) -> list[str]:
    """A table of keys by the howto's form that the pillar would leave, while its keys sign."""
    if database.preset == "howto":
        return []
    cursor.execute(
        """
        SELECT n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE c.relname = 'dkim' AND c.relkind IN ('r', 'p')
         ORDER BY n.nspname <> %s, 1
        """,
        (database.domains.schema,),
    )
    return [
        f"{schema}.dkim is a table of keys as the howto makes one; set dkim:database:preset to "
        f"howto and dkim:database:schema to {schema} to have it taken over, or rename it"
        for (schema,) in cursor.fetchall()
        if set(_HOWTO) <= set(columns(cursor, schema, "dkim"))
    ]


def _is_ours(cursor: pg.cursor, database: Database) -> bool:
    if relation_kind(cursor, database.schema, "dkim_migration") is None:
        return False
    cursor.execute(compose("SELECT count(*) FROM {migration}", **names(database)))
    return bool(cursor.fetchone()[0])


def _names_taken(cursor: pg.cursor, database: Database) -> list[str]:
    """Tables of another program by the names of the formula's."""
    if _is_ours(cursor, database):
        return []
    taken = [
        f"{database.schema}.dkim_{thing}"
        for thing in TABLES
        if thing != "dkim" and relation_kind(cursor, database.schema, f"dkim_{thing}") is not None
    ]
    if not taken:
        return []
    return [f"{', '.join(taken)}: there already, and not the formula's; {_ELSEWHERE}"]


def _view_problems(cursor: pg.cursor, database: Database) -> list[str]:
    schema = database.schema
    return [
        f"{schema}.{view} is there and is no view; {_ELSEWHERE}"
        for view in VIEWS
        if relation_kind(cursor, schema, view) not in (None, "v")
    ]


def names_advice(cursor: pg.cursor, database: Database) -> list[str]:
    """What of :func:`inspect` is about names, which the writer may ask for too."""
    advice = []
    count = hosted.left_out(cursor.connection, database)
    if count:
        advice.append(
            f"{_listed_tables(database)}: rows that hold no domain name, and so are left out: "
            f"{count}"
        )
    return advice


def _listed_tables(database: Database) -> str:
    return " and ".join(f"{one.schema}.{one.table}" for _, one in hosted.tables(database))
