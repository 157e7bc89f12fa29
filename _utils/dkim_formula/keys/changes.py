"""Changes of the table of keys: store, move from state to state, delete. One writer at a time."""

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
    waiting: Collection[str] | None = None,
) -> list[Key]:
    """
    Store new keys, and return those that were stored. Does not commit.

    A key that is there already (the selector, or for ``active`` an active key of that algorithm
    and address) is left as it is: of two runs at once one stores. No key shows in PostgreSQL's log.

    why
        For the history.
    state
        ``active``; ``pending`` for a key whose record is to be published first; None: active
        where the domain has no active key of that algorithm (and address), else pending.
    waiting
        For first keys, which are new to DNS: one of these domains, or of a domain whose old key an
        import refused, is pending. None for keys that are no first ones.
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
                    wanted.domain,
                    wanted.selector,
                    key.algorithm,
                    key.bits,
                    wanted.address,
                    key.public_base64(),
                    key.pem(),
                )
                for wanted, key in pairs
            ),
        )
        cursor.execute("CREATE TEMPORARY TABLE dkim_stored (id bigint) ON COMMIT DROP")
        secret_writes.change(
            cursor,
            compose(_STORE, **names(database)),
            {"state": state, "waiting": None if waiting is None else list(waiting)},
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
    Let one writer in at a time; commit at a good end.

    The transaction begins when the lock is had, unlike where it is the lock's own: ``now()``, and
    so each moment that a trigger sets, is then later than whatever another writer did before.

    why
        For the history; :func:`move` and :func:`switch_to` bring their own.
    """
    connection.commit()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", (LOCK_CLASS, LOCK_KEYS))
        connection.commit()
        try:
            _say_why(cursor, why)
            yield
            connection.commit()
        finally:
            # With the connection its locks are gone too, and its loss is the error to be shown.
            if not connection.closed:
                connection.rollback()
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", (LOCK_CLASS, LOCK_KEYS))
                connection.commit()


def move(
    connection: pg.connection, database: Database, numbers: Collection[int], state: str, why: str
) -> None:
    """
    Move keys, by their ids, to a state other than ``active``; ``gone`` deletes them. Does not
    commit. Who calls has decided that each may, in the same :func:`writing`.
    """
    statement = "UPDATE {dkim} SET state = %(state)s WHERE id = ANY (%(ids)s)"
    if state == GONE:
        statement = "DELETE FROM {dkim} WHERE id = ANY (%(ids)s)"
    with connection.cursor() as cursor:
        _say_why(cursor, why)
        secret_writes.change(
            cursor, compose(statement, **names(database)), {"state": state, "ids": list(numbers)}
        )


def switch_to(
    connection: pg.connection,
    database: Database,
    numbers: Collection[int],
    why: str,
    instead: str = "retired",
) -> None:
    """
    Make keys active, by their ids, one for each domain, address and algorithm. Does not commit.

    instead
        What becomes of those that were active there.
    """
    known = names(database)
    arguments = {"ids": list(numbers), "instead": instead}
    with connection.cursor() as cursor:
        _say_why(cursor, why)
        secret_writes.change(
            cursor,
            compose(
                """
                UPDATE {dkim} AS k SET state = %(instead)s
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
    """Refuse an active key without ``force``: its domain's mail would leave unsigned."""
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
    Delete a key, and return what it was; its history stays. Does not commit.

    Raises KeyNotFound; StepRefused for an active key without ``force``.
    """
    with connection.cursor() as cursor:
        begin(cursor, why)
        key = find(connection, database, domain, selector)
        refuse_active(key, force)
        cursor.execute(compose("DELETE FROM {dkim} WHERE id = %s", **names(database)), (key.id,))
    return key


def begin(cursor: pg.cursor, why: str) -> None:
    """Let one writer in at a time, until commit; ``why`` is for the history."""
    cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK_CLASS, LOCK_KEYS))
    _say_why(cursor, why)


def _say_why(cursor: pg.cursor, why: str) -> None:
    """Give the reason for the lines of the history that this transaction writes from now on."""
    cursor.execute("SELECT set_config('dkim.why', %s, true)", (why,))
