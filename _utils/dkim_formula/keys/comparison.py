"""The keys that are wanted against those that are there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..postgres import schema
from ..postgres.hosted import hosted
from ..postgres.hosted_keys import copy_lacking
from ..postgres.objects import names
from ..postgres.sql import compose, copy_rows
from ..settings.model import Database, KeyPlan
from .model import DesiredKey

if TYPE_CHECKING:
    import psycopg2.extensions as pg


@dataclass(frozen=True)
class EveryHosted:
    """
    The same keys for every hosted domain of whose name ``covers`` says so. PostgreSQL compares
    them, so that the names don't come here but where a key is not as wanted.
    """

    keys: tuple[KeyPlan, ...]
    covers: Callable[[str], bool]

    def wanted(self, name: str) -> Iterator[DesiredKey]:
        """The keys of one of them."""
        if self.covers(name):
            for plan in self.keys:
                yield DesiredKey(name, plan.selector, plan.algorithm, plan.bits)


@dataclass(frozen=True)
class Comparison:
    """
    The wanted keys against the database's.

    missing
        To be generated.
    reports
        Sentences on what differs from the wanted, and is left as it is.
    """

    missing: tuple[DesiredKey, ...] = ()
    reports: tuple[str, ...] = ()


def compare(
    connection: pg.connection,
    database: Database,
    wanted: Sequence[DesiredKey],
    every: EveryHosted | None = None,
) -> Comparison:
    """
    What of ``wanted``, and of ``every``, is there: one COPY and one query for any number of
    domains.

    An active key of the algorithm (and address) satisfies, whatever its selector, for rotation
    changes that; so does any other row that has the wanted selector, with a report, since a
    selector is never used twice (RFC 6376, section 3.1: one key each). Before the first migration
    the answer is what it will be after it: keys that wait to be adopted count. Changes nothing.
    """
    if schema.has_tables(connection, database):
        rows = _differences(connection, database, wanted, every)
    else:
        rows = _differences_before_adoption(connection, database, wanted, every)
    missing, reports = [], []
    for one, difference in rows:
        if text := _report(one, difference):
            reports.append(text)
        elif difference.active_selector is None:
            missing.append(one)
    return Comparison(tuple(missing), tuple(reports))


# Only rows that differ come back, so that a hundred thousand satisfied ones cost nothing here. No
# lock is taken: two runs that compare before they write must not wait for each other.
_COMPARE = """
WITH w AS NOT MATERIALIZED (
    SELECT n, domain, selector, algorithm, bits, address FROM pg_temp.dkim_wanted
    UNION ALL
    SELECT NULL, d.domain, e.selector, e.algorithm, e.bits, ''
      FROM pg_temp.dkim_lacking AS d
     CROSS JOIN unnest(%(selectors)s::text[], %(algorithms)s::text[], %(bits)s::integer[])
           AS e (selector, algorithm, bits)
)
SELECT w.n IS NULL, w.domain, w.selector, w.algorithm, w.bits, w.address,
       a.selector::text, a.bits, s.state, s.algorithm, s.address,
       EXISTS (
           SELECT FROM {history} AS h
            WHERE h.domain = w.domain
              AND (h.selector = w.selector
                   OR h.selector = a.selector AND h.from_state IS NULL AND h.why LIKE 'rotation:%%')
       ),
       coalesce(
           (SELECT g.pattern FROM {signing} AS g
             WHERE w.address = '' AND g.pattern = w.domain AND g.algorithm = w.algorithm),
           (SELECT min(g.pattern)
              FROM {pattern} AS p JOIN {signing} AS g ON g.pattern = p.pattern
             WHERE p.domain = w.domain AND p.address = w.address AND g.algorithm = w.algorithm)
       )
  FROM w
  LEFT JOIN {dkim} AS a ON a.domain = w.domain AND a.address = w.address
       AND a.algorithm = w.algorithm AND a.state = 'active'
  LEFT JOIN {dkim} AS s ON s.domain = w.domain AND s.selector = w.selector
 WHERE a.id IS NULL OR a.selector <> w.selector
    OR (w.algorithm = 'rsa' AND a.bits IS DISTINCT FROM w.bits)
 ORDER BY w.n, w.domain COLLATE "C", w.algorithm DESC
