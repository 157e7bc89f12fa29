"""The names of our tables, views and functions, and the locks that guard them."""

from __future__ import annotations

from ..settings.model import Database

ALGORITHMS = ("rsa", "ed25519")

# pg_advisory_lock's first number: "dkim" in ASCII. The second says what is guarded.
LOCK_CLASS = 0x646B696D
LOCK_SCHEMA = 1
LOCK_KEYS = 2
LOCK_PATTERNS = 3
LOCK_BULK = 4
LOCK_ACCESS = 5
LOCK_ROLES = 6  # and the database itself
LOCK_AWAITED = 7


def signing_view(algorithm: str) -> str:
    """The unqualified name of an algorithm's SigningTable view."""
    return "dkim_signing_table" if algorithm == "rsa" else f"dkim_signing_table_{algorithm}"


def key_view(algorithm: str) -> str:
    """The unqualified name of an algorithm's KeyTable view."""
    return "dkim_key_table" if algorithm == "rsa" else f"dkim_key_table_{algorithm}"


# Our functions, by the names that ``names`` has.
FUNCTIONS = (
    "hosted_rows",
    "hosted",
    "startup_scan",
    "checked",
    "recorded",
    "signing_kept",
    "signing_redraw",
    "replicas",
)
# It says whether a query is the daemon's own at its start: who reads the views calls it.
OPEN_FUNCTION = "startup_scan"
TABLES = (
    "dkim",
    "pattern",
    "signing",
    "history",
    "published",
    "observation",
    "awaited",
    "disclosure",
    "replica",
    "migration",
)
VIEWS = tuple(view(algorithm) for algorithm in ALGORITHMS for view in (signing_view, key_view))


def names(database: Database) -> dict[str, str | tuple[str, str]]:
    """What :func:`sql.compose` takes: our tables and functions, in our schema."""
    known: dict[str, str | tuple[str, str]] = {"schema": database.schema}
    known |= {thing: (database.schema, f"dkim_{thing}") for thing in (*TABLES, *FUNCTIONS)}
    known["dkim"] = (database.schema, database.keys_table)
    return known


def view_name(database: Database, kind: str, algorithm: str = "rsa") -> str:
    """
    The name that a DSN's ``table=`` takes: ``dkim_signing_table``, with the schema before it
    where that is not ``public``.

    kind
        ``signing`` or ``key``.
    """
    view = {"signing": signing_view, "key": key_view}[kind](algorithm)
    return view if database.schema == "public" else f"{database.schema}.{view}"


def reader_relations(database: Database) -> tuple[tuple[str, str], ...]:
    """The (schema, view) pairs that the reader may SELECT from, and nothing else."""
    return tuple((database.schema, view) for view in VIEWS)
