"""The names of the formula's tables, views and functions, and their advisory locks."""

from __future__ import annotations

from ..settings.model import Database

ALGORITHMS = ("rsa", "ed25519")

# The first number of pg_advisory_lock: "dkim" in ASCII. The second number is one of those below.
LOCK_CLASS = 0x646B696D
LOCK_SCHEMA = 1
LOCK_KEYS = 2
LOCK_PATTERNS = 3
LOCK_BULK = 4
LOCK_ACCESS = 5
LOCK_ROLES = 6  # and the database itself
LOCK_AWAITED = 7


def signing_view(algorithm: str) -> str:
    """Return the unqualified name of an algorithm's SigningTable view."""
    return "dkim_signing_table" if algorithm == "rsa" else f"dkim_signing_table_{algorithm}"


def key_view(algorithm: str) -> str:
    """Return the unqualified name of an algorithm's KeyTable view."""
    return "dkim_key_table" if algorithm == "rsa" else f"dkim_key_table_{algorithm}"


# The formula's functions, by their keys in the result of :func:`names`.
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
# The function that PUBLIC may execute: each reader of the views calls it, to recognise the query
# that the daemon makes at its start.
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
    "alias_domain",
    "migration",
)
VIEWS = tuple(view(algorithm) for algorithm in ALGORITHMS for view in (signing_view, key_view))


def names(database: Database) -> dict[str, str | tuple[str, str]]:
    """Return the qualified names of the formula's tables and functions for :func:`sql.compose`."""
    known: dict[str, str | tuple[str, str]] = {"schema": database.schema}
    known |= {thing: (database.schema, f"dkim_{thing}") for thing in (*TABLES, *FUNCTIONS)}
    known["dkim"] = (database.schema, database.keys_table)
    return known


def view_name(database: Database, kind: str, algorithm: str = "rsa") -> str:
    """
    Return the name for a DSN's ``table=``: ``dkim_signing_table``, qualified unless in ``public``.

    kind
        ``signing`` or ``key``.
    """
    view = {"signing": signing_view, "key": key_view}[kind](algorithm)
    return view if database.schema == "public" else f"{database.schema}.{view}"


def reader_relations(database: Database) -> tuple[tuple[str, str], ...]:
    """Return the (schema, view) pairs that the reader may SELECT from."""
    return tuple((database.schema, view) for view in VIEWS)
