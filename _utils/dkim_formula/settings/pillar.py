"""The whole of pillar ``dkim``, read in one pass."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import islice

from ..errors import InvalidValue
from .database import read_database
from .dns import read_dns
from .domains import Domains, read_domains
from .lookup import read_lookup
from .model import MILTER_DEFAULT_ACTIONS, Domain, Fleet, Postfix, Settings
from .monitoring import read_monitoring
from .opendkim import read_opendkim
from .rotation import read_rotation
from .validation import MAX_REPORTED, Notes, choice, read_section, section, text

WHERE = "dkim"

EMPTY = (
    "dkim: the pillar of this minion is empty. Set it (pillar.example has every key), and run "
    "'salt-call pillar.items' to see what arrives here; to remove the formula from this machine, "
    "apply the state dkim.clean"
)

_SECTIONS = dict.fromkeys(
    (
        "database",
        "defaults",
        "domains",
        "opendkim",
        "postfix",
        "dns",
        "rotation",
        "monitoring",
        "fleet",
        "lookup",
    ),
    section,
)

# A service of master.cf in the form of postconf(1) -P.
_SERVICE = re.compile(r"[^\s/]+/(inet|unix|unix-dgram|fifo|pass)")


def _services(value: object, where: str) -> tuple[str, ...]:
    given = value if isinstance(value, (list, tuple)) else [value]
    return tuple(_service(one, where) for one in given)


def _service(value: object, where: str) -> str:
    name = text(value, where)
    if not _SERVICE.fullmatch(name):
        raise InvalidValue(
            where, name, "is not a service of master.cf", "use name/type, such as smtp/inet"
        )
    return name


# Compound targets. Salt itself parses them.
_FLEET = dict.fromkeys(("database", "standby", "mail", "publisher"), text)

_POSTFIX = {
    "milter_default_action": choice(*MILTER_DEFAULT_ACTIONS),
    "unsigned_services": _services,
}


@dataclass(frozen=True)
class Reading:
    """
    The result of reading a pillar.

    settings
        Always complete: a wrong value is replaced by its default.
    problems
        What is wrong, one line each. With a problem nothing may be changed. After ``MAX_REPORTED``
        lines, a last line counts the rest.
    advice
        What is legal but unwise, in the same form.
    """

    settings: Settings
    problems: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


def read(pillar: Mapping | None) -> Reading:
    """
    Return the checked settings, completed with defaults. Never raises for a value.

    pillar
        The value of the pillar's key ``dkim``, as Salt gives it; None if the key is missing. An
        empty pillar is a problem, since a pillar that did not reach its minion is empty too.
        Passwords and secrets are :class:`dkim_formula.secret.Secret` from here on.
    """
    notes = Notes()
    if _is_empty(pillar):
        notes.problem(EMPTY)
    given = read_section(pillar, WHERE, _SECTIONS, notes)
    database = read_database(given.get("database"), notes)
    dns = read_dns(given.get("dns"), notes)
    fleet = Fleet(**read_section(given.get("fleet"), "dkim:fleet", _FLEET, notes))
    domains = read_domains(given.get("defaults"), given.get("domains"), dns.ttl, notes)
    settings = Settings(
        database=database,
        domains=domains.named,
        every_hosted=domains.every_hosted,
        excluded=frozenset(domains.excluded),
        defaults=domains.defaults,
        opendkim=read_opendkim(given.get("opendkim"), _signing(domains), notes),
        postfix=Postfix(**read_section(given.get("postfix"), "dkim:postfix", _POSTFIX, notes)),
        dns=dns,
        rotation=read_rotation(given.get("rotation"), dns, fleet, _with_templates(domains), notes),
        monitoring=read_monitoring(given.get("monitoring"), notes),
        fleet=fleet,
        lookup=read_lookup(given.get("lookup"), notes),
    )
    return Reading(
        settings,
        _limited(notes.problems, "problems", "fix these first, then check again"),
        _limited(notes.advice, "pieces of advice", "follow these first, then check again"),
    )


def _limited(texts: Collection[str], what: str, remedy: str) -> tuple[str, ...]:
    more = len(texts) - MAX_REPORTED
    if more <= 0:
        return tuple(texts)
    return (*islice(texts, MAX_REPORTED), f"{WHERE}: {more} more {what} are not shown; {remedy}")


def _is_empty(pillar: object) -> bool:
    """Return whether the pillar sets nothing: it is missing, or each of its sections is null."""
    return pillar is None or (
        isinstance(pillar, Mapping) and all(value is None for value in pillar.values())
    )


def _signing(domains: Domains) -> list[Domain]:
    every = [domains.every_hosted] if domains.every_hosted is not None else []
    return [*domains.named.values(), *every]


def _with_templates(domains: Domains) -> list[Domain]:
    templates = [domains.defaults, domains.every_hosted]
    return [*domains.named.values(), *(template for template in templates if template is not None)]
