"""The keys in the database: reading, comparing, storing, moving from state to state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ..errors import InvalidValue, KeyNotFound, StepRefused
from ..keys import PrivateKey
from ..settings.model import Database
from .connection import compose, copy_rows, is_superuser
from .material import read_row
from .objects import LOCK_CLASS, LOCK_KEYS, names

if TYPE_CHECKING:
    import psycopg2.extensions as pg

STATES = ("pending", "active", "retired", "revoked")

# From a state to those that it may become. A revoked key's private half is gone: nothing follows.
STEPS = {
    "pending": ("active", "revoked"),
    "active": ("retired", "revoked"),
    "retired": ("active", "pending", "revoked"),
    "revoked": (),
}

_SELECT = """
SELECT k.id, coalesce(d.{domain_name}::text, '') AS domain, k.selector::text, k.algorithm, k.bits,
       k.state, k.address, k.created_at, k.activated_at, k.retired_at, k.revoked_at, k.public_key
  FROM {dkim} AS k
  LEFT JOIN {domains} AS d ON d.{domain_id} = k.domain_id
"""


@dataclass(frozen=True)
class Key:
    """A row of ``dkim`` without its private key. ``domain`` is the site's spelling of the name."""

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
        return plain


@dataclass(frozen=True)
class Wanted:
    """A key that is to be. ``address`` '' is the domain's own; ``bits`` is RSA's."""

    domain: str
    selector: str
    algorithm: str = "rsa"
    bits: int = 2048
    address: str = ""

    def __str__(self) -> str:
        of = f" for {self.address}" if self.address else ""
        return f"{self.domain}, selector {self.selector!r}, {self.algorithm}{of}"


@dataclass(frozen=True)
class Comparison:
    """
    The wanted keys against the database's.

    missing
        To be generated.
    present
        How many are there, in whatever state.
    reports
        Sentences on what differs from the wanted, and is left as it is.
    not_hosted
        Domains that the site's table has not, sorted.
    """

    missing: tuple[Wanted, ...] = ()
    present: int = 0
    reports: tuple[str, ...] = ()
    not_hosted: tuple[str, ...] = ()


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
        "WHERE (%(domain)s::text IS NULL OR d.{domain_name}::text = %(domain)s)"
        " AND (%(selector)s::text IS NULL OR k.selector::text = %(selector)s)",
        {"domain": domain, "selector": selector},
    )


def find(connection: pg.connection, database: Database, domain: str, selector: str) -> Key:
    """The one key. Raises KeyNotFound, which says what there is."""
    found = list_keys(connection, database, domain, selector)
    if found:
        return found[0]
    others = [f"{key.selector} ({key.state})" for key in list_keys(connection, database, domain)]
    has = f"it has {', '.join(others)}" if others else "it has none"
    raise KeyNotFound(f"{domain} has no key with the selector {selector!r}; {has}")


def compare(connection: pg.connection, database: Database, wanted: Sequence[Wanted]) -> Comparison:
    """
    What of ``wanted`` is there: one COPY and one query for any number of domains.

    An active key of the algorithm (and address) satisfies, whatever its selector, for rotation
    changes that; so does any other row that has the wanted selector, with a report, since a
    selector is never used twice (RFC 6376, section 3.1, and DESIGN). Changes nothing.
    """
    with connection.cursor() as cursor:
        _copy_wanted(cursor, wanted)
        cursor.execute(compose(_COMPARE, **names(database)))
        rows = cursor.fetchall()
        cursor.execute("DROP TABLE pg_temp.dkim_wanted")
    missing, reports, not_hosted = [], [], set()
    for number, *facts in rows:
        one, difference = wanted[number], _Difference(*facts)
        if not difference.hosted:
            not_hosted.add(one.domain)
        elif text := _report(one, difference):
            reports.append(text)
        elif difference.active_selector is None:
            missing.append(one)
    absent = len(missing) + sum(1 for one in wanted if one.domain in not_hosted)
    return Comparison(
        tuple(missing), len(wanted) - absent, tuple(reports), tuple(sorted(not_hosted))
    )


# Only rows that differ come back, so that a hundred thousand satisfied ones cost nothing here.
_COMPARE = """
SELECT w.n, d.{domain_id} IS NOT NULL, a.selector::text, a.bits, s.state, s.algorithm, s.address,
       CASE WHEN a.id IS NULL OR a.selector <> w.selector THEN
           EXISTS (SELECT FROM {history} AS h
                    WHERE h.domain = w.domain AND h.selector = w.selector)
       END,
       CASE WHEN a.id IS NULL AND d.{domain_id} IS NOT NULL THEN
           {conflict}(d.{domain_id}, w.address, w.algorithm)
       END
  FROM pg_temp.dkim_wanted AS w
  LEFT JOIN {domains} AS d ON d.{domain_name}::text = w.domain
  LEFT JOIN {dkim} AS a ON a.domain_id = d.{domain_id} AND a.address = w.address
       AND a.algorithm = w.algorithm AND a.state = 'active'
  LEFT JOIN {dkim} AS s ON s.domain_id = d.{domain_id} AND s.selector = w.selector
 WHERE a.id IS NULL OR a.selector <> w.selector
    OR (w.algorithm = 'rsa' AND a.bits IS DISTINCT FROM w.bits)
 ORDER BY w.n
"""


