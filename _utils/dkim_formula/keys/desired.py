"""From the settings and the hosted domains to the keys and patterns that should be."""

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
    The domains that the formula takes care of, by name: the pillar's own, and with ``'*'`` every
    hosted one that the pillar neither names nor leaves out.

    hosted
        Names as the site's table has them. One that is not a domain name in lower-case A-label
        form is passed over: OpenDKIM would never find its key, and ``dkim.check`` tells of it.
    """
    chosen = dict(settings.domains)
    if settings.every_hosted is None:
        return chosen
    for name in hosted:
        if _is_by_every_hosted(settings, name):
            chosen[name] = _named(settings.every_hosted, name)
    return chosen


def is_chosen(settings: Settings, name: str) -> bool:
    """Tell whether the formula takes care of a hosted domain, as :func:`chosen_domains` does."""
    if name in settings.domains:
        return True
    return settings.every_hosted is not None and _is_by_every_hosted(settings, name)


def is_desired(domain: Domain, slot: Slot) -> bool:
    """Tell whether the settings give a slot a key."""
    plans = domain.keys
    if slot.address:
        plans = [
            plan for one in domain.addresses if one.address == slot.address for plan in one.keys
        ]
    return domain.alias_of is None and any(plan.algorithm == slot.algorithm for plan in plans)


def every_hosted(settings: Settings) -> EveryHosted | None:
    """The keys that ``'*'`` wants for the domains that it means, where the pillar has it."""
    template = settings.every_hosted
    if template is None:
        return None
    return EveryHosted(template.keys, lambda name: _is_by_every_hosted(settings, name))


def domain_settings(settings: Settings, name: str) -> Domain:
    """What the pillar says of one domain, ``'*'`` or the defaults where it does not name it."""
    template = settings.every_hosted or settings.defaults
    return settings.domains.get(name) or replace(template, name=name)


def first_key_waits(settings: Settings, name: str) -> bool:
    """
    Tell whether a domain's first key is pending until DNS shows its record. By default it is so
    with a delegation: the customer may take weeks for the CNAMEs.
    """
    return _or_delegated(settings, name, settings.rotation.first_key_waits)


def has_standby(settings: Settings, name: str) -> bool:
    """
    Tell whether a domain's next keys are published ahead. By default it is so with a delegation:
    the customer's second CNAME then leads to a record.
    """
    return _or_delegated(settings, name, settings.rotation.standby)


def any_standby(settings: Settings) -> bool:
    """Tell whether any domain's next keys are published ahead."""
    if settings.rotation.standby is not None:
        return settings.rotation.standby
    every = settings.every_hosted or settings.defaults
    return any(one.delegation is not None for one in (every, *settings.domains.values()))


def _or_delegated(settings: Settings, name: str, given: bool | None) -> bool:
    if given is not None:
        return given
    return domain_settings(settings, name.lower()).delegation is not None


def desired_keys(domains: Mapping[str, Domain]) -> list[DesiredKey]:
    """The keys that the domains are to have. An alias domain has none: it signs as another."""
    wanted = []
    for domain in domains.values():
        if domain.alias_of is None:
            wanted += [_wanted(domain.name, plan, "") for plan in domain.keys]
        for address in domain.addresses:
            wanted += [_wanted(domain.name, plan, address.address) for plan in address.keys]
    return wanted


def desired_patterns(domains: Mapping[str, Domain]) -> dict[str, tuple[str, str]]:
    """
    The SigningTable patterns beyond a domain's own name: pattern to (signing domain, address),
    the address ``''`` where the domain's own key signs. Source: opendkim.conf(5) «SigningTable».
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
    The key record of one key, where the domain has it: in its own zone, or by its delegation in
    ours. Source: RFC 6376, section 3.6.1.
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
    """Why DNS can't have a key's record; empty where it can."""
    if not key.can_sign:
        return key.problem or "the row holds no key"
    try:
        record_of(key, domain)
    except InvalidValue as error:
        return str(error)
    return ""


def domain_problem(settings: Settings, name: str) -> str:
    """Why a domain can have no key, or not the keys that the settings want for it; or empty."""
    return stored_name_problem(name) or record_name_problem(domain_settings(settings, name), name)


def longest_domain(settings: Settings) -> int:
    """How long a hosted domain's name can be without its records' names growing too long."""
    template = settings.every_hosted or settings.defaults
    return MAX_NAME - _room(template)


def record_name_problem(domain: Domain, name: str) -> str:
    """Return why the names of a domain's records are too long for DNS; empty where they fit."""
    length = _room(domain) + len(name)
    if length <= MAX_NAME:
        return ""
    where = f"below {domain.delegation.zone} (delegation) " if domain.delegation else ""
    return (
        f"the domain {printable(name)} has no key: the name of its record {where}would be {length} "
        f"characters long; use shorter names, {MAX_NAME} is the most (RFC 1035, section 2.3.4)"
    )


def _room(domain: Domain) -> int:
    """How many characters the longest name of a key record has beside the domain's own."""
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


def _named(template: Domain, name: str) -> Domain:
    # As dataclasses.replace, which takes a third of a second for a hundred thousand (measured).
    domain = object.__new__(Domain)
    domain.__dict__.update(template.__dict__, name=name)
    return domain


def _wanted(domain: str, plan, address: str) -> DesiredKey:
    return DesiredKey(domain, plan.selector, plan.algorithm, plan.bits, address)
