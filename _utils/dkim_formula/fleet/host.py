"""The report of one host of a fleet: versions, daemons, the database and problems."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from ..errors import FormulaError
from ..health import commands as health
from ..health import remote_database, selftest
from ..health.model import Host, timestamp
from ..postgres.connection import session
from ..rotation.urgency import NEEDS_A_PERSON, is_held, urgency
from ..settings import Reading
from ..settings.model import Database
from ..signer.restart import answers
from ..version import VERSION

# Checks by role. Only the database host reports keys and DNS: a standby would repeat its report.
_OF_MAIL = ("service", "socket", "login")
_OF_ALL = ("settings", "database", "database-clock")
# Checks that only hosts of some roles must know. ``database`` is in the report itself.
_MAY_BE_UNKNOWN = {"database": (), "database-clock": ("database", "mail")}

_KEPT = ("check", "subject", "message", "remedy", "items", "count", "since")

# The number of domains that need a person in the report, at most.
_DOMAINS = 20

# A standby that has replayed everything it received is up to date while it still receives.
_REPLICATION = """
SELECT pg_is_in_recovery(),
       CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
            ELSE extract(epoch FROM now() - pg_last_xact_replay_timestamp()) END::float8,
       EXISTS (SELECT FROM pg_stat_wal_receiver)
"""


def report(
    reading: Reading,
    roles: Collection[str],
    folder: str,
    runs: Callable[[str], bool],
    opendkim: str,
) -> dict[str, Any]:
    """
    Return the report of this host. Changes nothing. The self-test signs a message that is not
    delivered.

    roles
        The roles of this host: ``database``, ``standby``, ``mail``, ``publisher``.
    folder, runs
        The arguments of :func:`health.commands.health`.
    opendkim
        The version of OpenDKIM's package, or ''.

    Returns ``{"formula", "opendkim", "daemons": {service: bool}, "sockets": {path: bool},
    "database": {"reached", "host", "standby", "lag", "problem"}, "selftest": {"ok", "at",
    "problems"}, "problems": [{check, subject, message, remedy, items, count, since}], "unknown":
    [check], "checked": {"database", "dns"}, "needs_person": {"count", "domains": [{"domain",
    "reason"}]}}``. ``unknown`` are the checks of these roles without a result. ``checked`` has the
    last times of the questions, which only a host of the role ``database`` asks. ``needs_person``
    has the first domains whose keys or records need a person, and the number of all of them.
    """
    this_host = Host(reading.settings, tuple(reading.problems))
    signs = "mail" in roles
    daemons = this_host.daemons if signs else ()
    if "database" in roles:
        found = health.report(reading, folder, runs, "")
    else:
        found = health.health(reading, folder, runs)
    return {
        "formula": VERSION,
        "opendkim": opendkim if signs else "",
        "daemons": {one.service: bool(runs(one.service)) for one in daemons},
        "sockets": {one.socket: answers(one.socket) for one in daemons},
        "database": _database(this_host),
        "selftest": _selftest(reading) if signs else None,
        **findings(found, roles),
    }


def findings(found: Mapping[str, Any], roles: Collection[str]) -> dict[str, Any]:
    """
    Return the part of a report about the results of checks.

    found
        The return of ``health.commands.report``, or of ``health.commands.health``.
    """
    return {
        "problems": [
            {name: one[name] for name in _KEPT}
            for one in found["problems"]
            if _is_reported(one["check"], roles)
        ],
        "unknown": [check for check in found["unknown"] if _is_expected(check, roles)],
        "checked": found["checked"] if "database" in roles else {},
        "needs_person": needs_person(found.get("keys", ()), datetime.now(timezone.utc)),
    }


def needs_person(keys: Iterable[Mapping[str, Any]], now: datetime) -> dict[str, Any]:
    """
    Return the domains that need a person, each with the reason of its first such key.

    keys
        The lines of ``dkim.status``.
    """
    reasons: dict[str, str] = {}
    for key in keys:
        if key["domain"] not in reasons and urgency(key, now) == NEEDS_A_PERSON:
            reasons[key["domain"]] = _reason(key)
    first = sorted(reasons.items())[:_DOMAINS]
    domains = [{"domain": domain, "reason": reason} for domain, reason in first]
    return {"count": len(reasons), "domains": domains}


def _reason(key: Mapping[str, Any]) -> str:
    if key["problem"]:
        return key["problem"]
    if is_held(key):
        return "neither hosted nor in the pillar any more; its keys sign until a person decides"
    return f"the record of {key['selector']} is not in DNS as desired: {key['dns']}"


def _is_expected(check: str, roles: Collection[str]) -> bool:
    """Return whether a host of these roles should know the result of a check."""
    if check in _MAY_BE_UNKNOWN:
        return not set(roles).isdisjoint(_MAY_BE_UNKNOWN[check])
    return _is_reported(check, roles)


def _is_reported(check: str, roles: Collection[str]) -> bool:
    if check in _OF_ALL:
        return True
    return ("mail" if check in _OF_MAIL else "database") in roles


def _database(this_host: Host) -> dict[str, Any]:
    database = this_host.settings.database
    try:
        if database.only_signs:
            host, *replication = remote_database.ask(this_host, _REPLICATION)
        else:
            host, *replication = _replication(database)
    except FormulaError as error:
        return {"reached": False, "host": "", "standby": None, "lag": None, "problem": str(error)}
    standby, lag, receives = replication
    problem = "" if not standby or receives else "the standby receives nothing from its primary"
    return {
        "reached": True,
        "host": host or "local",
        "standby": standby,
        "lag": lag if standby else None,
        "problem": problem,
    }


def _replication(database: Database) -> tuple[Any, ...]:
    with session(database, setup=True) as connection, connection.cursor() as cursor:
        cursor.execute(_REPLICATION)
        host = connection.info.host
        return ("" if host.startswith("/") else host, *cursor.fetchone())


def _selftest(reading: Reading) -> dict[str, Any]:
    try:
        problems = selftest.problems(reading.settings)
    except FormulaError as error:
        problems = [f"self-test: {error}"]
    return {"ok": not problems, "at": timestamp(time.time()), "problems": problems}
