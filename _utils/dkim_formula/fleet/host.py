"""What one host of a fleet says of itself: versions, daemons, the database, and what is wrong."""

import time
from collections.abc import Callable, Collection
from typing import Any

from ..errors import FormulaError
from ..health import check_signing, reader_login
from ..health import commands as health
from ..health.model import Host, timestamp
from ..postgres.connection import session
from ..settings import Reading
from ..settings.model import Database
from ..signer.restart import answers
from ..version import VERSION

# A standby would repeat what the database host says of keys and DNS.
_OF_MAIL = ("service", "socket")
_OF_ALL = ("settings", "database")

# A standby that has replayed all that it has received is up to date as long as it receives.
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
    Look at this host. Changes nothing; a message is signed for the self-test, and not delivered.

    roles
        This host's: ``database``, ``standby``, ``mail``, ``publisher``.
    folder, runs
        As :func:`health.commands.health`.
    opendkim
        The version of OpenDKIM's package, or ''.

    Return ``{"formula", "opendkim", "daemons": {service: bool}, "sockets": {path: bool},
    "database": {"reached", "host", "standby", "lag", "problem"}, "selftest": {"ok", "at",
    "problems"}, "problems": [{check, message, remedy, items, count}]}``.
    """
    site = Host(reading.settings, tuple(reading.problems))
    signs = "mail" in roles
    daemons = site.daemons if signs else ()
    found = health.health(reading, folder, runs)["problems"]
    kept = ("check", "message", "remedy", "items", "count")
    return {
        "formula": VERSION,
        "opendkim": opendkim if signs else "",
        "daemons": {one.service: bool(runs(one.service)) for one in daemons},
        "sockets": {one.socket: answers(one.socket) for one in daemons},
        "database": _database(site),
        "selftest": _selftest(reading) if signs else None,
        "problems": [
            {name: one[name] for name in kept} for one in found if _is_told(one["check"], roles)
        ],
    }


def _is_told(check: str, roles: Collection[str]) -> bool:
    if check in _OF_ALL:
        return True
    return ("mail" if check in _OF_MAIL else "database") in roles


def _database(site: Host) -> dict[str, Any]:
    database = site.settings.database
    try:
        if database.only_signs:
            host, *replication = reader_login.ask(site, _REPLICATION)
        else:
            host, *replication = _asked(database)
    except FormulaError as error:
        return {"reached": False, "host": "", "standby": None, "lag": None, "problem": str(error)}
    standby, lag, receives = replication
    behind = "" if not standby or receives else "the standby receives nothing from its primary"
    return {
        "reached": True,
        "host": host or "local",
        "standby": standby,
        "lag": lag if standby else None,
        "problem": behind,
    }


def _asked(database: Database) -> tuple[Any, ...]:
    with session(database, setup=True) as connection, connection.cursor() as cursor:
        cursor.execute(_REPLICATION)
        host = connection.info.host
        return ("" if host.startswith("/") else host, *cursor.fetchone())


def _selftest(reading: Reading) -> dict[str, Any]:
    try:
        problems = check_signing.problems(reading.settings)
    except FormulaError as error:
        problems = [f"self-test: {error}"]
    return {"ok": not problems, "at": timestamp(time.time()), "problems": problems}
