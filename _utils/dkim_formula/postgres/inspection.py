"""Problems of a database that prevent signing, found before anything is changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..settings.model import Database
from . import adoption, hosted, preset_recognition
from .catalog import columns, relation_kind
from .objects import TABLES, VIEWS, names
from .sql import compose

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# The remedy for a name that is in use: an administrator can't rename a mail panel's table.
_ELSEWHERE = (
    "set dkim:database:preset to the program that made it, or dkim:database:schema to a schema for "
    "the formula's own tables, such as dkim"
)
_AS_BEFORE = "set dkim:database:preset and dkim:database:schema as they were when these were made"
_HOWTO_COLUMNS = ("id", "domain_id", "selector", "key")
_FORMULA_COLUMNS = (
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
    """
    Sentences on a database.

    problems
        What prevents the set-up.
    advice
        What works, but should be changed.
    """

    problems: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


def inspect(connection: pg.connection, database: Database) -> Inspection:
    """Inspect the tables of hosted domains and an existing table ``dkim``; change nothing."""
    with connection.cursor() as cursor:
        found = problems(cursor, database)
        advice = []
        if not found:
            advice += preset_recognition.advice(cursor, database)
            advice += hosted.filter_advice(cursor, database)
            advice += names_advice(cursor, database)
    return Inspection(found, tuple(advice))


def problems(cursor: pg.cursor, database: Database) -> tuple[str, ...]:
    """Return the problems of :func:`inspect`, without the advice, which reads all rows."""
    return tuple(
        _schema_problems(cursor, database)
        or [text for text in [preset_recognition.problem(cursor, database)] if text]
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
        f"dkim:database:schema: {database.schema!r} is a word or a name that SQL needs in quotes, "
        "and OpenDKIM writes no quotes; use another name"
    ]


def _dkim_problems(cursor: pg.cursor, database: Database) -> list[str]:
    kind = relation_kind(cursor, database.schema, database.keys_table)
    table = f"{database.schema}.{database.keys_table}"
    if kind is None:
        if _is_managed(cursor, database):
            return [f"{table} is missing, but the formula's other tables exist; {_AS_BEFORE}"]
        return [*_keys_elsewhere(cursor, database), *_other_keys(cursor, database)]
    if kind not in _TABLES:
        return [f"{table} exists and is not a table; {_ELSEWHERE}"]
    return [] if _is_managed(cursor, database) else _howto_problems(cursor, database, table)


def _howto_problems(cursor: pg.cursor, database: Database, table: str) -> list[str]:
    """Return the reasons why a table of that name can't be taken over as the howto's."""
    found = columns(cursor, database.schema, database.keys_table)
    missing = [column for column in _HOWTO_COLUMNS if column not in found]
    if missing:
        return [
            f"{table} is not a table of keys as the howto makes one: it has no column "
            f"{', '.join(missing)}; {_ELSEWHERE}"
        ]
    taken = [column for column in _FORMULA_COLUMNS if column in found]
    if taken:
        return [
            f"{table} has columns of another program with names that the formula needs: "
            f"{', '.join(taken)}; rename them"
        ]
    return _reference_problems(cursor, database, table)


def _reference_problems(cursor: pg.cursor, database: Database, table: str) -> list[str]:
    """Return the reasons why the domains of the rows of the howto's table can't be found."""
    domains = database.domains
    name = f"{domains.schema}.{domains.table}"
    found = columns(cursor, domains.schema, domains.table)
    if domains.name not in found:
        return [
            f"dkim:database:domains:table: {table} has keys by domain_id, and there is no table "
            f"{name} with the domains' names in a column {domains.name!r}; set the table and its "
            "column"
        ]
    if adoption.site_id(cursor, database) is None:
        return [
            f"{table}.domain_id refers to no column of {name}: add its foreign key, or add the "
            f"column 'id' to {name}"
        ]
    return []


def _keys_elsewhere(cursor: pg.cursor, database: Database) -> list[str]:
    """Return a problem if another schema has the formula's tables, whose keys may sign."""
    cursor.execute(
        """
        SELECT n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE c.relname = 'dkim_migration' AND c.relkind = 'r' AND n.nspname <> %s
         ORDER BY 1
        """,
        (database.schema,),
    )
    return [
        f"dkim:database:schema: {database.schema!r} has none of the formula's tables, but the "
        f"schema {schema!r} has them, with keys that may sign; {_AS_BEFORE}"
        for (schema,) in cursor.fetchall()
    ]


def _other_keys(cursor: pg.cursor, database: Database) -> list[str]:
    """Return a problem for each howto table that the pillar would leave while its keys sign."""
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
        if set(_HOWTO_COLUMNS) <= set(columns(cursor, schema, "dkim"))
    ]


def _is_managed(cursor: pg.cursor, database: Database) -> bool:
    if relation_kind(cursor, database.schema, "dkim_migration") is None:
        return False
    cursor.execute(compose("SELECT count(*) FROM {migration}", **names(database)))
    return bool(cursor.fetchone()[0])


def _names_taken(cursor: pg.cursor, database: Database) -> list[str]:
    """Return a problem if another program's tables have names that the formula needs."""
    taken = [
        f"{database.schema}.dkim_{thing}"
        for thing in TABLES
        if thing != "dkim" and relation_kind(cursor, database.schema, f"dkim_{thing}") is not None
    ]
    # Asked after the tables: a simultaneous run commits them together with its migration.
    if not taken or _is_managed(cursor, database):
        return []
    listed = ", ".join(taken)
    return [f"{listed}: names in use by tables that the formula did not make; {_ELSEWHERE}"]


def _view_problems(cursor: pg.cursor, database: Database) -> list[str]:
    schema = database.schema
    return [
        f"{schema}.{view} exists and is not a view; {_ELSEWHERE}"
        for view in VIEWS
        if relation_kind(cursor, schema, view) not in (None, "v")
    ]


def names_advice(cursor: pg.cursor, database: Database) -> list[str]:
    """Return the advice of :func:`inspect` on names, which the writer's session can read too."""
    advice = []
    count = hosted.count_left_out(cursor.connection, database)
    if count:
        advice.append(
            f"{_listed_tables(database)}: rows that hold no domain name, and so are left out: "
            f"{count}"
        )
    return advice


def _listed_tables(database: Database) -> str:
    return " and ".join(f"{one.schema}.{one.table}" for _, one in hosted.tables(database))
