"""The check that finds the problems of a run before its first change."""

import os
from collections.abc import Mapping

from ..dns.desired import own_spf_problems
from ..dns.providers import octodns
from ..errors import DatabaseError, DatabaseUnavailable, FormulaError
from ..importing import other_signers
from ..keys import odd_rows, removed_domains, small_keys
from ..keys.known_domains import not_hosted
from ..postgres import (
    access_files,
    inspection,
    key_readers,
    public_rights,
    schema,
    server,
    stand_in,
)
from ..postgres.commands import awaits_setup
from ..postgres.connection import session
from ..settings import Reading
from ..settings.lookup import names as names_of_machine
from ..settings.model import Settings
from ..signer import certificates, config_check, daemons
from . import overrides, stopped_daemons

SYSTEMD_RUNS = "/run/systemd/system"  # sd_booted(3)

UNSIGNED_ADVICE = (
    "dkim:postfix:milter_default_action: with 'accept', mail leaves unsigned while OpenDKIM is "
    "down, and only Postfix's log shows it; set 'tempfail', so that mail waits"
)

NO_SYSTEMD_ADVICE = (
    "this machine has no systemd: nothing starts OpenDKIM again when it has crashed, and it "
    "crashes when mail comes while PostgreSQL is down; monitor it, and set "
    "dkim:postfix:milter_default_action to 'tempfail', so that mail waits"
)
NO_PASSWORD_FILE_ADVICE = (
    "dkim:database:reader:auth: 'password' needs systemd, whose unit tells OpenDKIM where the "
    "password is; without systemd, add to /etc/default/opendkim: export {variables}"
)


def check(reading: Reading) -> dict[str, object]:
    """
    Check the pillar, the database, PostgreSQL's access files, and OpenDKIM's new configuration.

    Returns ``{"problems": [text], "advice": [text], "database_checked": bool}``. Problems forbid a
    run, and advice does not. ``database_checked`` is False if the database could not be read: the
    database or the driver is missing, or this machine only signs. Changes nothing.
    """
    settings = reading.settings
    problems, advice = list(reading.problems), list(reading.advice)
    overriding = overrides.inspect(settings)
    problems += overriding.problems
    advice += overriding.advice
    advice += other_signers.messages(settings)
    if overriding.action == "accept":
        advice.append(UNSIGNED_ADVICE)
    if not os.path.isdir(SYSTEMD_RUNS):
        advice.append(NO_SYSTEMD_ADVICE)
        if settings.database.reader.auth == "password":
            variables = daemons.environment(settings.database)
            listed = " ".join(f"{name}={value}" for name, value in variables.items())
            advice.append(NO_PASSWORD_FILE_ADVICE.format(variables=listed))
    problems += certificates.problems(settings.database)
    if not reading.problems:
        problems += stopped_daemons.problems(settings)
        if settings.dns.packages:
            problems += octodns.settings_problems(settings.dns)
        problems += config_check.problems(settings, names_of_machine(settings.lookup))
    database_checked = True
    try:
        found = _database(settings)
    except DatabaseUnavailable as error:
        database_checked = False
        if error.reason == "elsewhere":
            advice.append(str(error))
        elif not awaits_setup(error, settings.database):
            problems.append(str(error))
    except FormulaError as error:
        problems.append(str(error))
    else:
        problems += found["problems"]
        advice += found["advice"]
    return {"problems": problems, "advice": advice, "database_checked": database_checked}


def _database(settings: Settings) -> Mapping[str, list[str]]:
    database = settings.database
    with session(database, setup=True) as connection:
        advice = list(inspection.inspect(connection, database).advice)
        advice += key_readers.plan(key_readers.read(connection, database), database).notes
        advice += public_rights.reached(connection, database)
        problems, notes = _schema(connection, settings)
        advice += notes
        if not problems:
            advice += not_hosted(connection, settings)
            advice += odd_rows.problems(connection, settings)
            advice += own_spf_problems(connection, settings)
        if schema.has_tables(connection, database):
            with stand_in.collected() as notes:
                advice += removed_domains.advice(settings)
            advice += notes
        if not database.host:
            problems += access_files.read(connection).faults
            network = server.inspect_for_clients(connection, database)
            problems += network.problems
            advice += network.advice
    return {"problems": problems, "advice": advice}


def _schema(connection, settings: Settings) -> tuple[list[str], list[str]]:
    """
    Return the problems that forbid to create tables and views, or to start OpenDKIM with the
    present keys, and notes on adopted keys.
    """
    database = settings.database
    try:
        snapshot = schema.read(connection, database)
        planned = schema.plan(snapshot, database)
    except DatabaseError as error:
        return str(error).splitlines(), []
    problems = small_keys.problems(connection, settings, snapshot.adopted)
    return problems, odd_rows.shortened(planned.notes)
