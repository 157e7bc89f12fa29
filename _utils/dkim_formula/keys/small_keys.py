"""Active keys that are smaller than the MinimumKeyBits of OpenDKIM's settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..names import is_served, printable
from ..postgres import schema
from ..postgres.adoption import Adopted
from ..postgres.objects import names
from ..postgres.sql import compose
from ..settings.model import Settings
from ..settings.opendkim import SETTINGS
from ..settings.signing_options import minimum_bits
from ..text import listed

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# The number of domains that a sentence names.
_NAMED = 3

# The index dkim_one_active has all columns of this query.
_SMALL = """
SELECT count(DISTINCT k.domain), min(k.bits),
       (array_agg(DISTINCT coalesce(k.domain, '')))[1:3]
  FROM {dkim} AS k
 WHERE k.state = 'active' AND k.algorithm = 'rsa' AND k.bits < %s
"""


def problems(
    connection: pg.connection, settings: Settings, adopted: Sequence[Adopted] = ()
) -> list[str]:
    """
    Return a sentence on the active RSA keys with which OpenDKIM would refuse to sign.

    adopted
        The keys of a table that is not adopted yet.
    """
    minimum = minimum_bits(settings.opendkim.settings)
    if not minimum:
        return []
    small = {
        row.domain: row.bits
        for row in adopted
        if row.state == "active" and row.algorithm == "rsa" and (row.bits or minimum) < minimum
    }
    if small:
        return [_sentence(minimum, min(small.values()), sorted(small), len(small))]
    if not schema.has_tables(connection, settings.database):
        return []
    with connection.cursor() as cursor:
        cursor.execute(compose(_SMALL, **names(settings.database)), (minimum,))
        count, least, domains = cursor.fetchone()
    return [_sentence(minimum, least, domains, count)] if count else []


def _sentence(minimum: int, least: int, domains: Sequence[str], count: int) -> str:
    shown = [name if is_served(name) else printable(name) for name in domains]
    return (
        f"{SETTINGS}:MinimumKeyBits: {minimum} is more than the {least} bits of an active key, so "
        f"OpenDKIM would refuse mail of {listed(shown, _NAMED, count)}; use {least} or less "
        "until dkim.rotate has replaced each smaller key"
    )
