"""
Key records in a zone of ours for a domain whose own zone is somebody else's.

The domain's zone gets one CNAME for each selector, once; who looks for a key follows it (RFC 1034,
section 3.6.2), so that new keys need nothing there.
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
    Where the key record stands: its own name below ``zone``, which no other domain's can equal.

    Raises :class:`dkim_formula.errors.InvalidValue` where selector or domain is not one.
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
    """A domain's key record, moved to where the domain's CNAME points."""
    target = target_name(record.selector, record.domain, delegation.zone)
    return replace(record, name=target, zone=delegation.zone)


def delegation_records(
    domain: str, delegation: Delegation, used: Iterable[str] = (), ttl: int = 3600
) -> list[Record]:
    """
    The CNAME records for the domain's own zone, for its administrator to add once.

    used
        Selectors of keys that there are already, besides the delegation's own.
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
