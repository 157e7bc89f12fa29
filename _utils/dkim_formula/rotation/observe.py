"""Observations of the keys' records at every authoritative server, and their storage."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, fields
from datetime import datetime
from typing import TYPE_CHECKING

from ..dns import check, verdict
from ..dns.checked import Checked
from ..dns.query import run
from ..errors import NoLibrary
from ..keys.model import Key
from ..postgres.objects import names
from ..postgres.sql import compose, copy_rows
from ..progress import Progress
from ..settings.model import Database, Settings
from ..text import counted
from .gate import DATA, NO_DOMAIN, OK, Evidence, Observation, longest
from .report import RotationReport
from .state import desired_value, is_readable, records_of

if TYPE_CHECKING:
    import psycopg2.extensions as pg

_EMPTY_OR_MISSING = frozenset({verdict.OK, verdict.MISSING})
_COLUMNS = tuple(one.name for one in fields(Evidence))


def observe(
    settings: Settings,
    keys: Iterable[Key],
    at: datetime,
    report: RotationReport,
    progress: Progress | None = None,
) -> dict[int, Observation]:
    """
    Return an observation of each readable key, by id. Without dnspython, return none and report a
    problem.

    at
        The time of the database's clock before this call.
    progress
        Called with (done, total) after each record.
    """
    asked = [key for key in keys if is_readable(settings, key)]
    records = [records_of(settings, key) for key in asked]
    flat = [record for of_key in records for record in of_key]
    if not flat:
        return {}
    try:
        found = iter(run(check.check(flat, settings.dns, True, progress)))
    except NoLibrary as error:
        report.problem(str(error))
        return {}
    return {
        key.id: _observation(settings, key, [next(found) for _ in of_key], at)
        for key, of_key in zip(asked, records, strict=True)
    }


def _observation(
    settings: Settings, key: Key, checked: Sequence[Checked], at: datetime
) -> Observation:
    wrong = [one for one in checked if not _is_ok(key, one)]
    is_gone = key.state == "revoked" and bool(wrong) and all(one.is_gone for one in wrong)
    # Answers come before missing answers: only an answer shows what is wrong with a record.
    wrong.sort(key=lambda one: one.verdict not in DATA)
    others = [
        answer.finding.ttl
        for one in checked
        for answer in one.servers
        if answer.finding.verdict != verdict.OK
    ]
    return Observation(
        verdict=NO_DOMAIN if is_gone else wrong[0].verdict if wrong else OK,
        detail="; ".join(_detail(one) for one in wrong) if wrong else _servers(checked[0]),
        at=at,
        value=desired_value(settings, key),
        negative_ttl=longest(*(one.negative_ttl for one in checked)),
        ttl=longest(
            *(
                answer.finding.ttl
                for answer in checked[0].servers
                if answer.finding.verdict == verdict.OK
            )
        ),
        other_ttl=longest(*others),
        else_ok=bool(wrong) and all(_is_else_ok(key, one) for one in wrong),
    )


def _verdicts(checked: Checked) -> set[str]:
    """Return the verdicts of a record's servers. Lame servers don't count: they show no data."""
    return {answer.finding.verdict for answer in checked.servers} - {verdict.LAME}


def _is_ok(key: Key, checked: Checked) -> bool:
    if key.state != "revoked":
        return checked.verdict == verdict.OK
    # Verifiers find no key if the record is empty, and none if the record is missing.
    found = _verdicts(checked)
    return bool(found) and found <= _EMPTY_OR_MISSING


def _is_else_ok(key: Key, checked: Checked) -> bool:
    """Return whether a record is ok at all servers that answer, while others give no answer."""
    found = _verdicts(checked)
    good = _EMPTY_OR_MISSING if key.state == "revoked" else {verdict.OK}
    return verdict.NO_ANSWER in found and found - {verdict.NO_ANSWER} <= good and len(found) > 1


def _detail(checked: Checked) -> str:
    return f"{checked.record.name} {checked.record.type}: {checked.detail or checked.verdict}"


def _servers(checked: Checked) -> str:
    advice = f" ({checked.detail})" if checked.detail else ""
    return f"at {counted(len(checked.servers), 'server')}{advice}"


def read_evidence(
    connection: pg.connection, database: Database, numbers: Collection[int]
) -> dict[int, Evidence]:
    """Return the stored evidence of keys, by their ids."""
    columns = ", ".join(_COLUMNS)
    with connection.cursor() as cursor:
        cursor.execute(
            compose(
                f"SELECT dkim_id, {columns} FROM {{observation}} WHERE dkim_id = ANY (%s)",
                **names(database),
            ),
            (list(numbers),),
        )
        return {number: Evidence(*row) for number, *row in cursor}


def unready_standby(
    connection: pg.connection, database: Database, margin: int, oldest: int
) -> list[str]:
    """
    Return the domains with a standby key that is too old, or whose record DNS has not shown for
    long enough.

    margin, oldest
        Seconds: ``rotation:margin``, and the age from which a standby key is too old.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            compose(
                """
                SELECT DISTINCT k.domain
                  FROM {dkim} AS k LEFT JOIN {observation} AS o ON o.dkim_id = k.id
                 WHERE k.state = 'standby'
                   AND (o.visible_since IS NULL OR o.verdict <> %(ok)s
                        OR o.observed_at - o.visible_since < make_interval(secs =>
                           coalesce(greatest(o.negative_ttl, o.other_ttl, o.ttl), 0) + %(margin)s)
                        OR k.created_at <= now() - make_interval(secs => %(oldest)s))
                """,
                **names(database),
            ),
            {"ok": OK, "margin": margin, "oldest": oldest},
        )
        return [domain for (domain,) in cursor]


def store_evidence(
    connection: pg.connection, database: Database, evidence: Mapping[int, Evidence]
) -> None:
    """Store evidence by the ids of keys; skip keys that no longer exist. Does not commit."""
    if not evidence:
        return
    columns = ("dkim_id", *_COLUMNS)
    with connection.cursor() as cursor:
        cursor.execute(
            compose(
                "CREATE TEMPORARY TABLE dkim_observed (LIKE {observation}) ON COMMIT DROP",
                **names(database),
            )
        )
        copy_rows(
            cursor,
            "dkim_observed",
            columns,
            ((number, *astuple(one)) for number, one in evidence.items()),
        )
        listed = ", ".join(columns)
        updated = ", ".join(f"{column} = excluded.{column}" for column in _COLUMNS)
        cursor.execute(
            compose(
                f"""
                INSERT INTO {{observation}} ({listed})
                SELECT {", ".join(f"o.{column}" for column in columns)}
                  FROM pg_temp.dkim_observed AS o JOIN {{dkim}} AS k ON k.id = o.dkim_id
                ON CONFLICT (dkim_id) DO UPDATE SET {updated}
                """,
                **names(database),
            )
        )
        cursor.execute("DROP TABLE pg_temp.dkim_observed")
