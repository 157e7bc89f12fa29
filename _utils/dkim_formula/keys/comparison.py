"""Comparison of the desired keys with the stored keys."""

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
from ..text import as_argument
from .model import DesiredKey

if TYPE_CHECKING:
    import psycopg2.extensions as pg


@dataclass(frozen=True)
class EveryHosted:
    """
    The same desired keys for every hosted domain whose name ``covers`` accepts. PostgreSQL compares
    them, so that Python reads only the names of domains with a difference.
    """

    keys: tuple[KeyPlan, ...]
    covers: Callable[[str], bool]

    def desired(self, name: str) -> Iterator[DesiredKey]:
        """Yield the desired keys of one hosted domain."""
        if self.covers(name):
            for plan in self.keys:
                yield DesiredKey(name, plan.selector, plan.algorithm, plan.bits)


@dataclass(frozen=True)
class Comparison:
    """
    The differences between the desired keys and the stored keys.

    missing
        The keys to generate.
    reports
        Sentences about differences that the formula does not change.
    """

    missing: tuple[DesiredKey, ...] = ()
    reports: tuple[str, ...] = ()


def compare(
    connection: pg.connection,
    database: Database,
    desired: Sequence[DesiredKey],
    every: EveryHosted | None = None,
) -> Comparison:
    """
    Compare ``desired`` and ``every`` with the stored keys, by one COPY and one query for any number
    of domains. Changes nothing.

    An active key of the same algorithm (and address) satisfies a desired key. Its selector may
    differ, because rotation changes the selector. Any other row with the desired selector also
    satisfies, with a report: a selector is never used twice (RFC 6376, section 3.1: one key each).
    Before the first migration the function counts the keys that the migration will adopt.
    """
    if schema.has_tables(connection, database):
        rows = _differences(connection, database, desired, every)
    else:
        rows = _differences_before_adoption(connection, database, desired, every)
    missing, reports = [], []
    for one, difference in rows:
        if text := _report(one, difference):
            reports.append(text)
        elif difference.active_selector is None:
            missing.append(one)
    return Comparison(tuple(missing), tuple(reports))


# Returns only rows that differ, so that a hundred thousand satisfied keys cost nothing in Python.
# Takes no lock: two runs that compare before they write must not wait for each other.
_COMPARE = """
WITH w AS NOT MATERIALIZED (
    SELECT n, domain, selector, algorithm, bits, address FROM pg_temp.dkim_desired
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
    A row of :data:`_COMPARE`: the active key, and the key with the same selector.

    used_before
        Whether the history has the desired selector, or a rotation has created the active key.
    rival
        A pattern that another key already signs, or None.
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
    desired: Sequence[DesiredKey],
    every: EveryHosted | None,
) -> list[tuple[DesiredKey, _Difference]]:
    plans = every.keys if every else ()
    with connection.cursor() as cursor:
        _copy_desired(cursor, desired)
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
        cursor.execute("DROP TABLE pg_temp.dkim_desired, pg_temp.dkim_lacking")
    return rows


def _differences_before_adoption(
    connection: pg.connection,
    database: Database,
    desired: Sequence[DesiredKey],
    every: EveryHosted | None,
) -> list[tuple[DesiredKey, _Difference]]:
    hosted_names = hosted(connection, database) if every else []
    adopted = schema.read(connection, database).adopted
    active = {(row.stored, row.algorithm): row for row in adopted if row.state == "active"}
    by_selector = {(row.stored, row.selector): row for row in adopted}
    rows = []
    by_every = [one for name in hosted_names for one in every.desired(name)] if every else []
    for one in (*desired, *by_every):
        own = None if one.address else active.get((one.domain, one.algorithm))
        same = by_selector.get((one.domain, one.selector))
        facts = _Difference(
            active_selector=own and own.selector,
            active_bits=own and own.bits,
            same_state=same and same.state,
            same_algorithm=same and same.algorithm,
            same_address="" if same else None,
            used_before=same is not None,
            rival=None,
        )
        rows.append((one, facts))
    return rows


def _report(desired: DesiredKey, found: _Difference) -> str:
    """Return a sentence about a stored key that differs; '' if it is missing, right or rotated."""
    text = ""
    if found.active_selector is not None:
        if desired.algorithm == "rsa" and found.active_bits not in (None, desired.bits):
            text = f"the active key has {found.active_bits} bits, not {desired.bits}"
        elif not found.used_before:
            text = f"the active key has the selector {found.active_selector!r}"
        text = f"{text}; rotation changes that" if text else ""
    elif found.same_state is not None:
        text = _selector_problem(desired, found)
    elif found.used_before:
        text = f"a key that was deleted had that selector; {_AGAIN.format(desired.domain)}"
    elif found.rival is not None:
        text = f"the pattern {found.rival} is signed by another key already"
    return f"{desired}: {text}" if text else ""


_AGAIN = "a selector is not used twice; set another one in dkim:domains:{}"


def _selector_problem(desired: DesiredKey, found: _Difference) -> str:
    """Return why a row with the desired selector is not the desired key, and what to do."""
    again = _AGAIN.format(desired.domain)
    if (found.same_algorithm, found.same_address) != (desired.algorithm, desired.address):
        of = f" for {found.same_address}" if found.same_address else ""
        return f"an {found.same_algorithm} key{of} has that selector; {again}"
    if found.same_state == "pending":
        return (
            "the key is pending and does not sign until it is activated; salt-call dkim.status "
            f"{desired.domain} says what it waits for"
        )
    text = f"the key is {found.same_state}, so no key signs; {again}"
    if found.same_state == "retired":
        text += f", or run salt-call dkim.activate {desired.domain} {as_argument(desired.selector)}"
    return text


def _copy_desired(cursor: pg.cursor, desired: Sequence[DesiredKey]) -> None:
    cursor.execute(
        """
        CREATE TEMPORARY TABLE dkim_desired
            (n integer, domain text, selector text, algorithm text, bits integer, address text)
        ON COMMIT DROP
        """
    )
    copy_rows(
        cursor,
        "dkim_desired",
        ("n", "domain", "selector", "algorithm", "bits", "address"),
        (
            (number, one.domain, one.selector, one.algorithm, one.bits, one.address)
            for number, one in enumerate(desired)
        ),
    )
    cursor.execute("ANALYZE pg_temp.dkim_desired")
