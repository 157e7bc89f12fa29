"""The keys that the table holds, read without their private halves."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from ..errors import KeyNotFound
from ..key_text import ODD_TEXT
from ..postgres.conditions import LONG_NAME, odd_row
from ..postgres.objects import names
from ..postgres.sql import compose
from ..postgres.stored_row import read_row
from ..settings.model import Database
from .model import Key, Slot

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# So many rows without a key are read to say what is wrong with each.
MOST_FAULTS = 1000
_UNREAD = "the key was not read yet; run dkim.generate_missing"

_SELECT = """
SELECT k.id, coalesce(k.domain, '') AS domain, coalesce(k.selector::text, ''), k.algorithm,
       k.bits,
       k.state, k.address, k.created_at, k.activated_at, k.retired_at, k.revoked_at, k.public_key,
       coalesce(k.key ~ %(odd_text)s, false)
  FROM {dkim} AS k
"""


def list_keys(
    connection: pg.connection,
    database: Database,
    domain: str | None = None,
    selector: str | None = None,
) -> list[Key]:
    """Return all keys, or those of a domain, or with a selector; by domain, then by id."""
    return keys_where(
        connection,
        database,
        "WHERE (%(domain)s::text IS NULL OR k.domain = %(domain)s"
        " OR (%(domain)s = '' AND k.domain IS NULL))"
        " AND (%(selector)s::text IS NULL OR coalesce(k.selector::text, '') = %(selector)s)",
        {"domain": domain, "selector": selector},
    )


def list_of(connection: pg.connection, database: Database, domains: Collection[str]) -> list[Key]:
    """Return the keys of some domains, by domain, then by id."""
    return keys_where(
        connection,
        database,
        "WHERE k.domain = ANY (%(domains)s)",
        {"domains": list(domains)},
    )


def unfinished(connection: pg.connection, database: Database) -> list[str]:
    """Return the domains with a key that is pending, retired or revoked; sorted."""
    with connection.cursor() as cursor:
        cursor.execute(
            compose(
                """
                SELECT DISTINCT k.domain FROM {dkim} AS k
                 WHERE k.state NOT IN ('active', 'standby') AND k.domain IS NOT NULL ORDER BY 1
                """,
                **names(database),
            )
        )
        return [domain for (domain,) in cursor]


def with_standby(connection: pg.connection, database: Database) -> list[str]:
    """Return the domains with a standby key."""
    with connection.cursor() as cursor:
        cursor.execute(
            compose(
                "SELECT DISTINCT k.domain FROM {dkim} AS k WHERE k.state = 'standby'",
                **names(database),
            )
        )
        return [domain for (domain,) in cursor]


def without_standby(connection: pg.connection, database: Database) -> list[Slot]:
    """
    Return the slots in which a key signs, and no newer key is standby or pending. The indexes of
    the states answer this: a row of the table has a key in it.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            compose(
                """
                SELECT a.domain, a.address, a.algorithm
                  FROM {dkim} AS a
                 WHERE a.state = 'active'
                   AND NOT EXISTS (
                       SELECT FROM {dkim} AS s
                        WHERE s.state = 'standby' AND s.domain = a.domain
                          AND s.address = a.address AND s.algorithm = a.algorithm
                          AND s.id > a.id)
                   AND NOT EXISTS (
                       SELECT FROM {dkim} AS p
                        WHERE p.state = 'pending' AND p.domain = a.domain
                          AND p.address = a.address AND p.algorithm = a.algorithm
                          AND p.id > a.id)
                """,
                **names(database),
            )
        )
        return [Slot(*row) for row in cursor]


def active_since(connection: pg.connection, database: Database, moment: datetime) -> list[Key]:
    """Return the active keys that became so at a moment or before, or nobody knows when."""
    return keys_where(
        connection,
        database,
        "WHERE k.state = 'active' AND (k.activated_at IS NULL OR k.activated_at <= %(moment)s)",
        {"moment": moment},
    )


