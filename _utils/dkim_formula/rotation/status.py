"""The status of each key: its state, its record in DNS, its next move and the time of that move."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime

from ..keys import history, refusals, removed_domains
from ..keys import table as keys_table
from ..keys.completion import completed_keys
from ..keys.desired import domain_settings, key_problem
from ..keys.model import Key
from ..names import domain_glob, row_spellings, u_labels
from ..postgres.connection import session
from ..progress import Progress
from ..settings.model import Settings
from ..settings.validation import choice
from ..text import timestamp
from . import replica_replay
from .due_dates import due_at
from .gate import Evidence, Observation, with_observation
from .observe import observe, read_evidence
from .report import RotationReport
from .run import retirement
from .state import NEXT_ROTATION, RotationState, desired_value, is_readable
from .urgency import ACTIVE_BY_ROTATION, NEEDS_A_PERSON, urgency

_SINCE = {
    "standby": "created",
    "pending": "created",
    "active": "activated",
    "retired": "retired",
    "revoked": "revoked",
}
_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def status(
    settings: Settings,
    domain: object = None,
    dns: bool = True,
    state: str | None = None,
    problem: bool = False,
    verdict_of: Callable[[Key], str] | None = None,
    progress: Progress | None = None,
) -> list[dict[str, object]]:
    """
    Return the status of every key, or of a domain's keys. Changes nothing.

    domain
        A domain, or a pattern with ``*`` or ``?`` for all matching domains.
    state
        Return only keys in this state.
    problem
        Return only keys that need a person.
    dns
        Ask the authoritative servers. Without it, the stored observations decide.
    verdict_of
        Returns the verdict on a key's record if no server is asked for it.
    progress
        Called with (done, total) after each record that is asked for.

    Returns a list of ``{"domain", "selector", "algorithm", "bits", "state", "address", "age",
    "dns", "next", "when", "problem"}``. ``age`` is the time since the key entered its state.
    ``dns`` is a verdict of ``dns.verdict`` or ``-``. ``when`` is ISO 8601 or empty. ``problem``
    says what is wrong with the row and what to do.

    Raises InvalidValue for an invalid domain or state.
    """
    if state is not None:
        choice(*_SINCE)(state, "state")
    glob = domain_glob(domain)
    spellings = None if domain is None or glob else row_spellings(domain)
    with session(settings.database) as connection:
        name = spellings and keys_table.row_domain(connection, settings.database, spellings)
        keys = completed_keys(connection, settings, name)
        keys = [key for key in keys if glob is None or _matches(glob, key.domain)]
        now = history.clock(connection)
        stored = read_evidence(connection, settings.database, [key.id for key in keys])
        refused = refusals.waiting(connection, settings.database)
        standbys = replica_replay.read(connection, settings.database)
    observations = {}
    if dns:
        observations = observe(settings, keys, now, RotationReport(), progress)
    known = {}
    for key in keys:
        if is_readable(settings, key):
            evidence = _evidence(settings, key, stored.get(key.id), observations, now)
            if evidence is not None:
                known[key.id] = evidence
    current = RotationState(
        settings,
        retirement(settings),
        frozenset(key.domain for key in keys),
        keys,
        evidence=known,
        observed=known,
        orphans=removed_domains.read(settings),
        refused=refused,
        replicas=standbys,
    )
    chosen = [key for key in keys if state in (None, key.state)]
    lines = [line_of(current, key, observations, now, verdict_of) for key in chosen]
    return [line for line in lines if not problem or urgency(line, now) == NEEDS_A_PERSON]


def _matches(glob: re.Pattern, domain: str) -> bool:
    return bool(glob.match(domain.lower()) or glob.match(u_labels(domain.lower())))


def line_of(
    state: RotationState,
    key: Key,
    observations: Mapping[int, Observation],
    now: datetime,
    verdict_of: Callable[[Key], str] | None,
) -> dict[str, object]:
    """Return a key's line of :func:`status`; the arguments are as there."""
    next_, when = _next(state, key, now)
    if key.domain in state.orphans.gone:
        next_ = f"orphaned; {next_}"
    domain = domain_settings(state.settings, key.domain.lower())
    verdict = "-" if verdict_of is None or key.domain in state.orphans.gone else verdict_of(key)
    return {
        "domain": key.domain,
        "selector": key.selector,
        "algorithm": key.algorithm,
        "bits": key.bits,
        "state": key.state,
        "address": key.address,
        "age": _age(getattr(key, _SINCE[key.state]), now),
        "dns": observations[key.id].verdict if key.id in observations else verdict,
        "next": next_,
        "when": "" if when is None else timestamp(when),
        "problem": key.problem or key_problem(key, domain),
    }


def _next(state: RotationState, key: Key, now: datetime) -> tuple[str, datetime | None]:
    decision = state.decide(key, now)
    if decision.to_state is not None:
        return f"{decision.to_state} at the next dkim.advance", now
    if decision.waits_for == NEXT_ROTATION:
        return ACTIVE_BY_ROTATION, None
    if key.state != "active":
        return f"{state.next_state(key)}: {decision.waits_for}", decision.not_before
    if key.domain in state.orphans.gone:
        return "signs on until dkim.advance force=True; dkim.check says why", None
    if key.activated is None:
        return "rotation", None
    return "rotation", due_at(key.activated, state.settings.rotation, key.domain, key.algorithm)


def _evidence(
    settings: Settings,
    key: Key,
    stored: Evidence | None,
    observations: Mapping[int, Observation],
    now: datetime,
) -> Evidence | None:
    """Return the evidence of a key's present record; None without evidence."""
    if key.id in observations:
        return with_observation(stored, observations[key.id], now)
    is_current = stored is not None and stored.value == desired_value(settings, key)
    return stored if is_current else None


def _age(since: datetime | None, now: datetime) -> str:
    """Return a time span in one unit: ``12d``, ``3h``; ``0s`` for a time in the future."""
    if since is None:
        return ""
    seconds = max(int((now - since).total_seconds()), 0)
    unit, size = next((one for one in _UNITS if seconds >= one[1]), ("s", 1))
    return f"{seconds // size}{unit}"
