"""
Domains whose first key waits for its record because of what an import found, and the reasons.

The import refused the domain's old key: DNS may show that key, but the formula does not have it. Or
the program signs the domain's mail as another domain. In both cases the mail has valid signatures
today, and a signature that fails is worse. The history records each domain. The record counts until
a key of the domain becomes active.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from ..postgres.objects import names
from ..postgres.sql import compose
from ..settings.model import Database

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# The reasons, with which a line of the history begins.
REFUSED = "an import refused the domain's key"
SIGNED_AS = "an import found the domain's mail signed as another domain"
_BEGINS = " OR ".join(
    f"h.why LIKE '{reason.replace(chr(39), 2 * chr(39))}%%'" for reason in (REFUSED, SIGNED_AS)
)
# SQL condition: whether line ``h`` of the history has such a reason that still counts.
COUNTS = f"""
    h.selector = '' AND ({_BEGINS}) AND NOT EXISTS (
        SELECT FROM {{history}} AS a
         WHERE a.domain = h.domain AND a.to_state = 'active' AND a.id > h.id)
"""

_NOTE = """
INSERT INTO {history} (dkim_id, domain, selector, algorithm, address, who, why)
SELECT 0, n.domain, '', 'rsa', '',
       concat_ws(' by ', session_user, nullif(current_setting('application_name'), '')), n.why
  FROM unnest(%s::text[], %s::text[]) AS n (domain, why)
"""


def note(connection: pg.connection, database: Database, reasons: Mapping[str, str]) -> None:
    """
    Write the reason of each domain to the history. Does not commit.

    reasons
        Texts that begin with ``REFUSED`` or ``SIGNED_AS``, by domain.
    """
    with connection.cursor() as cursor:
        cursor.execute(compose(_NOTE, **names(database)), (list(reasons), list(reasons.values())))


def pending_note(domain: str, reason: str = REFUSED) -> str:
    """Return a sentence about a domain whose new key waits for its record."""
    new = "the new one" if reason == REFUSED else "its first key"
    return (
        f"{domain}: {reason}, so {new} is pending until DNS shows its record; dkim.status says "
        "what it waits for"
    )


def first_key_waits_for(reason: str, domain: str, selector: str) -> str:
    """Return what a pending key with a selector waits for, and the command that ends the wait."""
    risk = ", and DNS may show that key" if reason == REFUSED else ""
    return (
        f"{reason}{risk}: publish this key's record, or use dkim.activate {domain} {selector} "
        "force=True"
    )


def waiting(
    connection: pg.connection, database: Database, domains: Collection[str] | None = None
) -> dict[str, str]:
    """
    Return the domains, or those among ``domains``, whose first key waits for its record, each with
    its last reason: ``REFUSED`` or ``SIGNED_AS``.
    """
    condition = "" if domains is None else " AND h.domain = ANY (%(domains)s)"
    with connection.cursor() as cursor:
        cursor.execute(
            compose(
                f"SELECT h.domain, h.why FROM {{history}} AS h WHERE {COUNTS}{condition}"
                " ORDER BY h.id",
                **names(database),
            ),
            {"domains": None if domains is None else list(domains)},
        )
        return {domain: REFUSED if why.startswith(REFUSED) else SIGNED_AS for domain, why in cursor}
