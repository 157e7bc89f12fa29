"""What becomes of the keys in a table that the howto made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import InvalidValue
from ..settings.model import Database
from .connection import compose
from .material import read_row
from .objects import names

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# Beyond this many domains with several keys the daemon's choice is not asked for each of them:
# over the howto's views an answer is a scan, 120 ms at a hundred thousand domains (measured).
_ASK_AT_MOST = 200

_ROWS = """
SELECT k.id::text, d.{domain_name}::text, k.selector::text, k.key::text, md5(k.key)
  FROM {dkim} AS k
  LEFT JOIN {domains} AS d ON d.{domain_id} = k.domain_id
 ORDER BY k.id
"""


@dataclass(frozen=True)
class Adopted:
    """
    A row of the howto's table and what it becomes.

    ``problem`` says why the key can't be used, for a row that becomes ``pending`` or ``revoked``;
    ``digest`` is the key's md5, to know it again.
    """

    id: str
    domain: str
    selector: str
    algorithm: str
    bits: int | None
    public: str | None
    state: str
    problem: str
    digest: str | None


def decide(
    connection: pg.connection, database: Database, known: tuple[Adopted, ...] = ()
) -> tuple[Adopted, ...]:
    """
    Reads every key and settles its state, by id.

    One key of a domain and algorithm becomes ``active``: the one that the daemon's own look-up
    gives at this moment, or else that with the lowest id. Others become ``retired``: that keeps
    key and record, so that mail which they signed still verifies, and no rotation takes an old key
    for a new one, as it would a pending one. What is not a key is kept as ``pending``; a row
    without any, as ``revoked``.

    known
        An earlier decision: keys that are in it unchanged are not parsed again.
    """
    parsed = {(row.id, row.digest): row for row in known}
    rows = []
    # A named cursor: the keys pass through, and are not all in memory at once.
    with connection.cursor("dkim_adoption") as cursor:
        cursor.itersize = 1000
        cursor.execute(compose(_ROWS, **names(database)))
        for row_id, domain, selector, key, digest in cursor:
            before = parsed.get((row_id, digest))
            rows.append(before or _read(row_id, domain or "", selector, key, digest))
    with connection.cursor() as cursor:
        return _with_states(cursor, database, rows)


def notes(adopted: tuple[Adopted, ...]) -> tuple[str, ...]:
    """A sentence for each domain with a choice to be made, and for each row that is no key."""
    signing = {(row.domain, row.algorithm): row for row in adopted if row.state == "active"}
    retired: dict[tuple[str, str], list[str]] = {}
    for row in adopted:
        if row.state == "retired":
            retired.setdefault((row.domain, row.algorithm), []).append(row.selector)
    said = [
        f"{domain} has several {algorithm} keys: {signing[domain, algorithm].selector!r} signs, "
        f"{', '.join(map(repr, others))} retired (the key and its record stay)"
        for (domain, algorithm), others in retired.items()
    ]
    said += [
        f"{row.domain}, selector {row.selector!r}: {row.problem}; kept as {row.state}, it does "
        "not sign"
        for row in adopted
        if row.problem
    ]
    return tuple(said)


def _read(row_id: str, domain: str, selector: str, key: str | None, digest) -> Adopted:
    if key is None:
        return Adopted(row_id, domain, selector, "rsa", None, None, "revoked", "no key", digest)
    try:
        if not key.startswith("-----BEGIN "):
            raise InvalidValue("key", None, "does not begin with the PEM text's first dash")
        private = read_row(key, "key")
    except InvalidValue as error:
        problem = f"the key {error.problem}"
        return Adopted(row_id, domain, selector, "rsa", None, None, "pending", problem, digest)
    return Adopted(
        row_id,
        domain,
        selector,
        private.algorithm,
        private.bits,
        private.public_base64(),
        "active",
        "",
        digest,
    )


def _with_states(cursor: pg.cursor, database: Database, rows: list[Adopted]) -> tuple[Adopted, ...]:
    groups: dict[tuple[str, str], list[Adopted]] = {}
    for row in rows:
        if not row.problem:
            groups.setdefault((row.domain, row.algorithm), []).append(row)
    asked = 0
    signing = set()
    for (domain, _algorithm), group in groups.items():
        chosen = group[0]
        if len(group) > 1 and asked < _ASK_AT_MOST:
            asked += 1
            selector = _daemons_choice(cursor, database, domain)
            chosen = next((row for row in group if row.selector == selector), chosen)
        signing.add(chosen.id)
    return tuple(
        row if row.problem else _in_state(row, "active" if row.id in signing else "retired")
        for row in rows
    )


def _in_state(row: Adopted, state: str) -> Adopted:
    return row if row.state == state else replace(row, state=state)


def _daemons_choice(cursor: pg.cursor, database: Database, domain: str) -> str | None:
    """
    The selector that OpenDKIM signs with today: it takes the first row of this very query and of
    the next (measured, log_statement=all). None where the howto's views are not there.
    """
    schema = database.domains.schema
    cursor.execute(
        """
        SELECT count(*) FROM information_schema.columns
         WHERE table_schema = %s AND (table_name, column_name) IN (
             ('dkim_signing_table', 'pattern'), ('dkim_signing_table', 'identifier'),
             ('dkim_key_table', 'identifier'), ('dkim_key_table', 'selector'))
        """,
        (schema,),
    )
    if cursor.fetchone()[0] != 4:
        return None
    cursor.execute(
        compose(
            "SELECT identifier FROM {view} WHERE pattern = %s",
            view=(schema, "dkim_signing_table"),
        ),
        (domain,),
    )
    first = cursor.fetchone()
    if first is None:
        return None
    cursor.execute(
        compose(
            "SELECT selector FROM {view} WHERE identifier = %s", view=(schema, "dkim_key_table")
        ),
        first,
    )
    first = cursor.fetchone()
    return None if first is None else first[0]
