"""The records to publish, from the settings and the keys in the database."""

from ..database import keystore
from ..database.connection import session
from ..errors import DatabaseUnavailable, InvalidValue
from ..names import is_served, mail_domain, stored_domain
from ..postgres import hosted as hosted_domains
from ..postgres import schema
from ..records import BY_HAND, Record, mta_sts_policy, mta_sts_url, render
from ..records.layout import Layout
from ..settings.model import Settings
from ..wanted import chosen_domains, domain_settings, records
from .keys import whole_keys
from .setup import nothing_there_yet

MOST_SHOWN = 100
NOT_YET = "The records are shown once the keys are made"


def record_set(settings: Settings, domain: object = None) -> list[Record]:
    """
    The records of one domain, or of every domain that the settings choose or that has a key.

    Raises InvalidValue for what is no domain name, DatabaseUnavailable, DatabaseError.
    """
    with session(settings.database) as connection:
        if domain is not None:
            name = stored_domain(domain)
            keys = whole_keys(connection, settings, name)
            return records(settings, [domain_settings(settings, name)], keys)
        keys = whole_keys(connection, settings)
        chosen = chosen_domains(settings, hosted_domains.hosted(connection, settings.database))
    for key in keys:
        name = key.domain.lower()
        if is_served(name) and name not in chosen and name not in settings.excluded:
            chosen[name] = domain_settings(settings, name)
    return records(settings, chosen.values(), keys)


PRINTED_BY = "salt-call --out=txt dkim.records format=bind | sed 's/^local: //' prints them"


def to_show(settings: Settings, domain: object = None) -> str:
    """The record set as zone lines for the end of a run, or what to call where it is long."""
    try:
        with session(settings.database) as connection:
            if not schema.has_tables(connection, settings.database):
                return NOT_YET
            hosted = hosted_domains.hosted(connection, settings.database)
        every = len(hosted) if settings.every_hosted else len(settings.domains)
        if every > MOST_SHOWN:
            return f"The records of {every} domains are to be published; {PRINTED_BY}"
        found = record_set(settings, domain)
        pending = _pending(settings)
    except DatabaseUnavailable as error:
        if not nothing_there_yet(error, settings.database):
            raise
        return NOT_YET
    text = f"Publish these records:\n\n{render(found, 'bind', zones=settings.dns.zones)}"
    for record in found:
        if record.purpose == "dkim" and (record.domain, record.selector) in pending:
            text += f"; a key waits for {record.name} to be there before it signs\n"
    by_hand = [record for record in found if record.purpose in BY_HAND]
    if by_hand:
        owners = ", ".join(dict.fromkeys(f"{record.name} {record.type}" for record in by_hand))
        text += f"\nThese belong into the zones of others: {owners}\n"
    return text


def _pending(settings: Settings) -> set[tuple[str, str]]:
    """Domain and selector of every key that waits to sign."""
    with session(settings.database) as connection:
        keys = keystore.list_keys(connection, settings.database)
    return {(key.domain.lower(), key.selector) for key in keys if key.state == "pending"}


def shown(
    settings: Settings,
    domain: object = None,
    format_: str | None = None,
    relative: bool = False,
) -> list[dict[str, object]] | str:
    """
    The record set as plain data, or as text in one of ``records.FORMATS``.

    relative
        Names relative to their zone: one of ``dkim:dns:zones``, else the domain's own.
    """
    found = record_set(settings, domain)
    zones = settings.dns.zones
    if format_ is None:
        layout = Layout(relative, tuple(zones))
        return [layout.as_plain(record) for record in found]
    return render(found, format_, relative=relative, zones=zones)


def policy_file(settings: Settings, domain: object) -> dict[str, str]:
    """
    The MTA-STS policy of a domain, to be served by the site: ``{"url", "text"}``.

    Raises InvalidValue for what is no domain name, or for a domain that has none.
    """
    name = mail_domain(domain, "domain")
    policy = domain_settings(settings, name).mta_sts
    if policy is None:
        raise InvalidValue(
            "domain",
            name,
            "has no MTA-STS policy",
            f"set dkim:domains:{name}:mta_sts, or dkim:defaults:mta_sts",
        )
    return {"url": mta_sts_url(name), "text": mta_sts_policy(policy)}
