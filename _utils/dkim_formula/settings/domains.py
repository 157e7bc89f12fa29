"""``dkim:defaults`` and ``dkim:domains``: which domains there are, and what each is to have."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from .. import keys, names
from ..errors import InvalidValue
from ..records.owner import MTA_STS_PREFIX, TLS_RPT_PREFIX, owner_name
from .check import (
    Check,
    Notes,
    boolean,
    choice,
    kind_of,
    read_section,
    section,
    shown,
    shown_key,
    ttl,
    unquoted,
)
from .delegation import completed, read_delegation
from .dmarc import make_dmarc, read_dmarc
from .dns import advise_ttl
from .model import Address, Delegation, Dmarc, Domain, KeyPlan
from .spf import advise_spf, own_name_problem, read_spf
from .transport import read_mta_sts, report_uris

WHERE = "dkim:domains"
DEFAULTS = "dkim:defaults"
EVERY_HOSTED = "*"
DEFAULT_PLAN = KeyPlan()

_ALGORITHM = choice(*keys.ALGORITHMS)
_NOT_IN_A_LABEL = re.compile(r"[^a-z0-9]+")


def algorithms(value: object, where: str) -> tuple[str, ...]:
    """One algorithm, or a list of them without repetition; the stored order is ``ALGORITHMS``'."""
    given = value if isinstance(value, (list, tuple)) else [value]
    checked = [_ALGORITHM(algorithm, where) for algorithm in given]
    if not checked:
        raise InvalidValue(where, [], "is empty", f"use one of {', '.join(keys.ALGORITHMS)}")
    if len(set(checked)) != len(checked):
        raise InvalidValue(where, given, "names an algorithm twice", "name each once")
    return tuple(algorithm for algorithm in keys.ALGORITHMS if algorithm in checked)


def selectors(value: object, where: str) -> str | dict[str, str]:
    """A selector, or a mapping from algorithm to selector."""
    if not isinstance(value, Mapping):
        return names.selector(shown(value), where)
    return {
        _ALGORITHM(algorithm, where): names.selector(shown(selector), f"{where}:{algorithm}")
        for algorithm, selector in value.items()
    }


def bits(value: object, where: str) -> int:
    """The size of an RSA key, see :func:`dkim_formula.keys.check_bits`."""
    return keys.check_bits(shown(value), where)


def domain_name(value: object, where: str) -> str:
    """See :func:`dkim_formula.names.mail_domain`."""
    return names.mail_domain(shown(value), where)


_KEY_CHECKS = {"selector": selectors, "algorithm": algorithms, "bits": bits}
_DEFAULTS = {
    **_KEY_CHECKS,
    "strict": boolean,
    "testing": boolean,
    "ttl": ttl,
    "dmarc": section,
    "subdomains": boolean,
    "spf": section,
    "tls_rpt": report_uris,
    "mta_sts": section,
    "delegation": section,
}
_DOMAIN = {**_DEFAULTS, "alias_of": unquoted(domain_name), "addresses": section}
_SECTIONS = {
    "dmarc": read_dmarc,
    "spf": read_spf,
    "mta_sts": read_mta_sts,
    "delegation": read_delegation,
}
_TEMPLATE_HINTS = {
    "alias_of": "belongs to one domain, give it there",
    "addresses": "belongs to one domain, give it there",
}


@dataclass
class Domains:
    """What the two sections say together."""

    defaults: Domain
    named: dict[str, Domain] = field(default_factory=dict)
    every_hosted: Domain | None = None
    excluded: set[str] = field(default_factory=set)


def read_domains(defaults: object, domains: object, record_ttl: int, notes: Notes) -> Domains:
    """
    Both sections, each domain with the defaults under its own settings.

    defaults, domains
        The values of the two keys.
    record_ttl
        ``dkim:dns:ttl``, in seconds: the TTL where neither section has one.
    notes
        Takes problems and advice.
    """
    own = _read_settings(defaults, DEFAULTS, _DEFAULTS, notes, _TEMPLATE_HINTS)
    built_in = {"ttl": record_ttl}
    result = Domains(defaults=_make(EVERY_HOSTED, _Merged(own, built_in, DEFAULTS), notes))
    inherited = built_in | own
    seen: dict[str, object] = {}
    for given, value in _pairs(domains, notes):
        if given == EVERY_HOSTED:
            _add_every_hosted(result, value, inherited, seen, notes)
            continue
        place = f"{WHERE}:{shown_key(given)}"
        name = notes.attempt(_listed_name, given, place)
        if name is None or _is_repeated(name, given, seen, notes):
            continue
        if value is False:
            result.excluded.add(name)
        else:
            read = _read_settings(value, place, _DOMAIN, notes)
            result.named[name] = _make(name, _Merged(read, inherited, place), notes)
    _check_aliases(result, notes)
    return result


