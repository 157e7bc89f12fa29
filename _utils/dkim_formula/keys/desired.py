"""The desired keys and patterns, derived from the settings and the hosted domains."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ..errors import InvalidValue
from ..names import MAX_NAME, is_served, printable
from ..names import domain_problem as stored_name_problem
from ..record_names import key_name
from ..records import Record, delegated, key_record
from ..settings.model import Domain, Settings
from .comparison import EveryHosted
from .model import DesiredKey, Key, Slot


def chosen_domains(settings: Settings, hosted: Iterable[str]) -> dict[str, Domain]:
    """
    Return the domains that the formula manages, by name: the domains of the pillar, and with
    ``'*'`` every hosted domain that the pillar neither names nor excludes.

    hosted
        Names as in the table of domains. A name that is not a domain name in lower-case A-label
        form is skipped: OpenDKIM would never find its key. ``dkim.check`` reports such a name.
    """
    chosen = dict(settings.domains)
    if settings.every_hosted is None:
        return chosen
    for name in hosted:
        if _is_by_every_hosted(settings, name):
            chosen[name] = _from_template(settings.every_hosted, name)
    return chosen


def is_chosen(settings: Settings, name: str) -> bool:
    """Return whether :func:`chosen_domains` includes a hosted domain."""
    if name in settings.domains:
        return True
    return settings.every_hosted is not None and _is_by_every_hosted(settings, name)


def is_desired(domain: Domain, slot: Slot) -> bool:
    """Return whether the settings give a slot a key."""
    plans = domain.keys if domain.alias_of is None else ()
    if slot.address:
        plans = [
            plan for one in domain.addresses if one.address == slot.address for plan in one.keys
        ]
    return any(plan.algorithm == slot.algorithm for plan in plans)


def every_hosted(settings: Settings) -> EveryHosted | None:
    """Return the keys that ``'*'`` asks for in its domains; None if the pillar has no ``'*'``."""
    template = settings.every_hosted
    if template is None:
        return None
    return EveryHosted(template.keys, lambda name: _is_by_every_hosted(settings, name))


def domain_settings(settings: Settings, name: str) -> Domain:
    """Return a domain's settings: its own, else those of ``'*'``, else the defaults."""
    template = settings.every_hosted or settings.defaults
    return settings.domains.get(name) or replace(template, name=name)


def first_key_waits(settings: Settings, name: str) -> bool:
    """
    Return whether a domain's first key is pending until DNS shows its record. The default is True
    only with a delegation: the customer may take weeks to add the CNAMEs.
    """
    return _or_delegated(settings, name, settings.rotation.first_key_waits)


def has_standby(settings: Settings, name: str) -> bool:
    """
    Return whether a domain's next keys are published in advance. The default is True only with a
    delegation: the customer's second CNAME then leads to a record.
    """
    return _or_delegated(settings, name, settings.rotation.standby)


def any_standby(settings: Settings) -> bool:
    """Return whether any domain's next keys are published in advance."""
    if settings.rotation.standby is not None:
        return settings.rotation.standby
    every = settings.every_hosted or settings.defaults
    return any(one.delegation is not None for one in (every, *settings.domains.values()))


def _or_delegated(settings: Settings, name: str, given: bool | None) -> bool:
    if given is not None:
        return given
    return domain_settings(settings, name.lower()).delegation is not None


def desired_keys(domains: Mapping[str, Domain]) -> list[DesiredKey]:
    """
    Return the desired keys of some domains. An alias has only those of its addresses: another
    domain's key signs its other mail.
    """
    found = []
    for domain in domains.values():
        if domain.alias_of is None:
            found += [_desired_key(domain.name, plan, "") for plan in domain.keys]
        for address in domain.addresses:
            found += [_desired_key(domain.name, plan, address.address) for plan in address.keys]
    return found


def desired_patterns(domains: Mapping[str, Domain]) -> dict[str, tuple[str, str]]:
    """
    Return the SigningTable patterns beyond a domain's own name: pattern to (signing domain,
    address). The address is ``''`` if the domain's own key signs. Source: opendkim.conf(5)
    «SigningTable».
    """
    patterns = {}
    for domain in domains.values():
        signer = domain.alias_of or domain.name
        if domain.alias_of is not None:
            patterns[domain.name] = (signer, "")
        if domain.subdomains:
            patterns[f".{domain.name}"] = (signer, "")
        for address in domain.addresses:
            patterns[address.address] = (domain.name, address.address)
    return patterns


def record_of(key: Key, domain: Domain) -> Record:
    """
    Return the key record of a key: in the domain's zone, or with a delegation in the delegation's
    zone. Source: RFC 6376, section 3.6.1.
    """
    record = key_record(
        key.domain,
        key.selector,
        key.algorithm,
        key.public,
        strict=domain.strict and not domain.subdomains,
        testing=domain.testing,
        revoked=key.state == "revoked",
        ttl=domain.ttl,
    )
    return record if domain.delegation is None else delegated(record, domain.delegation)


def key_problem(key: Key, domain: Domain) -> str:
    """Return why DNS can't have a key's record; empty if DNS can."""
    if not key.can_sign:
        return key.problem or "the row holds no key"
    try:
        record_of(key, domain)
    except InvalidValue as error:
        return str(error)
    return ""


def domain_problem(settings: Settings, name: str) -> str:
    """Return why a domain can't have a key, or not the keys of its settings; empty if it can."""
    return stored_name_problem(name) or record_name_problem(domain_settings(settings, name), name)


def longest_domain(settings: Settings) -> int:
    """Return the length of the longest hosted domain whose records' names fit DNS."""
    template = settings.every_hosted or settings.defaults
    return MAX_NAME - _length_beside(template)


def record_name_problem(domain: Domain, name: str) -> str:
    """Return why the names of a domain's records are too long for DNS; empty if they fit."""
    length = _length_beside(domain) + len(name)
    if length <= MAX_NAME:
        return ""
    where = f"below {domain.delegation.zone} (delegation) " if domain.delegation else ""
    return (
        f"the domain {printable(name)} has no key: the name of its record {where}would be {length} "
        f"characters long; use shorter names, {MAX_NAME} is the most (RFC 1035, section 2.3.4)"
    )


def _length_beside(domain: Domain) -> int:
    """Return how many characters the longest key record name has beside the domain's name."""
    selectors = [plan.selector for plan in domain.keys]
    zone = ""
    if domain.delegation is not None:
        selectors += domain.delegation.selectors
        zone = f".{domain.delegation.zone}"
    longest = max(selectors, key=len, default="")
    return len(key_name(longest, zone))


def _is_by_every_hosted(settings: Settings, name: str) -> bool:
    named = name in settings.domains or name in settings.excluded
    if named or not is_served(name):
        return False
    return not record_name_problem(settings.every_hosted, name)


def _from_template(template: Domain, name: str) -> Domain:
    # dataclasses.replace does the same but takes a third of a second for a hundred thousand domains
    # (measured).
    domain = object.__new__(Domain)
    domain.__dict__.update(template.__dict__, name=name)
    return domain


def _desired_key(domain: str, plan, address: str) -> DesiredKey:
    return DesiredKey(domain, plan.selector, plan.algorithm, plan.bits, address)