@dataclass(frozen=True)
class _Difference:
    """A row of :data:`_COMPARE`: the active key, that with the selector, the selector's past."""

    hosted: bool
    active_selector: str | None
    active_bits: int | None
    same_state: str | None
    same_algorithm: str | None
    same_address: str | None
    used_before: bool | None
    rival: str | None


def _report(wanted: Wanted, found: _Difference) -> str:
    """The sentence on a key that is not as wanted, or '' where it is missing or rotated."""
    text = ""
    if found.active_selector is not None:
        if wanted.algorithm == "rsa" and found.active_bits != wanted.bits:
            size = f"{found.active_bits} bits" if found.active_bits else "of a size not known yet"
            text = f"the active key is {size}, not {wanted.bits}; rotation changes that"
        elif not found.used_before and found.active_selector != wanted.selector:
            text = (
                f"the active key has the selector {found.active_selector!r}; rotation changes that"
            )
    elif found.same_state is not None:
        text = _report_on_selector(wanted, found)
    elif found.used_before:
        text = f"a key that was deleted had that selector; {_AGAIN}"
    elif found.rival is not None:
        text = f"the pattern {found.rival} is signed by another key already"
    return f"{wanted}: {text}" if text else ""


_AGAIN = "a selector is not used twice: give another"


def _report_on_selector(wanted: Wanted, found: _Difference) -> str:
    if (found.same_algorithm, found.same_address) != (wanted.algorithm, wanted.address):
        of = f" for {found.same_address}" if found.same_address else ""
        return f"an {found.same_algorithm} key{of} has that selector; {_AGAIN}"
    if found.same_state == "pending":
        return "the key is pending and does not sign until it is activated"
    return f"the key is {found.same_state} and no key signs; {_AGAIN}, or activate it"


def store(
    connection: pg.connection,
    database: Database,
    pairs: Iterable[tuple[Wanted, PrivateKey]],
    why: str,
    state: str = "active",
) -> list[Key]:
    """
    Stores new keys, and gives those that were stored. Does not commit.

    A key that is there already (the selector, or for ``active`` an active key of that algorithm
    and address) is left as it is, and a pair whose domain is not in the table stays out: of two
    runs at once one stores. No key shows in PostgreSQL's log.

    why
        For the history.
    state
        ``active``, or ``pending`` for a key whose record is to be published first.
    """
    with connection.cursor() as cursor:
        keep_rows_out_of_log(cursor)
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
        cursor.execute(compose(_STORE, **names(database)), (state, state))
        stored = [number for (number,) in cursor]
        cursor.execute("DROP TABLE pg_temp.dkim_new")
    return _keys(connection, database, "WHERE k.id = ANY (%(ids)s)", {"ids": stored})


_STORE = """
INSERT INTO {dkim} (domain_id, selector, algorithm, bits, address, public_key, key, state)
SELECT d.{domain_id}, n.selector, n.algorithm, n.bits, n.address, n.public_key, n.key, %s
  FROM pg_temp.dkim_new AS n
  JOIN {domains} AS d ON d.{domain_name}::text = n.domain
 WHERE %s <> 'active' OR {conflict}(d.{domain_id}, n.address, n.algorithm) IS NULL
 ORDER BY d.{domain_id}, n.selector
ON CONFLICT DO NOTHING
RETURNING id
"""


def set_state(
    connection: pg.connection,
    database: Database,
    domain: str,
    selector: str,
    state: str,
    why: str,
) -> Key:
    """
    Moves a key to a state, and gives it as it is then. Does not commit.

    ``active`` retires the key that was active, in the same transaction; ``revoked`` erases the
    private key. A key that is in that state already is given unchanged.

    Raises KeyNotFound; InvalidValue for an unknown state; StepRefused where STEPS has no such step.
    """
    if state not in STATES:
        raise InvalidValue("state", state, "is not a state", f"use {', '.join(STATES)}")
    with connection.cursor() as cursor:
        _begin(cursor, why)
        key = find(connection, database, domain, selector)
        if key.state == state:
            return key
        if state not in STEPS[key.state]:
            possible = " or ".join(STEPS[key.state]) or "nothing: its private key is gone"
            raise StepRefused(
                f"{domain}, selector {selector!r}: the key is {key.state} and can't become "
                f"{state}; it can become {possible}"
            )
        if state == "active":
            _refuse_unusable(cursor, database, key)
            cursor.execute(
                compose(
                    """
                    UPDATE {dkim} AS k SET state = 'retired'
                      FROM {dkim} AS chosen
                     WHERE chosen.id = %s AND k.domain_id = chosen.domain_id
                       AND k.address = chosen.address AND k.algorithm = chosen.algorithm
                       AND k.state = 'active'
                    """,
                    **names(database),
                ),
                (key.id,),
            )
        cursor.execute(
            compose("UPDATE {dkim} SET state = %s WHERE id = %s", **names(database)),
            (state, key.id),
        )
    return find(connection, database, domain, selector)


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
        if key.state == "active" and not force:
            raise StepRefused(
                f"{domain}, selector {selector!r}: the key is active, so mail would leave "
                "unsigned; retire it first, or use force=True"
            )
        cursor.execute(compose("DELETE FROM {dkim} WHERE id = %s", **names(database)), (key.id,))
    return key


