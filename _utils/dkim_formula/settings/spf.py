"""The ``spf`` of a domain. RFC 7208."""

import ipaddress
import re

from ..errors import InvalidValue
from .check import Notes, shown, text

VERSION = "v=spf1"

# RFC 7208, section 4.6.4: past ten terms that ask DNS the result is a permanent error.
MAX_LOOKUPS = 10
# RFC 7208, section 3.4: so that the answer fits 512 octets.
SENSIBLE_LENGTH = 450

# RFC 7208, section 12. A domain is a text of macros and of visible characters without "%".
_MACRO = r"%\{[slodiphcrtvSLODIPHCRTV][0-9]*[rR]?[-.+,/_=]*\}|%%|%_|%-"
_DOMAIN = re.compile(rf"(?:{_MACRO}|[!-$&-~])+")
_DOMAIN_END = re.compile(rf"(?:{_MACRO})$|\.[A-Za-z0-9-]*[A-Za-z0-9]\.?$")
_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9._-]*)=(.*)")
_MECHANISM = re.compile(r"([-+~?]?)([A-Za-z][A-Za-z0-9._-]*)(:[^/]*)?(/.*)?")
_PREFIX = re.compile(r"(?:/(0|[1-9][0-9]?))?(?://(0|[1-9][0-9]{0,2}))?")

_NEEDS_DOMAIN = ("include", "exists")
_TAKES_DOMAIN = ("a", "mx", "ptr")
_ASKS = (*_NEEDS_DOMAIN, *_TAKES_DOMAIN)
_NETWORKS = {"ip4": ipaddress.IPv4Network, "ip6": ipaddress.IPv6Network}


def spf(value: object, where: str) -> str | None:
    """
    The whole record, from the record itself or a list of its terms, with or without ``v=spf1``;
    None where the value is ``false``. Source of the grammar: RFC 7208, section 12.
    """
    if value is False:
        return None
    given = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
    terms = text(shown(given), where).split()
    if terms[0].lower() == VERSION:
        terms = terms[1:]
    seen = set()
    for term in terms:
        _check_term(term, where, seen)
    return " ".join([VERSION, *terms])


def advise_spf(record: str, where: str, notes: Notes) -> None:
    """Advice on what is legal and unwise in a record that :func:`spf` gave."""
    mechanisms = [_MECHANISM.fullmatch(term) for term in record.split()[1:]]
    found = [(match[1], match[2].lower()) for match in mechanisms if match]
    asking = sum(name in _ASKS for _, name in found) + ("redirect=" in record.lower())
    if asking > MAX_LOOKUPS:
        notes.advise(
            where,
            f"has {asking} terms that ask DNS; past {MAX_LOOKUPS} receivers take the whole record "
            "for an error (RFC 7208, section 4.6.4)",
        )
    names = [name for _, name in found]
    if "ptr" in names:
        notes.advise(where, "'ptr' is slow and should not be used (RFC 7208, section 5.5)")
    if "all" in names:
        if found[names.index("all")][0] in ("", "+"):
            notes.advise(where, "'all' without a sign lets everybody send; use -all or ~all")
        if names[-1] != "all":
            notes.advise(where, "what stands after 'all' is never read (RFC 7208, section 5.1)")
    elif "redirect=" not in record.lower():
        notes.advise(where, "has neither 'all' nor 'redirect=': what is not listed stays neutral")
    if len(record) > SENSIBLE_LENGTH:
        notes.advise(
            where,
            f"is {len(record)} characters long; past {SENSIBLE_LENGTH} an answer may be truncated "
            "(RFC 7208, section 3.4)",
        )


def _check_term(term: str, where: str, seen: set[str]) -> None:
    is_modifier = "=" in re.split("[:/]", term, maxsplit=1)[0]
    problem = _modifier_problem(term, seen) if is_modifier else _mechanism_problem(term)
    if problem is not None:
        raise InvalidValue(where, term, problem, "see RFC 7208, section 4.6.1")


def _modifier_problem(term: str, seen: set[str]) -> str | None:
    match = _MODIFIER.fullmatch(term)
    if match is None:
        return "is not a term of SPF"
    name = match[1].lower()
    if name == "v":
        return "is a second version"
    if name in ("redirect", "exp"):
        if name in seen:
            return f"is a second {name}= (RFC 7208, section 6)"
        seen.add(name)
        return _domain_problem(match[2])
    # Unknown modifiers are ignored by who reads the record: RFC 7208, section 6.
    return None


def _mechanism_problem(term: str) -> str | None:
    match = _MECHANISM.fullmatch(term)
    if match is None:
        return "is not a term of SPF"
    name, domain, prefix = match[2].lower(), match[3] or "", match[4] or ""
    if name in _NETWORKS:
        return _network_problem(name, term.partition(":")[2])
    if name == "all":
        return "takes no argument" if domain or prefix else None
    if name in _NEEDS_DOMAIN:
        # "/" may stand in the macros of a name: RFC 7208, section 7.1.
        return _domain_problem(domain[1:] + prefix)
    if name in _TAKES_DOMAIN:
        return (_domain_problem(domain[1:]) if domain else None) or _prefix_problem(name, prefix)
    return "is not a mechanism of SPF"


def _prefix_problem(name: str, prefix: str) -> str | None:
    if name == "ptr":
        return "takes no prefix length" if prefix else None
    lengths = _PREFIX.fullmatch(prefix)
    if lengths is None or int(lengths[1] or 0) > 32 or int(lengths[2] or 0) > 128:
        return "has a prefix length that is not one"
    return None


def _network_problem(name: str, network: str) -> str | None:
    try:
        _NETWORKS[name](network, strict=False)
    except ValueError:
        return f"has no IPv{name[2]} address or network"
    return None


def _domain_problem(domain: str) -> str | None:
    if not domain:
        return "lacks its domain"
    if not _DOMAIN.fullmatch(domain) or not _DOMAIN_END.search(domain):
        return "has a domain that is not one"
    return None
