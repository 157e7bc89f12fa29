"""``dkim:defaults`` and ``dkim:domains``: the domains, and the desired state of each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from .. import names
from ..errors import InvalidValue
from ..record_names import (
    dmarc_record_name,
    mta_sts_record_name,
    report_record_name,
    tls_rpt_record_name,
)
from .delegation import completed, read_delegation
from .dmarc import make_dmarc, read_dmarc
from .dns import advise_ttl
from .domain_keys import KEY_CHECKS, key_plans, read_addresses
from .inheritance import DEFAULTS, EVERY_HOSTED, Merged
from .model import Delegation, Dmarc, Domain
from .spf import advise_spf, circle_problems, own_name_problem, read_spf
from .transport import read_mta_sts, report_uris
from .validation import (
    Notes,
    boolean,
    kind_of,
    read_section,
    section,
    shown,
    shown_key,
    ttl,
    unquoted,
)

WHERE = "dkim:domains"


def domain_name(value: object, where: str) -> str:
    """Return a domain's name in the form of :func:`dkim_formula.names.mail_domain`."""
    return names.mail_domain(shown(value), where)


_DEFAULTS = {
    **KEY_CHECKS,
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
    """The domains of both sections."""

    defaults: Domain
    named: dict[str, Domain] = field(default_factory=dict)
    every_hosted: Domain | None = None
    excluded: set[str] = field(default_factory=set)


def read_domains(defaults: object, domains: object, record_ttl: int, notes: Notes) -> Domains:
    """
    Return the domains of both sections, each with its own settings over the defaults.

    defaults, domains
        The values of the two keys.
    record_ttl
        ``dkim:dns:ttl``, in seconds: the TTL if neither section has one.
    notes
        Collects problems and advice.
    """
    own = _read_settings(defaults, DEFAULTS, _DEFAULTS, notes, _TEMPLATE_HINTS)
    built_in = {"ttl": record_ttl}
    result = Domains(defaults=_make(EVERY_HOSTED, Merged(own, built_in, DEFAULTS), notes))
    inherited = built_in | own
    seen: dict[str, object] = {}
    for given, value in _pairs(domains, notes):
        if given == EVERY_HOSTED:
            _add_every_hosted(result, value, inherited, seen, notes)
            continue
        pillar_key = f"{WHERE}:{shown_key(given)}"
        name = notes.attempt(_listed_name, given, pillar_key)
        if name is None or _is_repeated(name, given, seen, notes):
            continue
        if value is False:
            result.excluded.add(name)
        else:
            read = _read_settings(value, pillar_key, _DOMAIN, notes)
            result.named[name] = _make(name, Merged(read, inherited, pillar_key), notes)
    _check_aliases(result, notes)
    records = {name: one.spf for name, one in result.named.items() if one.spf}
    for problem in circle_problems(records, result.defaults.spf, WHERE):
        notes.problem(problem)
    return result


def _pairs(value: object, notes: Notes) -> Iterable[tuple[object, object]]:
    """Yield each domain's name and settings, from a mapping or a list of names and mappings."""
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
    pillar_key = f"{WHERE}:{EVERY_HOSTED}"
    read = _read_settings(value, pillar_key, _DEFAULTS, notes, _TEMPLATE_HINTS)
    result.every_hosted = _make(EVERY_HOSTED, Merged(read, inherited, pillar_key), notes)


def _read_settings(
    value: object, where: str, checks: Mapping, notes: Notes, hints: Mapping | None = None
) -> dict[str, object]:
    """Return the valid settings. ``true`` means an empty mapping."""
    read = read_section(None if value is True else value, where, checks, notes, hints)
    for key, reader in _SECTIONS.items():
        if key in read:
            read[key] = reader(read[key], f"{where}:{key}", notes)
    return read


def _make(name: str, merged: Merged, notes: Notes) -> Domain:
    alias_of = merged.get("alias_of")
    subdomains = merged.get("subdomains", False)
    _check_strict(merged, notes)
    if alias_of:
        _check_alias_keys(merged, notes)
    ttl_key = merged.pillar_key("ttl") if "ttl" in merged.own else f"{DEFAULTS}:ttl"
    advise_ttl(merged.get("ttl"), ttl_key, notes)
    if merged.get("testing"):
        notes.advise(
            merged.pillar_key("testing"),
            "t=y makes receivers treat the mail as if it were unsigned (RFC 6376, section 3.6.1); "
            "remove it when the signatures verify",
        )
    domain = Domain(
        name=name,
        # An alias has no key of its own: its signatures have d= of the other domain.
        keys=() if alias_of else key_plans(name, merged, notes),
        strict=merged.get("strict", True) and not subdomains,
        testing=merged.get("testing", False),
        ttl=merged.get("ttl"),
        dmarc=_dmarc(name, merged, notes),
        subdomains=subdomains,
        alias_of=alias_of,
        **_policies(name, merged, notes),
    )
    domain = replace(domain, addresses=read_addresses(domain, merged, notes))
    return replace(domain, delegation=_delegation(domain, merged, notes))


# The record names of policies whose record is not at the domain itself.
_POLICY_NAMES = {"tls_rpt": tls_rpt_record_name, "mta_sts": mta_sts_record_name}


def _policies(name: str, merged: Merged, notes: Notes) -> dict[str, object]:
    """Return the valid values of SPF, TLS-RPT and MTA-STS."""
    found = {}
    for key in ("spf", "tls_rpt", "mta_sts"):
        value = merged.get(key)
        if not value:
            continue
        pillar_key = merged.pillar_key(key)
        if key == "spf":
            advise_spf(value, pillar_key, notes)
            problem = own_name_problem(value, name, pillar_key)
            if problem:
                notes.problem(problem)
                continue
        if key in _POLICY_NAMES and name != EVERY_HOSTED:
            try:
                _POLICY_NAMES[key](name, pillar_key)
            except InvalidValue as error:
                notes.problem(error)
                continue
        found[key] = value
    return found


def _delegation(domain: Domain, merged: Merged, notes: Notes) -> Delegation | None:
    """Return the delegation with its selectors; None for an alias, which has no key."""
    delegation = merged.get("delegation")
    if delegation is None or domain.alias_of:
        return None
    plans = [*domain.keys, *(plan for address in domain.addresses for plan in address.keys)]
    try:
        return completed(delegation, plans, domain.name, merged.pillar_key("delegation"))
    except InvalidValue as error:
        notes.problem(error)
        return None


def _check_strict(merged: Merged, notes: Notes) -> None:
    if merged.get("subdomains") and merged.own.get("strict"):
        notes.problem(
            InvalidValue(
                f"{merged.where}:strict",
                True,
                "does not go with subdomains: true",
                "t=s forbids signatures for subdomains (RFC 6376, section 3.6.1); remove one",
            )
        )


def _check_alias_keys(merged: Merged, notes: Notes) -> None:
    for key in KEY_CHECKS:
        if key in merged.own:
            notes.problem(
                f"{merged.where}:{key}: does not go with alias_of: an alias has no key of its own; "
                "remove one"
            )


def _dmarc(name: str, merged: Merged, notes: Notes) -> Dmarc | None:
    read = merged.dmarc()
    if read is None:
        return None
    dmarc = make_dmarc(read, merged.pillar_key("dmarc"), notes)
    if name == EVERY_HOSTED:
        return dmarc
    try:
        dmarc_record_name(name)
        for address in (*dmarc.rua, *dmarc.ruf):
            report_record_name(name, address.rpartition("@")[2])
    except InvalidValue as error:
        notes.problem(
            InvalidValue(merged.where, name, f"has no room for a record's name ({error})")
        )
        return None
    return dmarc


def _check_aliases(domains: Domains, notes: Notes) -> None:
    for name, domain in domains.named.items():
        if domain.alias_of is None:
            continue
        where = f"{WHERE}:{name}:alias_of"
        target = domains.named.get(domain.alias_of)
        if domain.alias_of == name:
            problem = "is the domain itself"
        elif domain.alias_of in domains.excluded:
            problem = "is a domain that is set to false"
        elif target is not None and target.alias_of is not None:
            problem = "is an alias too"
        else:
            if target is None and domains.every_hosted is None:
                notes.advise(
                    where, f"{domain.alias_of!r} is not in {WHERE}: no key is generated for it"
                )
            continue
        notes.problem(
            InvalidValue(where, domain.alias_of, problem, "give a domain with keys of its own")
        )