def _pairs(value: object, notes: Notes) -> Iterable[tuple[object, object]]:
    """Name and settings of each domain, from a mapping, or a list of names and mappings."""
    if value is None:
        return
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, (list, tuple)):
        for entry in value:
            if isinstance(entry, Mapping):
                yield from entry.items()
            else:
                yield shown(entry), None
    else:
        notes.problem(
            f"{WHERE}: {kind_of(value)} is not domains; give a mapping or a list of names"
        )


def _listed_name(given: object, where: str) -> str:
    if isinstance(given, str) and given.startswith("*."):
        raise InvalidValue(
            where, given, "is a pattern", f"give {given[2:]!r} with subdomains: true"
        )
    return names.mail_domain(given, where)


def _is_repeated(name: str, given: object, seen: dict[str, object], notes: Notes) -> bool:
    if name not in seen:
        seen[name] = given
        return False
    notes.problem(
        InvalidValue(WHERE, given, f"is the same domain as {seen[name]!r}, {name}", "give it once")
    )
    return True


def _add_every_hosted(
    result: Domains, value: object, inherited: dict, seen: dict[str, object], notes: Notes
) -> None:
    if _is_repeated(EVERY_HOSTED, EVERY_HOSTED, seen, notes) or value is False:
        return
    place = f"{WHERE}:{EVERY_HOSTED}"
    read = _read_settings(value, place, _DEFAULTS, notes, _TEMPLATE_HINTS)
    result.every_hosted = _make(EVERY_HOSTED, _Merged(read, inherited, place), notes)


def _read_settings(
    value: object, where: str, checks: Mapping, notes: Notes, hints: Mapping | None = None
) -> dict[str, object]:
    """The keys that are given and right; ``true`` stands for an empty mapping."""
    read = read_section(None if value is True else value, where, checks, notes, hints)
    for key, reader in _SECTIONS.items():
        if key in read:
            read[key] = reader(read[key], f"{where}:{key}", notes)
    return read


@dataclass(frozen=True)
class _Merged:
    """A domain's own settings over the inherited ones, each knowing where it was given."""

    own: Mapping[str, object]
    inherited: Mapping[str, object]
    where: str

    def get(self, key: str, default: object = None) -> object:
        return self.own.get(key, self.inherited.get(key, default))

    def place(self, key: str) -> str:
        is_inherited = key not in self.own and key in self.inherited
        return f"{DEFAULTS if is_inherited else self.where}:{key}"

    def dmarc(self) -> dict[str, object] | None:
        """The policy's keys, merged one by one; None for no record."""
        own, inherited = self.own.get("dmarc"), self.inherited.get("dmarc")
        if "dmarc" in self.own and own is not None:
            return {**(inherited or {}), **own}
        return None if "dmarc" in self.own else inherited


def _make(name: str, merged: _Merged, notes: Notes) -> Domain:
    alias_of = merged.get("alias_of")
    subdomains = merged.get("subdomains", False)
    _check_strict(merged, notes)
    if alias_of:
        _check_alias_keys(merged, notes)
    ttl_place = merged.place("ttl") if "ttl" in merged.own else f"{DEFAULTS}:ttl"
    advise_ttl(merged.get("ttl"), ttl_place, notes)
    if merged.get("testing"):
        notes.advise(
            merged.place("testing"),
            "t=y has receivers treat the mail as if it were unsigned (RFC 6376, section 3.6.1); "
            "take it out once the signatures verify",
        )
    domain = Domain(
        name=name,
        # An alias has no key of its own: mail from it carries d= of the other domain.
        keys=() if alias_of else _key_plans(name, merged, notes),
        strict=merged.get("strict", True) and not subdomains,
        testing=merged.get("testing", False),
        ttl=merged.get("ttl"),
        dmarc=_dmarc(name, merged, notes),
        subdomains=subdomains,
        alias_of=alias_of,
        **_policies(name, merged, notes),
    )
    domain = replace(domain, addresses=_addresses(domain, merged, notes))
    return replace(domain, delegation=_delegation(domain, merged, notes))


