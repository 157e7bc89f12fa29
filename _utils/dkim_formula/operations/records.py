"""The records to publish, from the settings and the keys in the database."""

from ..database import domains as domain_table
from ..database import keystore
from ..database.connection import session
from ..names import domain_name
from ..records.record import Record
from ..records.text import render
from ..errors import DatabaseUnavailable
from ..settings.model import Settings
from ..wanted import chosen_domains, domain_settings, records
from .setup import nothing_there_yet

MOST_SHOWN = 100


def record_set(settings: Settings, domain: object = None) -> list[Record]:
    """
    The records of one domain, or of every domain that the settings choose or that has a key.

    Raises InvalidValue for what is no domain name, DatabaseUnavailable, DatabaseError.
    """
    with session(settings.database) as connection:
        if domain is not None:
            name = domain_name(domain, "domain")
            keys = keystore.list_keys(connection, settings.database, name)
            return records(settings, [domain_settings(settings, name)], keys)
        keys = keystore.list_keys(connection, settings.database)
        chosen = chosen_domains(settings, domain_table.hosted(connection, settings.database))
    for key in keys:
        name = key.domain.lower()
        if name not in chosen and name not in settings.excluded:
            chosen[name] = domain_settings(settings, name)
    return records(settings, chosen.values(), keys)


def to_show(settings: Settings, domain: object = None) -> str:
    """The record set as zone lines for the end of a run, or what to call where it is long."""
    try:
        found = record_set(settings, domain)
    except DatabaseUnavailable as error:
        if not nothing_there_yet(error, settings.database):
            raise
        return "The records are shown once the keys are made"
    if len(found) > MOST_SHOWN:
        return (
            f"{len(found)} records to publish; salt-call --out=newline_values_only dkim.records "
            "format=bind prints them"
        )
    return f"Publish these records:\n\n{render(found, 'bind')}"


def shown(
    settings: Settings, domain: object = None, format_: str | None = None
) -> list[dict[str, object]] | str:
    """The record set as plain data, or as text in one of ``records.text.FORMATS``."""
    found = record_set(settings, domain)
    if format_ is None:
        return [record.as_plain() for record in found]
    return render(found, format_)
