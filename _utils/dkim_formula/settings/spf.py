"""
The ``spf`` setting of a domain: the whole record, or its terms. Source: RFC 7208.

Every permanent error that the text itself shows is a problem. Errors that depend on records of
other domains are not found here: look-ups without an answer, and the contents of an ``include``.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from ..errors import InvalidValue
from ..names import MAX_LABEL, MAX_NAME
from .validation import Notes, kind_of, shown, text

VERSION = "v=spf1"

# RFC 7208, section 4.6.4: with more than ten terms that ask DNS, the result is a permanent error.
MAX_LOOKUPS = 10
# RFC 7208, section 3.4: with this length the answer fits 512 octets.
SENSIBLE_LENGTH = 450
# RFC 1035, section 4.2.2: a message has 65,535 octets. One in 255 holds the length of a string.
MAX_LENGTH = 65000

# RFC 7208, section 12. A domain-spec consists of macros and of visible characters except "%".
_MACRO = r"%\{[slodiphvSLODIPHV](?:0*[1-9][0-9]*)?[rR]?[-.+,/_=]*\}|%%|%_|%-"
_MACRO_STRING = re.compile(rf"(?:{_MACRO}|[!-$&-~])*")
_ONLY_IN_EXPLANATION = re.compile(r"%\{[crtCRT][0-9]*[rR]?[-.+,/_=]*\}")
_MACROS = re.compile(_MACRO)
_TOP_LABEL = re.compile(r"\.(?=[A-Za-z0-9-]*[A-Za-z-])[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.?$")
_MACRO_END = re.compile(rf"(?:{_MACRO})$")
_HOST_NAME = re.compile(r"[A-Za-z0-9._-]*")

_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9._-]*)=(.*)")
_MECHANISM = re.compile(r"([-+~?]?)([A-Za-z][A-Za-z0-9._-]*)(.*)")
_LENGTH_AT_END = re.compile(r"(?:/[^/{}]*)?(?:/(?:/[^/{}]*))?$")
_DUAL_LENGTH = re.compile(r"(?:/(0|[1-9][0-9]?))?(?://(0|[1-9][0-9]{0,2}))?")
_ADDRESS = re.compile(r":([0-9A-Fa-f:.]+)(?:/(0|[1-9][0-9]{0,2}))?")

_NEEDS_DOMAIN = ("include", "exists")
_TAKES_LENGTH = ("a", "mx")
_ASKS = (*_NEEDS_DOMAIN, *_TAKES_LENGTH, "ptr")
_MECHANISMS = (*_ASKS, "ip4", "ip6", "all")
_NETWORKS = {"ip4": ipaddress.IPv4Address, "ip6": ipaddress.IPv6Address}
_INSTEAD = {"ip": "ip4", "ipv4": "ip4", "ipv6": "ip6", "prt": "ptr", "all.": "all"}

Problem = tuple[str, str, str]  # the term, what is wrong with it, what to do


def read_spf(value: object, where: str, notes: Notes) -> str | None:
    """
    Return the whole record, from its text or a list of its terms, with or without ``v=spf1``.

    None for ``false`` or a wrong value. Source of the grammar: RFC 7208, section 12.
    """
    if value is False:
        return None
    terms = notes.attempt(_terms, value, where)
    if terms is None:
        return None
    problems = list(_problems(terms))
    for term, problem, remedy in problems:
        notes.problem(InvalidValue(where, term, problem, remedy))
    return None if problems else " ".join([VERSION, *terms])


def own_name_problem(record: str, domain: str, where: str) -> InvalidValue | None:
    """
    Return the problem of a record that includes or redirects to itself; None for others.

    Source: RFC 7208, section 4.6.4.

    domain
        The domain of the record, in stored form.
    """
    terms = _including(record)
    term = next((terms[name] for name in (domain, "%{d}", "%{o}") if name in terms), None)
    if term is None:
        return None
    return InvalidValue(
        where,
        term,
        f"names the record of {domain} itself: receivers treat that as a permanent error "
        "(RFC 7208, section 4.6.4)",
        "name another domain, or remove the term",
    )


def circle_problems(
    records: Mapping[str, str], inherited: str | None, where: str
) -> Iterator[InvalidValue]:
    """
    Yield the problem of each circle of records that include or redirect to each other.

    Source: RFC 7208, section 4.6.4.

    records
        The records by their domains, in stored form. No record names itself.
    inherited
        The record of the domains without a record of their own.
    where
        The pillar key of the domains. The problem names one that has a record of its own: a common
        record of all of them would name itself.
    """
    for circle in _circles(records):
        first = next(at for at, name in enumerate(circle) if records[name] != inherited)
        name, *others = (*circle[first:], *circle[:first])
        yield InvalidValue(
            f"{where}:{name}:spf",
            _including(records[name])[others[0]],
            f"leads back to the record of {name}, by {', then '.join(others)}: receivers treat "
            "that as a permanent error (RFC 7208, section 4.6.4)",
            f"remove the term, or one in the spf of {' or '.join(others)}",
        )


def _circles(records: Mapping[str, str]) -> Iterator[list[str]]:
    """Yield circles of domains, each named by the record of the one before, until none is left."""
    leads = {name: included_domains(record) & records.keys() for name, record in records.items()}
    while leads:
        ends = [name for name, others in leads.items() if leads.keys().isdisjoint(others)]
        if not ends:
            path = [min(leads)]
            while (other := min(leads[path[-1]] & leads.keys())) not in path:
                path.append(other)
            ends = path[path.index(other) :]
            yield ends
        for name in ends:
            del leads[name]


def included_domains(record: str) -> frozenset[str]:
    """Return the domains whose records a record includes or redirects to, in lower case."""
    return frozenset(_including(record))


@lru_cache(maxsize=64)
def _including(record: str) -> Mapping[str, str]:
    """Return the terms that name another record, by the domain. Cached like the advice."""
    terms = {}
    for term in record.lower().split()[1:]:
        name = re.sub(r"^[-+~?]?include:|^redirect=", "", term)
        if name != term:
            terms.setdefault(name.removesuffix("."), term)
    return terms


def advise_spf(record: str, where: str, notes: Notes) -> None:
    """Note what is legal but unwise in a record of :func:`read_spf`."""
    for advice in _advice(record):
        notes.advise(where, advice)


@lru_cache(maxsize=64)
def _advice(record: str) -> tuple[str, ...]:
    """Return the advice on one record, cached: 100,000 domains may inherit the same record."""
    terms = [(term, _MODIFIER.fullmatch(term)) for term in record.split()[1:]]
    modifiers = [match[1].lower() for _, match in terms if match]
    mechanisms = [_MECHANISM.fullmatch(term) for term, match in terms if not match]
    found = [(match[1], match[2].lower()) for match in mechanisms]
    names = [name for _, name in found]
    advice = []
    if "ptr" in names:
        advice.append("'ptr' is slow and should not be used (RFC 7208, section 5.5)")
    advice += _advice_on_end(found, names, modifiers)
    unknown = sorted(set(modifiers) - {"redirect", "exp"})
    if unknown:
        advice.append(
            f"{', '.join(f'{name}=' for name in unknown)} is no modifier that receivers know: it "
            "has no effect (RFC 7208, section 6)"
        )
    if len(record) > SENSIBLE_LENGTH:
        advice.append(
            f"is {len(record)} characters long; past {SENSIBLE_LENGTH} an answer may be truncated "
            "(RFC 7208, section 3.4)"
        )
    return tuple(advice)


def _advice_on_end(
    found: Sequence[tuple[str, str]], names: Sequence[str], modifiers: Sequence[str]
) -> Iterator[str]:
    if "all" not in names:
        if "redirect" not in modifiers:
            yield "has neither 'all' nor 'redirect=': a sender that no term matches is neutral"
        return
    first = names.index("all")
    if found[first][0] in ("", "+"):
        yield "'all' without a sign lets everybody send; use -all or ~all"
    if first + 1 < len(names):
        yield "terms after 'all' are never read (RFC 7208, section 5.1)"
    if "redirect" in modifiers:
        yield "redirect= is ignored where there is an 'all' (RFC 7208, section 6.1); remove one"


def _terms(value: object, where: str) -> list[str]:
    """Return the terms after the version. Raises InvalidValue for a value that is no SPF record."""
    if isinstance(value, (list, tuple)):
        for term in value:
            if not isinstance(term, str):
                raise InvalidValue(
                    where,
                    shown(value),
                    f"with {kind_of(term)} in it is not an SPF record",
                    "give a list of terms, each a string such as 'mx' or '-all'",
                )
        value = " ".join(value)
    elif not isinstance(value, str):
        raise InvalidValue(
            where,
            shown(value),
            "is not an SPF record",
            "give its text, such as 'v=spf1 mx -all', a list of its terms, or false for none",
        )
    record = text(value.strip(), where)
    if record[0] in "\"'":
        raise InvalidValue(where, record, "has quotes in the value", "give the text without them")
    if len(record) > MAX_LENGTH:
        raise InvalidValue(
            where,
            record,
            f"is {len(record)} characters long",
            f"use {MAX_LENGTH} at most, better {SENSIBLE_LENGTH} (RFC 7208, section 3.4)",
        )
    terms = [term for term in record.split(" ") if term]
    return terms[1:] if terms[0].lower() == VERSION else terms


def _problems(terms: Sequence[str]) -> Iterator[Problem]:
    seen: set[str] = set()
    asking = 0
    reached = True
    for term in terms:
        match = _MODIFIER.fullmatch(term)
        if not term.isascii():
            problem = (
                "is not a term of SPF: it has characters outside ASCII (RFC 7208, section 3.1)",
                "use A-labels for names and plain blanks",
            )
        elif match:
            problem = _modifier_problem(match[1].lower(), match[2], seen)
            asking += match[1].lower() == "redirect"
        else:
            problem = _mechanism_problem(term)
            name = _mechanism_name(term)
            asking += reached and name in _ASKS
            reached = reached and name != "all"
        if problem:
            yield (term, *problem)
    if asking > MAX_LOOKUPS:
        # redirect= counts even if 'all' is present, as in pyspf 2.0.14.
        yield (
            " ".join(terms),
            f"has {asking} terms that ask DNS (include, a, mx, ptr, exists, redirect): past "
            f"{MAX_LOOKUPS} receivers treat the record as a permanent error "
            "(RFC 7208, section 4.6.4)",
            f"use {MAX_LOOKUPS} at most",
        )


def _mechanism_name(term: str) -> str:
    match = _MECHANISM.fullmatch(term)
    return match[2].lower() if match else ""


def _modifier_problem(name: str, value: str, seen: set[str]) -> tuple[str, str] | None:
    if name == "v":
        return "is a second version: a domain has one record (RFC 7208, section 3.2)", "remove it"
    if name in seen:
        # RFC 7208, section 6, allows to repeat an unknown modifier. pyspf 2.0.14 refuses it.
        return f"is a second {name}= (RFC 7208, section 6)", "use it once"
    seen.add(name)
    if name == "redirect":
        return _domain_problem(value, is_host=True)
    if name == "exp":
        return _domain_problem(value, is_host=False)
    return _macro_problem(value)


def _mechanism_problem(term: str) -> tuple[str, str] | None:
    match = _MECHANISM.fullmatch(term)
    name = match[2].lower() if match else ""
    if name not in _MECHANISMS:
        meant = _INSTEAD.get(name)
        known = f"did you mean {meant!r}?" if meant else f"use one of {', '.join(_MECHANISMS)}"
        return "is not a mechanism of SPF (RFC 7208, section 4.6.1)", known
    if name == "all" and match[3]:
        remedy = "use 'all' with no more than a sign, and a blank behind it"
        return "takes no argument (RFC 7208, section 5.1)", remedy
    if name in _NETWORKS:
        return _network_problem(name, match[3])
    at = _LENGTH_AT_END.search(match[3]).start() if name in _TAKES_LENGTH else None
    domain, length = match[3][:at], match[3][at:] if at is not None else ""
    return _length_problem(length) or _argument_problem(name, domain)


def _argument_problem(name: str, argument: str) -> tuple[str, str] | None:
    if not argument and name not in _NEEDS_DOMAIN:
        return None
    if argument and not argument.startswith(":"):
        return (
            f"is not {name!r} with a domain (RFC 7208, section 5)",
            f"use {name}:example.com, without a prefix length",
        )
    return _domain_problem(argument[1:], is_host=name != "exists")


def _length_problem(length: str) -> tuple[str, str] | None:
    match = _DUAL_LENGTH.fullmatch(length)
    if match and int(match[1] or 0) <= 32 and int(match[2] or 0) <= 128:
        return None
    return (
        f"has the prefix length {length!r}, which is none (RFC 7208, section 5.6)",
        "use /0 to /32, and //0 to //128 for IPv6, without a leading zero",
    )


def _network_problem(name: str, argument: str) -> tuple[str, str] | None:
    most = 32 if name == "ip4" else 128
    example = "ip4:192.0.2.0/24" if name == "ip4" else "ip6:2001:db8::/32"
    _, slash, length = argument.partition("/")
    if slash and (not re.fullmatch(r"0|[1-9][0-9]{0,2}", length) or int(length) > most):
        return (
            f"has the prefix length {length!r}, which is none (RFC 7208, section 5.6)",
            f"use /0 to /{most}, without a leading zero, such as {example}",
        )
    match = _ADDRESS.fullmatch(argument)
    try:
        if match is None:
            raise ValueError
        _NETWORKS[name](match[1])
    except ValueError:
        return (
            f"has no IPv{name[2]} address after {name}: (RFC 7208, section 5.6)",
            f"use one such as {example}",
        )
    return None


def _domain_problem(domain: str, is_host: bool) -> tuple[str, str] | None:
    """Return the problem of a domain-spec; with ``is_host``, also for characters no host has."""
    if not domain:
        return "lacks its domain (RFC 7208, section 7.1)", "name one"
    problem = _macro_problem(domain)
    if problem:
        return problem
    plain = _MACROS.sub("x", domain)
    if "," in plain or ";" in plain:
        problem = "has a comma or semicolon (RFC 7208, section 4.6.1)"
        return problem, "put a blank between two terms"
    if is_host and not _HOST_NAME.fullmatch(plain):
        return (
            "has a domain that no name server has (RFC 7208, section 4.8)",
            "use letters, digits, hyphens, underscores and dots",
        )
    if not _TOP_LABEL.search(domain) and not _MACRO_END.search(domain):
        return (
            "has a domain that is not one: it needs a dot, and a last label that is not all "
            "digits (RFC 7208, section 7.1)",
            "give a full name, and an address as ip4: or ip6:",
        )
    return _size_problem(plain.removesuffix("."))


def _size_problem(name: str) -> tuple[str, str] | None:
    if len(name) <= MAX_NAME and all(0 < len(label) <= MAX_LABEL for label in name.split(".")):
        return None
    return (
        "has a domain with a label or a length that DNS can't have (RFC 7208, section 4.8)",
        f"use labels of 1 to {MAX_LABEL} characters, {MAX_NAME} together",
    )


def _macro_problem(value: str) -> tuple[str, str] | None:
    if _ONLY_IN_EXPLANATION.search(value):
        return (
            "has a macro, %{c}, %{r} or %{t}, that is for the text that exp= leads to alone "
            "(RFC 7208, section 7.2)",
            "use another macro",
        )
    if not _MACRO_STRING.fullmatch(value):
        return (
            "has a domain that is not one: a % in it begins no macro (RFC 7208, section 7.1)",
            "use %{s}, %{l}, %{o}, %{d}, %{i}, %{p}, %{h} or %{v}, and %% for the character",
        )
    return None