# What a policy's record stands under, where that is not the domain itself.
_POLICY_PREFIXES = {"tls_rpt": TLS_RPT_PREFIX, "mta_sts": MTA_STS_PREFIX}


def _policies(name: str, merged: _Merged, notes: Notes) -> dict[str, object]:
    """SPF, TLS-RPT and MTA-STS, as far as they are set."""
    found = {}
    for key in ("spf", "tls_rpt", "mta_sts"):
        value = merged.get(key)
        if not value:
            continue
        place = merged.place(key)
        if key == "spf":
            advise_spf(value, place, notes)
            itself = own_name_problem(value, name, place)
            if itself:
                notes.problem(itself)
                continue
        if key in _POLICY_PREFIXES and name != EVERY_HOSTED:
            try:
                owner_name(_POLICY_PREFIXES[key], name, place)
            except InvalidValue as error:
                notes.problem(error)
                continue
        found[key] = value
    return found


def _delegation(domain: Domain, merged: _Merged, notes: Notes) -> Delegation | None:
    """The delegation with its selectors; an alias has no key, and so nothing to delegate."""
    delegation = merged.get("delegation")
    if delegation is None or domain.alias_of:
        return None
    plans = [*domain.keys, *(plan for address in domain.addresses for plan in address.keys)]
    try:
        return completed(delegation, plans, domain.name, merged.place("delegation"))
    except InvalidValue as error:
        notes.problem(error)
        return None


def _check_strict(merged: _Merged, notes: Notes) -> None:
    if merged.get("subdomains") and merged.own.get("strict"):
        notes.problem(
            InvalidValue(
                f"{merged.where}:strict",
                True,
                "does not go with subdomains: true",
                "t=s forbids signatures for subdomains (RFC 6376, section 3.6.1); remove one",
            )
        )


def _check_alias_keys(merged: _Merged, notes: Notes) -> None:
    for key in _KEY_CHECKS:
        if key in merged.own:
            notes.problem(
                f"{merged.where}:{key}: does not go with alias_of: an alias has no key of its own; "
                "remove one"
            )


def _dmarc(name: str, merged: _Merged, notes: Notes) -> Dmarc | None:
    read = merged.dmarc()
    if read is None:
        return None
    place = merged.place("dmarc")
    dmarc = make_dmarc(read, place, notes)
    if name == EVERY_HOSTED:
        return dmarc
    try:
        names.dmarc_record_name(name)
        for address in (*dmarc.rua, *dmarc.ruf):
            names.report_record_name(name, address.rpartition("@")[2])
    except InvalidValue as error:
        notes.problem(
            InvalidValue(merged.where, name, f"has no room for a record's name ({error})")
        )
        return None
    return dmarc


def _key_plans(name: str, merged: _Merged, notes: Notes) -> tuple[KeyPlan, ...]:
    place = merged.place("selector")
    wanted = merged.get("algorithm", (DEFAULT_PLAN.algorithm,))
    chosen = merged.get("selector", DEFAULT_PLAN.selector)
    size = merged.get("bits", DEFAULT_PLAN.bits)
    plans = []
    for algorithm in wanted:
        try:
            selector = _selector_for(algorithm, chosen, wanted, place)
            if name != EVERY_HOSTED:
                names.key_record_name(selector, name)
        except InvalidValue as error:
            notes.problem(InvalidValue(place, chosen, f"can't be used for {name} ({error})"))
        else:
            plans.append(KeyPlan(algorithm, selector, size))
    _check_plans(plans, merged, notes)
    return tuple(plans) or (DEFAULT_PLAN,)


def _selector_for(
    algorithm: str, chosen: str | Mapping[str, str], wanted: tuple[str, ...], where: str
) -> str:
    """The selector of one of a domain's keys: two keys can't share one name."""
    if isinstance(chosen, Mapping):
        if algorithm not in chosen:
            raise InvalidValue(where, chosen, f"has no selector for {algorithm}", "add one")
        return chosen[algorithm]
    if algorithm == wanted[0]:
        return chosen
    return names.selector(f"{chosen}-{algorithm}", where)


