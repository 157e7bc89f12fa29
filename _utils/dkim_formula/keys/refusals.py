"""
Domains whose old key an import refused: DNS may show that key, but the formula does not have it.

The history records each refusal. A first key of such a domain waits for its record: if DNS shows
another key, a signature that fails is worse than no signature. The refusal counts until a key of
the domain becomes active.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from ..postgres.objects import names
from ..postgres.sql import compose
from ..settings.model import Database

if TYPE_CHECKING:
    import psycopg2.extensions as pg

WHY = "an import refused the domain's key"
# SQL condition: whether a refusal, line ``h`` of the history, still counts.
COUNTS = f"""
    h.selector = '' AND h.why LIKE '{WHY.replace("'", "''")}%%' AND NOT EXISTS (
        SELECT FROM {{history}} AS a
         WHERE a.domain = h.domain AND a.to_state = 'active' AND a.id > h.id)
"""

_NOTE = """
INSERT INTO {history} (dkim_id, domain, selector, algorithm, address, who, why)
VALUES (0, %s, '', 'rsa', '',
        concat_ws(' by ', session_user, nullif(current_setting('application_name'), '')), %s)
"""


def note(connection: pg.connection, database: Database, reasons: Mapping[str, str]) -> None:
    """Write a refusal of each domain, with the reason, to the history. Does not commit."""
    with connection.cursor() as cursor:
        for domain, reason in reasons.items():
            cursor.execute(compose(_NOTE, **names(database)), (domain, f"{WHY}: {reason}"))


def pending_note(domain: str) -> str:
    """Return a sentence about a domain whose new key waits for its record."""
    return (
        f"{domain}: {WHY}, so the new one is pending until DNS shows its record; dkim.status says "
        "what it waits for"
    )


def waiting(
    connection: pg.connection, database: Database, domains: Collection[str] | None = None
) -> frozenset[str]:
    """Return the domains, or those among ``domains``, whose first key waits for its record."""
    condition = "" if domains is None else " AND h.domain = ANY (%(domains)s)"
    with connection.cursor() as cursor:
        cursor.execute(
            compose(
                f"SELECT DISTINCT h.domain FROM {{history}} AS h WHERE {COUNTS}{condition}",
                **names(database),
            ),
            {"domains": None if domains is None else list(domains)},
        )
        return frozenset(domain for (domain,) in cursor)
