"""The keys in the database: reading, comparing, storing, moving from state to state."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from ..errors import KeyNotFound, StepRefused
from ..keys import PrivateKey, public_weakness
from ..names import SERVED_DOMAIN, SERVED_SELECTOR, domain_problem, selector_problem
from ..private_key import StoredKey, read_stored
from ..rotation.decision import GONE
from ..settings.model import Database
from . import quiet
from .comparison import Comparison, Wanted, compare
from .connection import compose, copy_rows
from .objects import LOCK_CLASS, LOCK_KEYS, names
from .stored_row import is_row_found, on_weakness, row_problem

if TYPE_CHECKING:
    import psycopg2.extensions as pg

__all__ = [
    "Comparison",
    "Key",
    "Wanted",
    "compare",
    "complete",
    "delete",
    "find",
    "list_keys",
    "list_of",
    "move",
    "store",
    "switch_to",
    "writing",
]

# So many rows without a key are read to say what is wrong with each.
MOST_FAULTS = 1000
_UNREAD = "the key was not read yet; run dkim.generate_missing"

_SELECT = """
SELECT k.id, coalesce(k.domain, '') AS domain, coalesce(k.selector::text, ''), k.algorithm,
       k.bits,
       k.state, k.address, k.created_at, k.activated_at, k.retired_at, k.revoked_at, k.public_key
  FROM {dkim} AS k
"""


@dataclass(frozen=True)
class Key:
    """
    A row of the table of keys without its private key.

    domain
        '' where the row has no name.
    fault
        What is wrong with the row's text where no key could be read from it.
    """

    id: int
    domain: str
    selector: str
    algorithm: str
    bits: int | None
    state: str
    address: str
    created: datetime | None
    activated: datetime | None
    retired: datetime | None
    revoked: datetime | None
    public: str | None
    fault: str = ""

    @property
    def problem(self) -> str:
        """What is wrong with the row and what to do, in a sentence; empty where nothing is."""
        found = [domain_problem(self.domain), selector_problem(self.selector), self.fault]
        if self.state == "active":
            found.append(on_weakness(public_weakness(self.algorithm, self.bits, self.public)))
        return "; ".join(text for text in found if text)

    @property
    def can_sign(self) -> bool:
        """Whether OpenDKIM can sign with the row, and verifiers can find its record."""
        return self.public is not None and is_row_found(self.domain, self.selector)

    def as_plain(self) -> dict[str, object]:
        """For a function's return: timestamps as ISO 8601 text, without the row's id."""
        plain: dict[str, object] = {
            "domain": self.domain,
            "selector": self.selector,
            "algorithm": self.algorithm,
            "bits": self.bits,
            "state": self.state,
            "address": self.address,
        }
        for name in ("created", "activated", "retired", "revoked"):
            value = getattr(self, name)
            plain[name] = None if value is None else value.isoformat(timespec="seconds")
        plain["public_key"] = self.public
        plain["problem"] = self.problem
        return plain


def list_keys(
    connection: pg.connection,
    database: Database,
    domain: str | None = None,
    selector: str | None = None,
) -> list[Key]:
    """All keys, or those of a domain, or with a selector; by domain, then by id."""
    return _keys(
        connection,
        database,
        "WHERE (%(domain)s::text IS NULL OR k.domain = %(domain)s"
        " OR (%(domain)s = '' AND k.domain IS NULL))"
        " AND (%(selector)s::text IS NULL OR coalesce(k.selector::text, '') = %(selector)s)",
        {"domain": domain, "selector": selector},
    )


def list_of(connection: pg.connection, database: Database, domains: Collection[str]) -> list[Key]:
    """The keys of some domains, by domain, then by id."""
    return _keys(
        connection,
        database,
        "WHERE k.domain = ANY (%(domains)s)",
        {"domains": list(domains)},
    )


def unfinished(connection: pg.connection, database: Database) -> list[str]:
    """The domains with a key whose life has a next step: pending, retired or revoked; sorted."""
    with connection.cursor() as cursor:
        cursor.execute(
            compose(
                """
                SELECT DISTINCT k.domain FROM {dkim} AS k
                 WHERE k.state <> 'active' AND k.domain IS NOT NULL ORDER BY 1
                """,
                **names(database),
            )
        )
        return [domain for (domain,) in cursor]


def active_since(connection: pg.connection, database: Database, moment: datetime) -> list[Key]:
    """The active keys that became so at a moment or before, or nobody knows when."""
    return _keys(
        connection,
        database,
        "WHERE k.state = 'active' AND (k.activated_at IS NULL OR k.activated_at <= %(moment)s)",
        {"moment": moment},
    )


def odd(connection: pg.connection, database: Database, longest: int) -> list[Key]:
    """
    The keys whose row is not as it should be: see :attr:`Key.problem`.

    longest
        More characters than this make a domain's name one to look at.
    """
    return _keys(
        connection,
        database,
        """
        WHERE (k.public_key IS NULL AND k.state <> 'revoked')
           OR (k.state = 'active' AND k.algorithm = 'rsa'
               AND (k.bits NOT BETWEEN 1024 AND 4096
                    OR k.public_key !~ '(AQAB|AQ==|AAE=)$'))
           OR k.selector IS NULL OR k.selector::text !~ %(selector)s OR k.domain IS NULL
           OR k.domain !~ %(domain)s OR length(k.domain) > %(longest)s
        """,
        {"selector": SERVED_SELECTOR, "domain": SERVED_DOMAIN, "longest": longest},
    )


def find(connection: pg.connection, database: Database, domain: str, selector: str) -> Key:
    """
    The one key; case and blanks of its selector count only between keys that differ in nothing
    else.

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


