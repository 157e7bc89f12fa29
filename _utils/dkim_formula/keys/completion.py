"""Rows of the site's own tools: what they lack is read from the private key and filled in."""

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
    Fill in what rows of the site's own tools lack. Return that as changes, also which keys sign no
    more for it. Does not commit.
    """
    # Filling in waits for whoever is making keys, so it is done where there is something to fill.
    if not schema.has_tables(connection, database):
        return {}
    if not incomplete(connection, database):
        return {}
    pairs, _ = complete_rows(connection, database)
    if len(pairs) > LISTED:
        return {"rows of other tools": {"old": None, "new": f"{len(pairs)} read"}}
    return {f"key {key_name(now.selector, now.domain)}": _read(old, now) for old, now in pairs}


def _read(old: Key, now: Key) -> dict[str, object]:
    """Return a row's change: what was read from it, and its state where that is another."""
    if now.public is None:
        return {"old": old.state, "new": now.state}
    size = f" {now.bits}" if now.algorithm == "rsa" else ""
    state = "" if now.state == old.state else f", {now.state}"
    return {"old": "not read yet", "new": f"{now.algorithm}{size}{state}"}


def whole_keys(connection, settings: Settings, domain: str | None = None) -> list[Key]:
    """
    Return all keys, or a domain's, also those that a tool of the site's has put in since the last
    run: what such a row lacks is filled in first.

    Raises InvalidValue for a text that no row has and that is no domain name either.
    """
    keys = list_keys(connection, settings.database, domain)
    if domain is not None and not keys:
        mail_domain(domain)
    # Filling in waits for whoever is making keys, so it is done where there is something to fill.
    if any(key.public is None and key.state != "revoked" for key in keys):
        complete_rows(connection, settings.database)
        keys = list_keys(connection, settings.database, domain)
    return keys


def complete_domains(
    connection: pg.connection, database: Database, domains: Collection[str]
) -> list[tuple[Key, Key]]:
    """
    Fill in what rows of some domains lack. Return the keys that sign no more for it, as they were
    and as they are now. Does not commit.
    """
    # Filling in waits for whoever is making keys, so it is done where there is something to fill.
    keys = list_of(connection, database, domains)
    if not any(key.public is None and key.state != "revoked" for key in keys):
        return []
    pairs, _ = complete_rows(connection, database)
    return [(old, now) for old, now in pairs if old.state != now.state]


def incomplete(connection: pg.connection, database: Database) -> list[Key]:
    """Return the keys of rows that lack their public half, as other tools insert them."""
    # Each of them is odd, and that has an index.
    condition = "WHERE k.odd AND k.public_key IS NULL AND k.state <> 'revoked'"
    return odd_where(connection, database, condition, {})


def complete_rows(
    connection: pg.connection, database: Database
) -> tuple[list[tuple[Key, Key]], tuple[str, ...]]:
    """
    Fill in what the rows of another tool lack: algorithm, size, public key. Does not commit.

    Return each key that this changed as it was and as it is now, and a sentence for each row that
    can't sign. Such a row that is active is made ``pending``: with it each mail of that domain is
    deferred (451), or signed for a domain that is none. A text that OpenDKIM would not read, or not
    whole, is stored anew.
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
        filled, broken, reports = [], [], []
        for number, domain, selector, text, state in cursor.fetchall():
            found = read_row(domain, selector, text, state)
            problem = row_problem(domain, selector, found)
            if problem:
                reports.append(problem)
            if state == "active" and not (found.signs and is_row_found(domain, selector)):
                broken.append(number)
            if found.private is not None:
                filled.append((number, *_completion(found)))
        _set_pending(cursor, database, broken)
        _fill(cursor, database, filled)
    changed = [row[0] for row in filled] + broken
    after = keys_where(connection, database, "WHERE k.id = ANY (%(ids)s)", {"ids": changed})
    return [(before[key.id], key) for key in after], tuple(reports)


def _completion(found: RowKey) -> tuple[str, int, str, str | None]:
    """Return algorithm, size, public half, and the text to store in the place of an odd one."""
    private = found.private
    text = None if found.is_plain else private.pem()
    return private.algorithm, private.bits, private.public_base64(), text


def put_into(
    connection: pg.connection, database: Database, key: Key, private: PrivateKey, why: str
) -> None:
    """
    Store a private key in a row that has none itself. Does not commit.

    A row that signs by its file goes on signing. Of another the key signs where nothing else does
    for the domain; else the row is made anew, as ``pending`` and the newest, so that it is the one
    to sign next.
    """
    values = (key.id, private.algorithm, private.bits, private.public_base64(), private.pem())
    with connection.cursor() as cursor:
        begin(cursor, why)
        _fill(cursor, database, [values])
        if key.state in WITH_FILE:
            return
        # The table's own trigger settles the state.
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
    wanted = DesiredKey(key.domain, key.selector, private.algorithm, private.bits, key.address)
    store(connection, database, [(wanted, private)], why, "pending")


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
