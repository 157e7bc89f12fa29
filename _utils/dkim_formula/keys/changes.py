"""Changes of the table of keys: store, move from state to state, delete; one writer at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from ..errors import StepRefused
from ..postgres import secret_writes
from ..postgres.objects import LOCK_CLASS, LOCK_KEYS, names
from ..postgres.sql import compose, copy_rows
from ..private_key import PrivateKey
from ..settings.model import Database
from . import refusals
from .model import GONE, DesiredKey, Key
from .table import find, keys_where

if TYPE_CHECKING:
    import psycopg2.extensions as pg


def store(
    connection: pg.connection,
    database: Database,
    pairs: Iterable[tuple[DesiredKey, PrivateKey]],
    why: str,
    state: str | None = "active",
    pending_domains: Collection[str] | None = None,
) -> list[Key]:
    """
    Store new keys and return the stored ones. Does not commit.

    The function skips a key if its selector exists, or for ``active`` if an active key of the same
    algorithm and address exists. So only one of two simultaneous runs stores a key. PostgreSQL logs
    no key.

    why
        The reason, for the history.
    state
        ``active``; ``pending`` for a key whose record must be published first. None: active if the
        domain has no active key of that algorithm (and address), else pending.
    pending_domains
        For first keys: the domains whose first key is stored as pending. A first key is also
        pending if the history has a reason (:mod:`.refusals`). None if the keys are not first keys.
    """
    with connection.cursor() as cursor:
        begin(cursor, why)
        cursor.execute(
            """
            CREATE TEMPORARY TABLE dkim_new
                (domain text, selector text, algorithm text, bits integer, address text,
                 public_key text, key text)
            ON COMMIT DROP
            """
        )
        copy_rows(
            cursor,
            "dkim_new",
            ("domain", "selector", "algorithm", "bits", "address", "public_key", "key"),
            (
                (
                    desired.domain,
                    desired.selector,
                    key.algorithm,
                    key.bits,
                    desired.address,
                    key.public_base64(),
                    key.pem(),
                )
                for desired, key in pairs
            ),
        )
        cursor.execute("CREATE TEMPORARY TABLE dkim_stored (id bigint) ON COMMIT DROP")
        secret_writes.change(
            cursor,
            compose(_STORE, **names(database)),
            {
                "state": state,
                "waiting": None if pending_domains is None else list(pending_domains),
            },
        )
        cursor.execute("SELECT id FROM pg_temp.dkim_stored")
        stored = [number for (number,) in cursor]
        cursor.execute("DROP TABLE pg_temp.dkim_new, pg_temp.dkim_stored")
    return keys_where(connection, database, "WHERE k.id = ANY (%(ids)s)", {"ids": stored})


_STORE = """
WITH stored AS (
    INSERT INTO {dkim} (domain, selector, algorithm, bits, address, public_key, key, state)
    SELECT n.domain, n.selector, n.algorithm, n.bits, n.address, n.public_key, n.key,
           CASE WHEN n.domain = ANY (%(waiting)s::text[])
                  OR %(waiting)s::text[] IS NOT NULL AND EXISTS (
                    SELECT FROM {history} AS h WHERE h.domain = n.domain AND REFUSED)
                THEN 'pending' ELSE %(state)s END
      FROM pg_temp.dkim_new AS n
     WHERE %(state)s IS DISTINCT FROM 'active'
        OR NOT EXISTS (
           SELECT FROM {signing} AS s
            WHERE s.pattern = n.domain AND s.algorithm = n.algorithm AND n.address = '')
       AND NOT EXISTS (
           SELECT FROM {pattern} AS p
             JOIN {signing} AS s ON s.pattern = p.pattern AND s.algorithm = n.algorithm
            WHERE p.domain = n.domain AND p.address = n.address)
     ORDER BY n.domain, n.selector
    ON CONFLICT DO NOTHING
    RETURNING id
)
INSERT INTO pg_temp.dkim_stored SELECT id FROM stored
""".replace("REFUSED", refusals.COUNTS)


@contextlib.contextmanager
def writing(connection: pg.connection, why: str = "") -> Iterator[None]:
    """
    Lock out other writers, and commit if the block succeeds.

    The transaction begins after the lock is taken. So ``now()``, and each time that a trigger sets,
    is later than everything that an earlier writer did. A transaction that takes the lock itself
    begins before.

    why
        The reason, for the history. :func:`move` and :func:`switch_to` set their own.
    """
    connection.commit()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", (LOCK_CLASS, LOCK_KEYS))
        connection.commit()
        try:
            _set_reason(cursor, why)
            yield
            connection.commit()
        finally:
            # A lost connection has lost its locks too. The loss must stay the reported error.
            if not connection.closed:
                connection.rollback()
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", (LOCK_CLASS, LOCK_KEYS))
                connection.commit()


def move(
    connection: pg.connection, database: Database, numbers: Collection[int], state: str, why: str
) -> None:
    """
    Move keys, by their ids, to a state other than ``active``; ``gone`` deletes them. Does not
    commit. The caller has decided in the same :func:`writing` block that each key may move.
    """
    statement = "UPDATE {dkim} SET state = %(state)s WHERE id = ANY (%(ids)s)"
    if state == GONE:
        statement = "DELETE FROM {dkim} WHERE id = ANY (%(ids)s)"
    with connection.cursor() as cursor:
        _set_reason(cursor, why)
        secret_writes.change(
            cursor, compose(statement, **names(database)), {"state": state, "ids": list(numbers)}
        )


def switch_to(
    connection: pg.connection,
    database: Database,
    numbers: Collection[int],
    why: str,
    replaced_becomes: str = "retired",
) -> None:
    """
    Make keys active, by their ids, one for each domain, address and algorithm. Does not commit.

    replaced_becomes
        The next state of the keys that were active there.
    """
    known = names(database)
    arguments = {"ids": list(numbers), "replaced_becomes": replaced_becomes}
    with connection.cursor() as cursor:
        _set_reason(cursor, why)
        secret_writes.change(
            cursor,
            compose(
                """
                UPDATE {dkim} AS k SET state = %(replaced_becomes)s
                  FROM {dkim} AS chosen
                 WHERE chosen.id = ANY (%(ids)s) AND k.domain = chosen.domain
                   AND k.address = chosen.address AND k.algorithm = chosen.algorithm
                   AND k.state = 'active' AND k.id <> chosen.id
                """,
                **known,
            ),
            arguments,
        )
        secret_writes.change(
            cursor,
            compose("UPDATE {dkim} SET state = 'active' WHERE id = ANY (%(ids)s)", **known),
            arguments,
        )


def refuse_active(key: Key, force: bool) -> None:
    """Raise StepRefused for an active key without ``force``: mail would leave unsigned."""
    if key.state == "active" and not force:
        raise StepRefused(
            f"{key.domain}, selector {key.selector!r}: the key is active, so mail would leave "
            "unsigned; retire it first, or use force=True"
        )


def delete(
    connection: pg.connection,
    database: Database,
    domain: str,
    selector: str,
    why: str,
    force: bool = False,
) -> Key:
    """
    Delete a key and return the deleted row's data. The key's history stays. Does not commit.

    Raises KeyNotFound; StepRefused for an active key without ``force``.
    """
    with connection.cursor() as cursor:
        begin(cursor, why)
        key = find(connection, database, domain, selector)
        refuse_active(key, force)
        cursor.execute(compose("DELETE FROM {dkim} WHERE id = %s", **names(database)), (key.id,))
    return key


def begin(cursor: pg.cursor, why: str) -> None:
    """Lock out other writers until the commit; ``why`` is the reason for the history."""
    cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK_CLASS, LOCK_KEYS))
    _set_reason(cursor, why)


def _set_reason(cursor: pg.cursor, why: str) -> None:
    """Set the reason in the lines of the history that this transaction writes from now on."""
    cursor.execute("SELECT set_config('dkim.why', %s, true)", (why,))