def complete(connection: pg.connection, database: Database) -> tuple[list[Key], tuple[str, ...]]:
    """
    Fills in what the rows of another tool lack: algorithm, size, public key. Does not commit.

    Gives the keys that were completed, and a sentence for each row whose key does not parse. Such
    a row that is active is made ``pending``: with it each mail of that domain is deferred (451).
    """
    with connection.cursor() as cursor:
        _begin(cursor, "completed")
        cursor.execute(
            compose(
                """
                SELECT k.id, coalesce(d.{domain_name}::text, ''), k.selector::text, k.key::text,
                       k.state
                  FROM {dkim} AS k LEFT JOIN {domains} AS d ON d.{domain_id} = k.domain_id
                 WHERE k.public_key IS NULL AND k.key IS NOT NULL
                 ORDER BY k.id
                """,
                **names(database),
            )
        )
        filled, broken, reports = [], [], []
        for number, domain, selector, key, state in cursor.fetchall():
            try:
                private = read_row(key, "key")
            except InvalidValue as error:
                reports.append(
                    f"{domain}, selector {selector!r}: the key {error.problem}; "
                    "it is pending and does not sign"
                )
                if state == "active":
                    broken.append(number)
                continue
            filled.append((number, private.algorithm, private.bits, private.public_base64()))
        _set_pending(cursor, database, broken)
        _fill(cursor, database, filled)
    done = _keys(
        connection, database, "WHERE k.id = ANY (%(ids)s)", {"ids": [row[0] for row in filled]}
    )
    return done, tuple(reports)


def keep_rows_out_of_log(cursor: pg.cursor) -> None:
    """
    Keeps DETAIL, which shows a failing row, out of PostgreSQL's log until the transaction's end.
    Only a superuser may; for others the order of things has to do (COPY, then INSERT … SELECT).
    """
    if is_superuser(cursor.connection):
        cursor.execute("SELECT set_config('log_error_verbosity', 'terse', true)")


def _begin(cursor: pg.cursor, why: str) -> None:
    """One writer at a time, until commit; ``why`` is for the history."""
    cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK_CLASS, LOCK_KEYS))
    cursor.execute("SELECT set_config('dkim.why', %s, true)", (why,))


def _keys(
    connection: pg.connection, database: Database, condition: str, arguments: dict[str, object]
) -> list[Key]:
    with connection.cursor() as cursor:
        cursor.execute(
            compose(f"{_SELECT} {condition} ORDER BY domain, k.id", **names(database)), arguments
        )
        return [Key(*row) for row in cursor]


def _copy_wanted(cursor: pg.cursor, wanted: Sequence[Wanted]) -> None:
    cursor.execute(
        """
        CREATE TEMPORARY TABLE dkim_wanted
            (n integer, domain text, selector text, algorithm text, bits integer, address text)
        ON COMMIT DROP
        """
    )
    copy_rows(
        cursor,
        "dkim_wanted",
        ("n", "domain", "selector", "algorithm", "bits", "address"),
        (
            (number, one.domain, one.selector, one.algorithm, one.bits, one.address)
            for number, one in enumerate(wanted)
        ),
    )
    cursor.execute("ANALYZE pg_temp.dkim_wanted")


def _refuse_unusable(cursor: pg.cursor, database: Database, key: Key) -> None:
    cursor.execute(compose("SELECT key FROM {dkim} WHERE id = %s", **names(database)), (key.id,))
    (pem,) = cursor.fetchone()
    try:
        read_row(pem, "key")
    except InvalidValue as error:
        raise StepRefused(
            f"{key.domain}, selector {key.selector!r}: the key {error.problem}, so OpenDKIM can't "
            "sign with it"
        ) from None


def _set_pending(cursor: pg.cursor, database: Database, numbers: list[int]) -> None:
    cursor.execute(
        compose("UPDATE {dkim} SET state = 'pending' WHERE id = ANY (%s)", **names(database)),
        (numbers,),
    )


def _fill(cursor: pg.cursor, database: Database, rows: list[tuple[int, str, int, str]]) -> None:
    if not rows:
        return
    cursor.execute(
        """
        CREATE TEMPORARY TABLE dkim_filled
            (id bigint, algorithm text, bits integer, public_key text)
        ON COMMIT DROP
        """
    )
    copy_rows(cursor, "dkim_filled", ("id", "algorithm", "bits", "public_key"), rows)
    cursor.execute(
        compose(
            """
            UPDATE {dkim} AS k
               SET algorithm = f.algorithm, bits = f.bits, public_key = f.public_key
              FROM pg_temp.dkim_filled AS f
             WHERE k.id = f.id
            """,
            **names(database),
        )
    )
    cursor.execute("DROP TABLE pg_temp.dkim_filled")
