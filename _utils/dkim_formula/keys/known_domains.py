"""Domains that may have keys: the hosted domains and the domains of the pillar."""

from ..errors import DatabaseError, InvalidValue
from ..postgres import hosted as hosted_domains
from ..settings.model import Domain, Settings
from .desired import domain_settings
from .odd_rows import LISTED


def refuse_unknown(connection, settings: Settings, name: str, where: str = "domain") -> None:
    """Raise DatabaseError for a domain that is neither hosted nor in the pillar."""
    if name in settings.domains:
        return
    if hosted_domains.not_hosted(connection, settings.database, [name]):
        raise DatabaseError(unknown_domain(settings, name, where))


def unknown_domain(settings: Settings, name: str, where: str = "domain") -> str:
    """Return the error text for a domain that is neither hosted nor in the pillar."""
    return (
        f"{where}: {name} is neither in dkim:domains nor hosted ({_tables(settings)} of database "
        f"{settings.database.name!r} lists the hosted domains); add it to one of them"
    )


def not_hosted(connection, settings: Settings) -> list[str]:
    """Return advice about domains of the pillar that the mail database does not host."""
    with connection.cursor() as cursor:
        if not hosted_domains.present(cursor, settings.database):
            return []
    lacking = hosted_domains.not_hosted(connection, settings.database, settings.domains)
    if not lacking:
        return []
    shown = ", ".join(lacking[:LISTED]) + (", …" if len(lacking) > LISTED else "")
    return [
        f"dkim:domains: {shown}: not hosted ({_tables(settings)} of database "
        f"{settings.database.name!r} lists the hosted domains); each still gets its key, so check "
        "that the name is right"
    ]


def _tables(settings: Settings) -> str:
    return " and ".join(
        f"column {one.name!r} of {one.schema}.{one.table}"
        for _, one in hosted_domains.tables(settings.database)
    )


def key_holder(settings: Settings, name: str) -> Domain:
    """Return a domain's settings. Raises InvalidValue for an alias, which has no keys."""
    domain = domain_settings(settings, name)
    if domain.alias_of is not None:
        raise InvalidValue(
            "domain",
            name,
            f"is an alias: the keys of {domain.alias_of} sign for it",
            f"use {domain.alias_of}, or remove dkim:domains:{name}:alias_of",
        )
    return domain
