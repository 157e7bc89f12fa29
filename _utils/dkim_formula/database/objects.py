"""The names of our tables and views beside the site's, and the locks that guard them."""

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
# A class of its own, whose second number is a pattern's hash.
LOCK_CLASS_PATTERN = LOCK_CLASS + 1


def signing_view(algorithm: str) -> str:
    """The unqualified name of an algorithm's SigningTable view."""
    return "dkim_signing_table" if algorithm == "rsa" else f"dkim_signing_table_{algorithm}"


def key_view(algorithm: str) -> str:
    """The unqualified name of an algorithm's KeyTable view."""
    return "dkim_key_table" if algorithm == "rsa" else f"dkim_key_table_{algorithm}"


# Our functions, by the names that ``names`` has.
FUNCTIONS = (
    "conflict",
    "checked",
    "recorded",
    "pattern_checked",
    "signing_set",
    "signing_kept",
    "signing_followed",
)
VIEWS = tuple(view(algorithm) for algorithm in ALGORITHMS for view in (signing_view, key_view))


def names(database: Database) -> dict[str, str | tuple[str, str]]:
    """
    What :func:`connection.compose` takes: the site's table and columns, and our tables. Ours are
    in the schema of the site's table, where the howto has them.
    """
    site = database.domains
    return {
        "schema": site.schema,
        "domains": (site.schema, site.table),
        "domain_id": site.id,
        "domain_name": site.name,
        "dkim": (site.schema, "dkim"),
        "pattern": (site.schema, "dkim_pattern"),
        "signing": (site.schema, "dkim_signing"),
        "history": (site.schema, "dkim_history"),
        "published": (site.schema, "dkim_published"),
        "seen": (site.schema, "dkim_seen"),
        "disclosure": (site.schema, "dkim_disclosure"),
        "migration": (site.schema, "dkim_migration"),
        "conflict": (site.schema, "dkim_conflict"),
        "checked": (site.schema, "dkim_checked"),
        "recorded": (site.schema, "dkim_recorded"),
        "pattern_checked": (site.schema, "dkim_pattern_checked"),
        "signing_set": (site.schema, "dkim_signing_set"),
        "signing_kept": (site.schema, "dkim_signing_kept"),
        "signing_followed": (site.schema, "dkim_signing_followed"),
    }


def quoted(name: str) -> str:
    """A name as SQL writes it, always in quotes."""
    return '"' + name.replace('"', '""') + '"'


def view_name(database: Database, kind: str, algorithm: str = "rsa") -> str:
    """
    The name that a DSN's ``table=`` takes: ``dkim_signing_table``, with the schema before it
    where that is not ``public``.

    kind
        ``signing`` or ``key``.
    """
    view = {"signing": signing_view, "key": key_view}[kind](algorithm)
    schema = database.domains.schema
    return view if schema == "public" else f"{schema}.{view}"


def reader_relations(database: Database) -> tuple[tuple[str, str], ...]:
    """The (schema, view) pairs that the reader may SELECT from, and nothing else."""
    return tuple((database.domains.schema, view) for view in VIEWS)
