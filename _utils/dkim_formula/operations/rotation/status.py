"""A line a key: what it is, what DNS shows of it, what comes next and when."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from ...database import evidence as evidence_table
from ...database.connection import session
from ...database.keystore import Key
from ...names import stored_domain
from ...rotation.decision import moment_text
from ...rotation.due import due_at
from ...rotation.evidence import Evidence, Look, after
from ...settings.model import Settings
from ...wanted import domain_settings, key_problem
from .. import orphans
from ..keys import whole_keys
from .limits import limits
from .looking import look, records_of, value_of
from .outcome import Outcome
from .situation import Situation, is_readable

_MOMENTS = {
    "pending": "created",
    "active": "activated",
    "retired": "retired",
    "revoked": "revoked",
}
_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def status(settings: Settings, domain: object = None, dns: bool = True) -> list[dict[str, object]]:
    """
    Every key, or a domain's; changes nothing.

    dns
        Ask the authoritative servers; if not, what they last showed decides.

    Returns a list of ``{"domain", "selector", "algorithm", "bits", "state", "address", "age",
    "dns", "next", "when", "problem"}``: ``age`` is how long it has been in its state, ``dns`` a
    verdict of ``dns.verdict`` or ``-``, ``when`` ISO 8601 or empty, ``problem`` what is wrong with
    the row, and what to do.
    """
    name = None if domain is None else stored_domain(domain)
    with session(settings.database) as connection:
        keys = whole_keys(connection, settings, name)
        now = evidence_table.clock(connection)
        stored = evidence_table.read(connection, settings.database, [key.id for key in keys])
    found = orphans.look(settings)
    shown = [key for key in keys if is_readable(settings, key)]
    looks = look(settings, shown, now, Outcome()) if dns else {}
    known = {key.id: _known(settings, key, stored.get(key.id), looks, now) for key in shown}
    known = {number: evidence for number, evidence in known.items() if evidence is not None}
    situation = Situation(settings, limits(settings), now, keys, known, known, orphans=found)
    return [_line(situation, key, looks) for key in keys]


def _line(situation: Situation, key: Key, looks: Mapping[int, Look]) -> dict[str, object]:
    following, when = _next(situation, key)
    domain = domain_settings(situation.settings, key.domain.lower())
    return {
        "domain": key.domain,
        "selector": key.selector,
        "algorithm": key.algorithm,
        "bits": key.bits,
        "state": key.state,
        "address": key.address,
        "age": _age(getattr(key, _MOMENTS[key.state]), situation.now),
        "dns": looks[key.id].verdict if key.id in looks else "-",
        "next": following,
        "when": "" if when is None else moment_text(when),
        "problem": key.problem or key_problem(key, domain),
    }


def _next(situation: Situation, key: Key) -> tuple[str, datetime | None]:
    following, when = _step(situation, key)
    is_gone = key.domain in situation.orphans.gone
    return (f"orphaned; {following}" if is_gone else following), when


def _step(situation: Situation, key: Key) -> tuple[str, datetime | None]:
    decided = situation.decide(key)
    if key.state == "active" and decided.step is None:
        if key.domain in situation.orphans.gone:
            return "signs on until dkim.advance force=True; dkim.check says why", None
        if key.activated is None:
            return "rotation", None
        rotation = situation.settings.rotation
        return "rotation", due_at(key.activated, rotation, key.domain, key.algorithm)
    if decided.step is not None:
        return f"{decided.step} at the next dkim.advance", situation.now
    return f"{situation.next_state(key)}: {decided.waits_for}", decided.until


def _known(
    settings: Settings,
    key: Key,
    evidence: Evidence | None,
    looks: Mapping[int, Look],
    now: datetime,
) -> Evidence | None:
    if key.id in looks:
        return after(evidence, looks[key.id], now)
    is_current = evidence is not None and is_readable(settings, key)
    if is_current and evidence.value == value_of(records_of(settings, key)[0]):
        return evidence
    return None


def _age(moment: datetime | None, now: datetime) -> str:
    """As a person says it: ``12d``, ``3h``; of a moment that is still to come, ``0s``."""
    if moment is None:
        return ""
    seconds = max(int((now - moment).total_seconds()), 0)
    unit, size = next((one for one in _UNITS if seconds >= one[1]), ("s", 1))
    return f"{seconds // size}{unit}"
