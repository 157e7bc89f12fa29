"""Stored keys, read from the table of keys without their private halves."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from ..errors import InvalidValue, KeyNotFound
from ..key_text import ODD_TEXT
from ..names import printable
from ..postgres.conditions import LONG_NAME, odd_row
from ..postgres.objects import names
from ..postgres.sql import compose
from ..postgres.stored_row import read_row
from ..settings.model import Database
from .model import Key, Slot

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# The number of rows without a key whose text is read to find the fault.
MOST_FAULTS = 1000
_UNREAD = "the key was not read yet; run dkim.generate_missing"

_SELECT = """
SELECT k.id, coalesce(k.domain, '') AS domain, coalesce(k.selector::text, ''), k.algorithm,
       k.bits,
       k.state, k.address, k.created_at, k.activated_at, k.retired_at, k.revoked_at, k.public_key,
       coalesce(k.key COLLATE "C" ~ %(odd_text)s, false)
  FROM {dkim} AS k
"""


def list_keys(
    connection: pg.connection, database: Database, domain: str | None = None
) -> list[Key]:
    """Return all keys, or the keys of a domain, sorted by domain and id."""
    return keys_where(
        connection,
        database,
        "WHERE %(domain)s::text IS NULL OR k.domain = %(domain)s"
        " OR (%(domain)s = '' AND k.domain IS NULL)",
        {"domain": domain},
    )


def list_of(connection: pg.connection, database: Database, domains: Collection[str]) -> list[Key]:
    """Return the keys of some domains, sorted by domain and id."""
    return keys_where(
        connection,
        database,
        "WHERE k.domain = ANY (%(domains)s)",
        {"domains": list(domains)},
    )


def unfinished(connection: pg.connection, database: Database) -> list[str]:
    """Return the domains with a pending, retired or revoked key, sorted."""
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
    Return the slots in which a key signs and no newer key is standby or pending. The query reads
    the indexes of the states. A row of the table itself is large, since it contains a private key.
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


def count_signing(connection: pg.connection, database: Database, algorithm: str) -> int:
    """Return the number of active, standby and pending keys of an algorithm."""
    with connection.cursor() as cursor:
        cursor.execute(
            compose(
                """
                SELECT count(*) FROM {dkim} AS k
                 WHERE k.state IN ('active', 'standby', 'pending') AND k.algorithm = %s
                """,
                **names(database),
            ),
            (algorithm,),
        )
        return cursor.fetchone()[0]


def active_since(connection: pg.connection, database: Database, time: datetime) -> list[Key]:
    """Return the keys that are active since a time or earlier, or since an unknown time."""
    return keys_where(
        connection,
        database,
        "WHERE k.state = 'active' AND (k.activated_at IS NULL OR k.activated_at <= %(time)s)",
        {"time": time},
    )


def odd(connection: pg.connection, database: Database, longest: int) -> list[Key]:
    """
    Return the keys of odd rows: see :attr:`Key.problem`.

    longest
        The number of characters above which a domain's name makes the row odd.
    """
    marked = "odd" if longest >= LONG_NAME else "true"
    row = odd_row("%(longest)s", 'key COLLATE "C" ~ %(odd_text)s')
    condition = f"WHERE {marked} AND ({row})"
    return odd_where(connection, database, condition, {"longest": longest})


def odd_where(
    connection: pg.connection, database: Database, condition: str, arguments: dict[str, object]
) -> list[Key]:
    """
    Return keys as :func:`keys_where`, for a condition that selects only odd rows. These have an
    index. The planner can't know how few odd rows exist, and would read the whole table with all
    processors. So this function forbids that.
    """
    _plan_with(connection, "off", "0")
    keys = keys_where(connection, database, condition, arguments)
    _plan_with(connection, None, None)
    return keys


def _plan_with(connection: pg.connection, scan: str | None, workers: str | None) -> None:
    """Set whether the planner may read whole tables, and with how many workers; None resets."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('enable_seqscan', %s, true),"
            " set_config('max_parallel_workers_per_gather', %s, true)",
            (scan, workers),
        )


def row_domain(connection: pg.connection, database: Database, spellings: Sequence[str]) -> str:
    """
    Return the domain of the rows that a person means.

    spellings
        The result of :func:`names.row_spellings`.

    Raises InvalidValue if rows have the name as given, and other rows have its usual form.
    """
    exact, normal = spellings[0], spellings[-1]
    if exact == normal:
        return normal
    with connection.cursor() as cursor:
        cursor.execute(
            compose(
                "SELECT DISTINCT k.domain FROM {dkim} AS k WHERE k.domain = ANY (%s)",
                **names(database),
            ),
            (list(spellings),),
        )
        found = {domain for (domain,) in cursor}
    if len(found) == 2:
        shown, usual = printable(f"={exact}"), printable(normal)
        raise InvalidValue(
            "domain",
            exact,
            f"is the name of a row of the table of keys, and means the domain {normal}, which has "
            "keys too",
            f"use {usual} for the domain, or {shown} for the row",
        )
    return exact if exact in found else normal


def find(connection: pg.connection, database: Database, domain: str, selector: str) -> Key:
    """
    Return the key of a domain with a selector. An exact match wins; else case and blanks of the
    selector are ignored.

    Several rows without a domain may match. The function then returns the first one.

    Raises KeyNotFound, which lists the domain's keys.
    """
    keys = list_keys(connection, database, domain)
    found = [key for key in keys if key.selector == selector]
    found = found or [key for key in keys if key.selector.strip().lower() == selector.lower()]
    if len(found) == 1 or (found and not domain):
        return found[0]
    others = [f"{key.selector or repr('')} ({key.state})" for key in keys]
    has = f"it has {', '.join(others)}" if others else "it has none"
    raise KeyNotFound(f"{domain or repr('')} has no key with the selector {selector!r}; {has}")


def keys_where(
    connection: pg.connection, database: Database, condition: str, arguments: dict[str, object]
) -> list[Key]:
    """Return the keys ``k`` that an SQL condition selects, sorted by domain and id."""
    with connection.cursor() as cursor:
        cursor.execute(
            compose(f"{_SELECT} {condition} ORDER BY domain, k.id", **names(database)),
            {**arguments, "odd_text": ODD_TEXT},
        )
        keys = [Key(*row) for row in cursor]
        return _with_texts(cursor, database, keys)


def _with_texts(cursor: pg.cursor, database: Database, keys: list[Key]) -> list[Key]:
    """Complete the keys that are odd or lack a public half from the text of their rows."""
    unread = [key.id for key in keys if _is_to_be_read(key)]
    if not unread:
        return keys
    # The query reads private keys, so the number of rows has a limit.
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
    Return the key, completed from its row's text. If the text is the path of a key file, OpenDKIM
    signs with the file's present key. So the file takes precedence over the row's other columns,
    which an earlier read of the file has filled. They count if the file is unreadable here.
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
