"""Everything that would stop a run, found before its first change."""

from collections.abc import Mapping

from ..database import access, inspection
from ..database import domains as domain_table
from ..database.connection import session
from ..errors import DatabaseUnavailable, FormulaError
from ..settings import Reading
from ..settings.model import Settings
from ..wanted import chosen_domains
from .keys import not_hosted
from .setup import nothing_there_yet

UNSIGNED_ADVICE = (
    "dkim:postfix:milter_default_action: 'accept' sends mail on unsigned, with nothing but a line "
    "in Postfix's log, for as long as OpenDKIM is away; 'tempfail' keeps it in the sender's queue"
)


def check(reading: Reading) -> dict[str, object]:
    """
    Looks at the pillar's settings, the database and PostgreSQL's access files.

    Returns ``{"problems": [text], "advice": [text], "looked": bool}``: problems forbid a run,
    advice does not; ``looked`` is False where there is no database yet, or no driver to look
    with. Changes nothing.
    """
    settings = reading.settings
    problems, advice = list(reading.problems), list(reading.advice)
    if settings.postfix.milter_default_action == "accept":
        advice.append(UNSIGNED_ADVICE)
    looked = True
    try:
        found = _database(settings)
    except DatabaseUnavailable as error:
        looked = False
        if not nothing_there_yet(error, settings.database):
            problems.append(str(error))
    except FormulaError as error:
        problems.append(str(error))
    else:
        problems += found["problems"]
        advice += found["advice"]
    return {"problems": problems, "advice": advice, "looked": looked}


def _database(settings: Settings) -> Mapping[str, list[str]]:
    database = settings.database
    with session(database) as connection:
        found = inspection.inspect(connection, database)
        problems, advice = list(found.problems), list(found.advice)
        if not problems:
            problems += _domains(connection, settings)
        if database.reader.auth == "peer":
            problems += access.look(connection).faults
    return {"problems": problems, "advice": advice}


def _domains(connection, settings: Settings) -> list[str]:
    chosen = chosen_domains(settings, ())
    lacking = domain_table.missing(connection, settings.database, chosen)
    if lacking and not domain_table.may_insert(connection, settings.database):
        return [not_hosted(settings, lacking)]
    return []