def store(
    connection: pg.connection,
    database: Database,
    pairs: Iterable[tuple[Wanted, PrivateKey]],
    why: str,
    state: str | None = "active",
) -> list[Key]:
    """
    Stores new keys, and gives those that were stored. Does not commit.

    A key that is there already (the selector, or for ``active`` an active key of that algorithm
    and address) is left as it is: of two runs at once one stores. No key shows in PostgreSQL's log.

    why
        For the history.
    state
        ``active``; ``pending`` for a key whose record is to be published first; None: active
        where the domain has no active key of that algorithm (and address), else pending.
    """
    with connection.cursor() as cursor:
        _begin(cursor, why)
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
        quiet.change(cursor, compose(_STORE, **names(database)), (state, state))
        cursor.execute("SELECT id FROM pg_temp.dkim_stored")
        stored = [number for (number,) in cursor]
        cursor.execute("DROP TABLE pg_temp.dkim_new, pg_temp.dkim_stored")
    return _keys(connection, database, "WHERE k.id = ANY (%(ids)s)", {"ids": stored})


_STORE = """
WITH stored AS (
    INSERT INTO {dkim} (domain, selector, algorithm, bits, address, public_key, key, state)
    SELECT n.domain, n.selector, n.algorithm, n.bits, n.address, n.public_key, n.key, %s
      FROM pg_temp.dkim_new AS n
     WHERE %s IS DISTINCT FROM 'active'
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
"""


def put_into(
    connection: pg.connection, database: Database, key: Key, private: PrivateKey, why: str
) -> None:
    """
    Store a private key in a row that no key could be read from. Does not commit.

    The key signs where nothing else does for the domain, and is ``pending`` else.
    """
    values = (key.id, private.algorithm, private.bits, private.public_base64(), private.pem())
    with connection.cursor() as cursor:
        _begin(cursor, why)
        _fill(cursor, database, [values])
        # The table's own trigger settles the state.
        quiet.change(
            cursor,
            compose("UPDATE {dkim} SET state = NULL WHERE id = %s", **names(database)),
            (key.id,),
        )


