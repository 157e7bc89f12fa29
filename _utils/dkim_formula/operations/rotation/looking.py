"""Looks at the keys' records, at every authoritative server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from ...database.keystore import Key
from ...dns import check, verdict
from ...dns.check import Checked
from ...dns.failure import NoLibrary
from ...dns.loop import run
from ...records import Record, delegation_records
from ...rotation.evidence import DATA, RIGHT, Look
from ...settings.model import Settings
from ...wanted import domain_settings, key_problem, record_of
from .outcome import Outcome

_EMPTY_OR_AWAY = frozenset({verdict.RIGHT, verdict.ABSENT})


def look(
    settings: Settings, keys: Sequence[Key], at: datetime, outcome: Outcome
) -> dict[int, Look]:
    """
    A look at each key, by id; none where dnspython is not there, which is a problem.

    at
        The database's clock, from before this call.
    """
    asked = [
        key for key in keys if not key_problem(key, domain_settings(settings, key.domain.lower()))
    ]
    records = [records_of(settings, key) for key in asked]
    flat = [record for of_key in records for record in of_key]
    if not flat:
        return {}
    try:
        found = iter(run(check.check(flat, settings.dns, zone_times=True)))
    except NoLibrary as error:
        outcome.problem(str(error))
        return {}
    looks = {}
    for key, of_key in zip(asked, records, strict=True):
        checked = [next(found) for _ in of_key]
        looks[key.id] = _look(key, checked, at)
    return looks


def records_of(settings: Settings, key: Key) -> list[Record]:
    """
    What has to be in DNS for a key to be found: its record, and before it signs also the CNAME of
    a delegated domain, which only its owner can add.
    """
    domain = domain_settings(settings, key.domain.lower())
    record = record_of(key, domain)
    if domain.delegation is None or key.state == "revoked":
        return [record]
    alone = replace(domain.delegation, selectors=())
    return [record, *delegation_records(domain.name, alone, (key.selector,), domain.ttl)]


def value_of(record: Record) -> str:
    """What a look is for: with other settings it may be another text, or at another name."""
    return f"{record.name} {record.value}"


def _look(key: Key, checked: Sequence[Checked], at: datetime) -> Look:
    wrong = [one for one in checked if not _is_right(key, one)]
    # What servers say comes before their silence: it tells that the record is not to be found.
    wrong.sort(key=lambda one: one.verdict not in DATA)
    others = [
        answer.finding.ttl
        for one in checked
        for answer in one.servers
        if answer.finding.verdict != verdict.RIGHT
    ]
    return Look(
        verdict=wrong[0].verdict if wrong else RIGHT,
        detail="; ".join(_said(one) for one in wrong) if wrong else _where(checked[0]),
        at=at,
        value=value_of(checked[0].record),
        negative_ttl=_longest(one.negative_ttl for one in checked),
        ttl=_longest(
            answer.finding.ttl
            for answer in checked[0].servers
            if answer.finding.verdict == verdict.RIGHT
        ),
        other_ttl=_longest(others),
        else_right=bool(wrong) and all(_is_else_right(key, one) for one in wrong),
    )


def _is_right(key: Key, checked: Checked) -> bool:
    if key.state != "revoked":
        return checked.verdict == verdict.RIGHT
    # The key is not to be found any more, whether its record is empty or away. A lame server shows
    # nobody anything.
    found = {answer.finding.verdict for answer in checked.servers} - {verdict.LAME}
    return bool(found) and found <= _EMPTY_OR_AWAY


def _is_else_right(key: Key, checked: Checked) -> bool:
    """Whether servers that don't answer are all that is between a record and its being right."""
    found = {answer.finding.verdict for answer in checked.servers} - {verdict.LAME}
    good = _EMPTY_OR_AWAY if key.state == "revoked" else {verdict.RIGHT}
    return verdict.SILENT in found and found - {verdict.SILENT} <= good and len(found) > 1


def _said(checked: Checked) -> str:
    return f"{checked.record.name} {checked.record.type}: {checked.detail or checked.verdict}"


def _where(checked: Checked) -> str:
    count = len(checked.servers)
    advice = f" ({checked.detail})" if checked.detail else ""
    return f"at {count} server{'' if count == 1 else 's'}{advice}"


def _longest(seconds) -> int | None:
    return max((one for one in seconds if one is not None), default=None)
