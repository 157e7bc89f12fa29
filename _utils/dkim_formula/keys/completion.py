"""Completion of rows that other programs insert: missing columns are read from the private key."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from ..names import mail_domain
from ..postgres import schema, secret_writes
from ..postgres.objects import names
from ..postgres.sql import compose, copy_rows
from ..postgres.stored_row import WITH_FILE, RowKey, is_row_found, read_row, row_problem
from ..private_key import PrivateKey
from ..record_names import key_name
from ..settings.model import Database, Settings
from .changes import begin, store
from .model import DesiredKey, Key
from .odd_rows import LISTED
from .table import keys_where, list_keys, list_of, odd_where

if TYPE_CHECKING:
    import psycopg2.extensions as pg


def complete(connection, database: Database) -> dict[str, object]:
    """
    Fill in the missing columns of rows of other programs. Return the changes, including the keys
    that no longer sign. Does not commit.
    """
    # Completion takes the writers' lock, so it runs only if a row is incomplete.
    if not schema.has_tables(connection, database):
        return {}
    if not incomplete(connection, database):
        return {}
    pairs, _ = complete_rows(connection, database)
    if len(pairs) > LISTED:
        return {"rows of other tools": {"old": None, "new": f"{len(pairs)} read"}}
    return {f"key {key_name(now.selector, now.domain)}": _change(old, now) for old, now in pairs}


def _change(old: Key, now: Key) -> dict[str, object]:
    """Return a row's change: the values read from its key, and its state if that has changed."""
    if now.public is None:
        return {"old": old.state, "new": now.state}
    size = f" {now.bits}" if now.algorithm == "rsa" else ""
    state = "" if now.state == old.state else f", {now.state}"
    return {"old": "not read yet", "new": f"{now.algorithm}{size}{state}"}


def completed_keys(connection, settings: Settings, domain: str | None = None) -> list[Key]:
    """
    Return all keys, or the keys of a domain, after completion of the rows that other programs have
    inserted since the last run.

    Raises InvalidValue for a text that is neither in a row nor a domain name.
    """
    keys = list_keys(connection, settings.database, domain)
    if domain is not None and not keys:
        mail_domain(domain)
    # Completion takes the writers' lock, so it runs only if a row is incomplete.
    if any(key.public is None and key.state != "revoked" for key in keys):
        complete_rows(connection, settings.database)
        keys = list_keys(connection, settings.database, domain)
    return keys


def complete_domains(
    connection: pg.connection, database: Database, domains: Collection[str]
) -> list[tuple[Key, Key]]:
    """
    Fill in the missing columns of some domains' rows. Return each key whose state this changes, as
    it was and as it is now. Does not commit.
    """
    # Completion takes the writers' lock, so it runs only if a row is incomplete.
    keys = list_of(connection, database, domains)
    if not any(key.public is None and key.state != "revoked" for key in keys):
        return []
    pairs, _ = complete_rows(connection, database)
    return [(old, now) for old, now in pairs if old.state != now.state]


def incomplete(connection: pg.connection, database: Database) -> list[Key]:
    """Return the keys of rows without a public half, as other programs insert them."""
    # The column "odd" of such a row is true and has an index.
    condition = "WHERE k.odd AND k.public_key IS NULL AND k.state <> 'revoked'"
    return odd_where(connection, database, condition, {})


def complete_rows(
    connection: pg.connection, database: Database
) -> tuple[list[tuple[Key, Key]], tuple[str, ...]]:
    """
    Fill in the missing columns of other programs' rows: algorithm, size, public key. Does not
    commit.

    Returns each changed key, as it was and as it is now, and a sentence for each row that can't
    sign. Such a row becomes ``pending`` if it is active. Otherwise each mail of the domain would be
    deferred (451), or signed for an invalid domain. The function replaces a text that OpenDKIM
    could not read, or not completely.
    """
    with connection.cursor() as cursor:
        begin(cursor, "completed")
        before = {key.id: key for key in incomplete(connection, database)}
        cursor.execute(
            compose(
                """
                SELECT k.id, coalesce(k.domain, ''), coalesce(k.selector::text, ''), k.key::text,
                       k.state
                  FROM {dkim} AS k
                 WHERE k.public_key IS NULL AND k.state <> 'revoked'
                 ORDER BY k.id
                """,
                **names(database),
            )
        )
        filled, unusable, reports = [], [], []
        for number, domain, selector, text, state in cursor.fetchall():
            found = read_row(domain, selector, text, state)
            problem = row_problem(domain, selector, found)
            if problem:
                reports.append(problem)
            if state == "active" and not (found.signs and is_row_found(domain, selector)):
                unusable.append(number)
            if found.private is not None:
                filled.append((number, *_completion(found)))
        _set_pending(cursor, database, unusable)
        _fill(cursor, database, filled)
    changed = [row[0] for row in filled] + unusable
    after = keys_where(connection, database, "WHERE k.id = ANY (%(ids)s)", {"ids": changed})
    return [(before[key.id], key) for key in after], tuple(reports)


def _completion(found: RowKey) -> tuple[str, int, str, str | None]:
    """Return algorithm, size, public half, and the text that replaces an odd one, or None."""
    private = found.private
    text = None if found.is_plain else private.pem()
    return private.algorithm, private.bits, private.public_base64(), text


def put_into(
    connection: pg.connection, database: Database, key: Key, private: PrivateKey, why: str
) -> None:
    """
    Store a private key in a row that contains none. Does not commit.

    A row that signs with a key file continues to sign. The key of any other row becomes active if
    the domain has no active key. Else the function replaces the row by a new ``pending`` row, which
    is the newest and so signs next.
    """
    values = (key.id, private.algorithm, private.bits, private.public_base64(), private.pem())
    with connection.cursor() as cursor:
        begin(cursor, why)
        _fill(cursor, database, [values])
        if key.state in WITH_FILE:
            return
        # The table's trigger sets the state.
        secret_writes.change(
            cursor,
            compose("UPDATE {dkim} SET state = NULL WHERE id = %s", **names(database)),
            (key.id,),
        )
        cursor.execute(
            compose("SELECT state FROM {dkim} WHERE id = %s", **names(database)), (key.id,)
        )
        if cursor.fetchone()[0] == "active":
            return
        cursor.execute(compose("DELETE FROM {dkim} WHERE id = %s", **names(database)), (key.id,))
    desired = DesiredKey(key.domain, key.selector, private.algorithm, private.bits, key.address)
    store(connection, database, [(desired, private)], why, "pending")


def _set_pending(cursor: pg.cursor, database: Database, numbers: list[int]) -> None:
    secret_writes.change(
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
    secret_writes.change(
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
