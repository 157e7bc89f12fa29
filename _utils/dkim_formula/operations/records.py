"""The records to publish, from the settings and the keys in the database."""

from ..database import domains as domain_table
from ..database import keystore
from ..database.connection import session
from ..names import domain_name
from ..records.record import Record
from ..records.text import render
from ..settings.model import Settings
from ..wanted import chosen_domains, domain_settings, records


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


def shown(
    settings: Settings, domain: object = None, format_: str | None = None
) -> list[dict[str, object]] | str:
    """The record set as plain data, or as text in one of ``records.text.FORMATS``."""
    found = record_set(settings, domain)
    if format_ is None:
        return [record.as_plain() for record in found]
    return render(found, format_)