def _check_plans(plans: list[KeyPlan], merged: _Merged, notes: Notes) -> None:
    if len({plan.selector for plan in plans}) < len(plans):
        notes.problem(
            InvalidValue(
                merged.place("selector"),
                plans[0].selector,
                "is the selector of two keys",
                "each key has a record of its own; give each algorithm another selector",
            )
        )
    for plan in plans:
        if plan.algorithm == "rsa" and plan.bits < keys.DEFAULT_BITS:
            notes.advise(
                merged.place("bits"),
                f"{plan.bits} is weak; RFC 8301, section 3.2, wants {keys.DEFAULT_BITS} or more",
            )
    if plans and all(plan.algorithm == "ed25519" for plan in plans):
        notes.advise(
            merged.place("algorithm"),
            "ed25519 alone is no signature to the many verifiers that don't know it; "
            "[rsa, ed25519] is one to all",
        )


def _addresses(domain: Domain, merged: _Merged, notes: Notes) -> tuple[Address, ...]:
    """The addresses with keys of their own, none sharing a selector with another key."""
    given = merged.own.get("addresses")
    where = f"{merged.where}:addresses"
    if given is None:
        return ()
    if not isinstance(given, Mapping):
        notes.problem(f"{where}: {kind_of(given)} is not addresses; give a mapping")
        return ()
    taken = {plan.selector: domain.name for plan in domain.keys}
    addresses: dict[str, Address] = {}
    for text, value in given.items():
        place = f"{where}:{shown_key(text)}"
        address = notes.attempt(_address_in(domain), text, place)
        if address is None:
            continue
        if address in addresses:
            notes.problem(InvalidValue(place, text, "is given twice", "give it once"))
            continue
        plans = _address_plans(address, value, merged, place, notes)
        for plan in plans:
            _check_taken(plan.selector, address, taken, place, notes)
        addresses[address] = Address(address, plans)
    return tuple(addresses.values())


def _address_in(domain: Domain) -> Check:
    def check(value: object, where: str) -> str:
        address = names.email_address(value, where)
        if address.rpartition("@")[2] != domain.name:
            raise InvalidValue(
                where, value, f"is not an address of {domain.name}", "give it under its own domain"
            )
        return address

    return check


def _address_plans(
    address: str, value: object, merged: _Merged, where: str, notes: Notes
) -> tuple[KeyPlan, ...]:
    """An address inherits algorithm and size, never the selector; its own is the local part."""
    own = read_section(None if value is True else value, where, _KEY_CHECKS, notes)
    if "selector" not in own:
        local = _NOT_IN_A_LABEL.sub("-", address.rpartition("@")[0].lower()).strip("-")
        own["selector"] = local[: names.MAX_LABEL].strip("-") or "address"
    inherited = {
        key: merged.get(key) for key in ("algorithm", "bits") if merged.get(key) is not None
    }
    name = address.rpartition("@")[2]
    return _key_plans(name, _Merged(own, inherited, where), notes)


def _check_taken(
    selector: str, address: str, taken: dict[str, str], where: str, notes: Notes
) -> None:
    if selector in taken:
        notes.problem(
            InvalidValue(
                f"{where}:selector",
                selector,
                f"is the selector of {taken[selector]}'s key already",
                "each key has a record of its own; give another selector",
            )
        )
    taken.setdefault(selector, address)


def _check_aliases(domains: Domains, notes: Notes) -> None:
    for name, domain in domains.named.items():
        if domain.alias_of is None:
            continue
        where = f"{WHERE}:{name}:alias_of"
        target = domains.named.get(domain.alias_of)
        if domain.alias_of == name:
            problem = "is the domain itself"
        elif domain.alias_of in domains.excluded:
            problem = "is a domain that is left out"
        elif target is not None and target.alias_of is not None:
            problem = "is an alias too"
        else:
            if target is None and domains.every_hosted is None:
                notes.advise(
                    where, f"{domain.alias_of!r} is not in {WHERE}: nothing makes it a key"
                )
            continue
        notes.problem(
            InvalidValue(where, domain.alias_of, problem, "give a domain with keys of its own")
        )
