"""Daemons that a run would stop because the pillar names no domain."""

import os

from ..errors import FormulaError
from ..keys import table as keys_table
from ..postgres.connection import session
from ..settings.lookup import names
from ..settings.model import Settings
from ..signer import daemons

_TEXT = (
    "dkim:domains: names no domain, so a run would stop {service}, {why}; name the domains ('*' is "
    "every hosted domain) and their algorithms, and run 'salt-call pillar.items' to see what "
    "arrives here; to remove the formula from this machine, apply the state dkim.clean"
)


def problems(settings: Settings) -> list[str]:
    """
    Return a problem for each daemon of this machine that a run would stop while its keys sign. A
    pillar without domains is one of which a part did not arrive.
    """
    if settings.domains or settings.every_hosted is not None:
        return []
    lookup = names(settings.lookup)
    needed = daemons.daemons(settings, lookup)
    every = (daemons.daemon(algorithm, lookup) for algorithm in daemons.SIGNATURE_ALGORITHMS)
    return [
        _TEXT.format(service=one.service, why=why)
        for one in every
        if one not in needed and os.path.exists(one.config_file)
        if (why := _reason_to_stay(settings, one.algorithm))
    ]


def _reason_to_stay(settings: Settings, algorithm: str) -> str:
    """Return why the daemon of an algorithm may sign, or ''."""
    try:
        with session(settings.database) as connection:
            count = keys_table.count_signing(connection, settings.database, algorithm)
    except FormulaError:
        return "whose keys can't be read here"
    shown = f"{algorithm} keys in the database (active, standby or pending: {count})"
    return f"which signs with {shown}" if count else ""