"""


@dataclass(frozen=True)
class _Difference:
    """
    A row of :data:`_COMPARE`: the active key, that with the selector, and whether the selector was
    used before or a rotation has chosen the active key's.
    """

    active_selector: str | None
    active_bits: int | None
    same_state: str | None
    same_algorithm: str | None
    same_address: str | None
    used_before: bool | None
    rival: str | None


def _differences(
    connection: pg.connection,
    database: Database,
    wanted: Sequence[DesiredKey],
    every: EveryHosted | None,
) -> list[tuple[DesiredKey, _Difference]]:
    plans = every.keys if every else ()
    with connection.cursor() as cursor:
        _copy_wanted(cursor, wanted)
        if every is None:
            cursor.execute("CREATE TEMPORARY TABLE dkim_lacking (domain text) ON COMMIT DROP")
        else:
            copy_lacking(cursor, database, plans)
        cursor.execute(
            compose(_COMPARE, **names(database)),
            {
                "selectors": [plan.selector for plan in plans],
                "algorithms": [plan.algorithm for plan in plans],
                "bits": [plan.bits for plan in plans],
            },
        )
        rows = [
            (DesiredKey(domain, selector, algorithm, bits, address), _Difference(*facts))
            for by_every, domain, selector, algorithm, bits, address, *facts in cursor
            if not by_every or every.covers(domain)
        ]
        cursor.execute("DROP TABLE pg_temp.dkim_wanted, pg_temp.dkim_lacking")
    return rows


def _differences_before_adoption(
    connection: pg.connection,
    database: Database,
    wanted: Sequence[DesiredKey],
    every: EveryHosted | None,
) -> list[tuple[DesiredKey, _Difference]]:
    there = hosted(connection, database) if every else []
    adopted = schema.look(connection, database).adopted
    active = {(row.stored, row.algorithm): row for row in adopted if row.state == "active"}
    by_selector = {(row.stored, row.selector): row for row in adopted}
    rows = []
    by_every = [one for name in there for one in every.wanted(name)] if every else []
    for one in (*wanted, *by_every):
        mine = None if one.address else active.get((one.domain, one.algorithm))
        same = by_selector.get((one.domain, one.selector))
        facts = _Difference(
            active_selector=mine and mine.selector,
            active_bits=mine and mine.bits,
            same_state=same and same.state,
            same_algorithm=same and same.algorithm,
            same_address="" if same else None,
            used_before=same is not None,
            rival=None,
        )
        rows.append((one, facts))
    return rows


def _report(wanted: DesiredKey, found: _Difference) -> str:
    """The sentence on a key that is not as wanted, or '' where it is missing, right or rotated."""
    text = ""
    if found.active_selector is not None:
        if wanted.algorithm == "rsa" and found.active_bits not in (None, wanted.bits):
            text = f"the active key has {found.active_bits} bits, not {wanted.bits}"
        elif not found.used_before:
            text = f"the active key has the selector {found.active_selector!r}"
        text = f"{text}; rotation changes that" if text else ""
    elif found.same_state is not None:
        text = _on_selector(wanted, found)
    elif found.used_before:
        text = f"a key that was deleted had that selector; {_AGAIN.format(wanted.domain)}"
    elif found.rival is not None:
        text = f"the pattern {found.rival} is signed by another key already"
    return f"{wanted}: {text}" if text else ""


_AGAIN = "a selector is not used twice; set another one in dkim:domains:{}"


def _on_selector(wanted: DesiredKey, found: _Difference) -> str:
    """Say why a row with the wanted selector is not the wanted key, and what to do."""
    again = _AGAIN.format(wanted.domain)
    if (found.same_algorithm, found.same_address) != (wanted.algorithm, wanted.address):
        of = f" for {found.same_address}" if found.same_address else ""
        return f"an {found.same_algorithm} key{of} has that selector; {again}"
    if found.same_state == "pending":
        return (
            "the key is pending and does not sign until it is activated; salt-call dkim.status "
            f"{wanted.domain} says what it waits for"
        )
    text = f"the key is {found.same_state}, so no key signs; {again}"
    if found.same_state == "retired":
        text += f", or run salt-call dkim.activate {wanted.domain} {wanted.selector}"
    return text


def _copy_wanted(cursor: pg.cursor, wanted: Sequence[DesiredKey]) -> None:
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