@contextlib.contextmanager
def writing(connection: pg.connection, why: str = "") -> Iterator[None]:
    """
    One writer at a time; commits at a good end.

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
    Moves keys, by their ids, to a state other than ``active``; ``gone`` deletes them. Does not
    commit. Who calls has decided that each may, in the same :func:`writing`.
    """
    statement = "UPDATE {dkim} SET state = %(state)s WHERE id = ANY (%(ids)s)"
    if state == GONE:
        statement = "DELETE FROM {dkim} WHERE id = ANY (%(ids)s)"
    with connection.cursor() as cursor:
        _say_why(cursor, why)
        quiet.change(
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
    Makes keys active, by their ids, one for each domain, address and algorithm. Does not commit.

    instead
        What becomes of those that were active there.
    """
    known = names(database)
    arguments = {"ids": list(numbers), "instead": instead}
    with connection.cursor() as cursor:
        _say_why(cursor, why)
        quiet.change(
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
        quiet.change(
            cursor,
            compose("UPDATE {dkim} SET state = 'active' WHERE id = ANY (%(ids)s)", **known),
            arguments,
        )


def refuse_active(key: Key, force: bool) -> None:
    """StepRefused for an active key without ``force``: its domain's mail would leave unsigned."""
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
    Deletes a key, and gives what it was; its history stays. Does not commit.

    Raises KeyNotFound; StepRefused for an active key without ``force``.
    """
    with connection.cursor() as cursor:
        _begin(cursor, why)
        key = find(connection, database, domain, selector)
        refuse_active(key, force)
        cursor.execute(compose("DELETE FROM {dkim} WHERE id = %s", **names(database)), (key.id,))
    return key


def incomplete(connection: pg.connection, database: Database) -> list[Key]:
    """Return the keys of rows that lack their public half, as other tools insert them."""
    condition = "WHERE k.public_key IS NULL AND k.key IS NOT NULL"
    return _keys(connection, database, condition, {})


def complete(connection: pg.connection, database: Database) -> tuple[list[Key], tuple[str, ...]]:
    """
    Fills in what the rows of another tool lack: algorithm, size, public key. Does not commit.

    Gives the keys that were completed, and a sentence for each row that can't sign. Such a row that
    is active is made ``pending``: with it each mail of that domain is deferred (451), or signed for
    a domain that is none. A text that OpenDKIM would not read, or not whole, is stored anew.
    """
    with connection.cursor() as cursor:
        _begin(cursor, "completed")
        cursor.execute(
            compose(
                """
                SELECT k.id, coalesce(k.domain, ''), coalesce(k.selector::text, ''), k.key::text,
                       k.state
                  FROM {dkim} AS k
                 WHERE k.public_key IS NULL AND k.key IS NOT NULL
                 ORDER BY k.id
                """,
                **names(database),
            )
        )
        filled, broken, reports = [], [], []
        for number, domain, selector, text, state in cursor.fetchall():
            stored = read_stored(text)
            problem = row_problem(domain, selector, stored)
            if problem:
                reports.append(problem)
            if state == "active" and not (stored.private and is_row_found(domain, selector)):
                broken.append(number)
            if stored.private is not None:
                filled.append((number, *_completion(stored)))
        _set_pending(cursor, database, broken)
        _fill(cursor, database, filled)
    done = _keys(
        connection, database, "WHERE k.id = ANY (%(ids)s)", {"ids": [row[0] for row in filled]}
    )
    return done, tuple(reports)


def _completion(stored: StoredKey) -> tuple[str, int, str, str | None]:
    """Algorithm, size, public half, and the text to be stored in the place of one that is odd."""
    private = stored.private
    text = None if stored.is_plain else private.pem()
    return private.algorithm, private.bits, private.public_base64(), text


def _begin(cursor: pg.cursor, why: str) -> None:
    """One writer at a time, until commit; ``why`` is for the history."""
    cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK_CLASS, LOCK_KEYS))
    _say_why(cursor, why)


def _say_why(cursor: pg.cursor, why: str) -> None:
    """For the lines of the history that this transaction writes from now on."""
    cursor.execute("SELECT set_config('dkim.why', %s, true)", (why,))


def _keys(
    connection: pg.connection, database: Database, condition: str, arguments: dict[str, object]
) -> list[Key]:
    with connection.cursor() as cursor:
        cursor.execute(
            compose(f"{_SELECT} {condition} ORDER BY domain, k.id", **names(database)), arguments
        )
        keys = [Key(*row) for row in cursor]
        return _with_faults(cursor, database, keys)


def _with_faults(cursor: pg.cursor, database: Database, keys: list[Key]) -> list[Key]:
    """The keys; those without a public half with what is wrong with their text."""
    unread = [key.id for key in keys if key.public is None and key.state != "revoked"]
    if not unread:
        return keys
    # Not at once for any number of rows: what is read is a private key.
    cursor.execute(
        compose("SELECT id, key::text FROM {dkim} WHERE id = ANY (%s)", **names(database)),
        (unread[:MOST_FAULTS],),
    )
    faults = {number: _fault(read_stored(text)) for number, text in cursor}
    return [
        replace(key, fault=faults.get(key.id, _UNREAD)) if key.id in set(unread) else key
        for key in keys
    ]


def _fault(stored: StoredKey) -> str:
    if stored.private is not None:
        return _UNREAD
    return f"the key {stored.problem}, so it does not sign; {stored.remedy}"


def _set_pending(cursor: pg.cursor, database: Database, numbers: list[int]) -> None:
    quiet.change(
        cursor,
        compose("UPDATE {dkim} SET state = 'pending' WHERE id = ANY (%s)", **names(database)),
        (numbers,),
    )


def _fill(cursor: pg.cursor, database: Database, rows: list[tuple[object, ...]]) -> None:
    if not rows:
        return
    cursor.execute(
        """
        CREATE TEMPORARY TABLE dkim_filled
            (id bigint, algorithm text, bits integer, public_key text, key text)
        ON COMMIT DROP
        """
    )
    copy_rows(cursor, "dkim_filled", ("id", "algorithm", "bits", "public_key", "key"), rows)
    quiet.change(
        cursor,
        compose(
            """
            UPDATE {dkim} AS k
               SET algorithm = f.algorithm, bits = f.bits, public_key = f.public_key,
                   key = coalesce(f.key, k.key)
              FROM pg_temp.dkim_filled AS f
             WHERE k.id = f.id
            """,
            **names(database),
        ),
    )
    cursor.execute("DROP TABLE pg_temp.dkim_filled")
