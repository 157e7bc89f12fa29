"""
Key records in the formula's zone, for a domain in another operator's zone.

The domain's zone gets one CNAME for each selector, once. Verifiers follow the CNAME to the key
record (RFC 1034, section 3.6.2), so new keys need no change in the domain's zone.
"""

from collections.abc import Iterable
from dataclasses import replace

from .. import names
from ..errors import InvalidValue
from ..record_names import key_record_name
from ..settings.model import Delegation
from .record import Record


def target_name(selector: str, domain: str, zone: str) -> str:
    """
    Return the key record's name below ``zone``, which no other domain's record can have.

    Raises :class:`dkim_formula.errors.InvalidValue` for an invalid or too long name.
    """
    name = f"{key_record_name(selector, domain)}.{zone}"
    if len(name) > names.MAX_NAME:
        raise InvalidValue(
            f"dkim:domains:{domain}:delegation",
            zone,
            f"makes the record's name {len(name)} characters long",
            f"use a shorter zone: a name has {names.MAX_NAME} at most (RFC 1035, section 2.3.4)",
        )
    return name


def delegated(record: Record, delegation: Delegation) -> Record:
    """Return a domain's key record, moved to the target of the domain's CNAME."""
    target = target_name(record.selector, record.domain, delegation.zone)
    return replace(record, name=target, zone=delegation.zone)


def delegation_records(
    domain: str, delegation: Delegation, used: Iterable[str] = (), ttl: int = 3600
) -> list[Record]:
    """
    Return the CNAME records that the administrator of the domain's own zone adds once.

    used
        Selectors of existing keys, besides the delegation's own.
    ttl
        Seconds.
    """
    domain = names.owner_domain(domain)
    return [
        Record(
            name=key_record_name(selector, domain),
            type="CNAME",
            ttl=ttl,
            value=target_name(selector, domain, delegation.zone),
            purpose="delegation",
            domain=domain,
            selector=selector,
        )
        for selector in dict.fromkeys((*delegation.selectors, *used))
    ]