def odd(connection: pg.connection, database: Database, longest: int) -> list[Key]:
    """
    Return the keys whose row is not as it should be: see :attr:`Key.problem`.

    longest
        More characters than this make a domain's name one to look at.
    """
    marked = "odd" if longest >= LONG_NAME else "true"
    condition = f"WHERE {marked} AND ({odd_row('%(longest)s', 'key ~ %(odd_text)s')})"
    return odd_where(connection, database, condition, {"longest": longest})


def odd_where(
    connection: pg.connection, database: Database, condition: str, arguments: dict[str, object]
) -> list[Key]:
    """
    Return as :func:`keys_where`, of odd rows alone: their index has them at once. The planner can't
    know how few they are, and would read the whole table, with all processors.
    """
    _plan_with(connection, "off", "0")
    keys = keys_where(connection, database, condition, arguments)
    _plan_with(connection, None, None)
    return keys


def _plan_with(connection: pg.connection, scan: str | None, workers: str | None) -> None:
    """Set whether the planner may read whole tables, with how many helpers; None: as it was."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('enable_seqscan', %s, true),"
            " set_config('max_parallel_workers_per_gather', %s, true)",
            (scan, workers),
        )


def find(connection: pg.connection, database: Database, domain: str, selector: str) -> Key:
    """
    Return the one key; case and blanks of its selector count only between keys that differ in
    nothing else.

    Of rows without a name there may be several, each as the others: the first is given.

    Raises KeyNotFound, which says what there is.
    """
    every = list_keys(connection, database, domain)
    found = [key for key in every if key.selector == selector]
    found = found or [key for key in every if key.selector.strip().lower() == selector.lower()]
    if len(found) == 1 or (found and not domain):
        return found[0]
    others = [f"{key.selector or repr('')} ({key.state})" for key in every]
    has = f"it has {', '.join(others)}" if others else "it has none"
    raise KeyNotFound(f"{domain or repr('')} has no key with the selector {selector!r}; {has}")


def keys_where(
    connection: pg.connection, database: Database, condition: str, arguments: dict[str, object]
) -> list[Key]:
    """Return the keys ``k`` of a condition in SQL, by domain, then by id."""
    with connection.cursor() as cursor:
        cursor.execute(
            compose(f"{_SELECT} {condition} ORDER BY domain, k.id", **names(database)),
            {**arguments, "odd_text": ODD_TEXT},
        )
        keys = [Key(*row) for row in cursor]
        return _with_texts(cursor, database, keys)


def _with_texts(cursor: pg.cursor, database: Database, keys: list[Key]) -> list[Key]:
    """Return the keys, with what the text says of those that are odd or lack a public half."""
    unread = [key.id for key in keys if _is_to_be_read(key)]
    if not unread:
        return keys
    # Not at once for any number of rows: what is read is a private key.
    cursor.execute(
        compose("SELECT id, key::text FROM {dkim} WHERE id = ANY (%s)", **names(database)),
        (unread[:MOST_FAULTS],),
    )
    texts = dict(cursor)
    return [_with_text(key, texts) if _is_to_be_read(key) else key for key in keys]


def _is_to_be_read(key: Key) -> bool:
    return (key.public is None or key.is_odd) and key.state != "revoked"


def _with_text(key: Key, texts: Mapping[int, str | None]) -> Key:
    """
    Return the key by its row's text. What a file holds now is what signs now: it comes before what
    the row says of an earlier look, which counts where the file can't be read here.
    """
    if key.id not in texts:
        return key if key.public is not None else replace(key, fault=_UNREAD)
    found = read_row(key.domain, key.selector, texts[key.id], key.state)
    read = replace(key, advice=found.advice, path=found.path)
    private = found.private
    if not found.path:
        fault = found.fault if private is None else _UNREAD if key.public is None else ""
        return replace(read, fault=fault)
    if private is not None:
        public = private.public_base64()
        return replace(read, algorithm=private.algorithm, bits=private.bits, public=public)
    if key.public is not None and found.signs:
        return replace(read, advice=found.fault)
    return replace(read, public=None, fault=found.fault)
