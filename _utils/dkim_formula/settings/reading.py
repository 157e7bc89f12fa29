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
from .validation import MOST_TOLD, Notes, choice, read_section, section, text

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

# master.cf's services as postconf(1) -P writes them.
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


# Compound targets, which Salt reads.
_FLEET = dict.fromkeys(("database", "standby", "mail", "publisher"), text)

_POSTFIX = {
    "milter_default_action": choice(*MILTER_DEFAULT_ACTIONS),
    "unsigned_services": _services,
}


@dataclass(frozen=True)
class Reading:
    """
    What a pillar says.

    settings
        Always whole: where a value is wrong, the default stands in for it.
    problems
        What is wrong, a line each; with one of them nothing must be changed. Of more than
        ``MOST_TOLD`` the rest is counted in a last line.
    advice
        What is legal and unwise, a line each, counted in the same way.
    """

    settings: Settings
    problems: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


def read(pillar: Mapping | None) -> Reading:
    """
    Check everything and fill in the defaults. Never raises for a value.

    pillar
        The value of the pillar's key ``dkim``, as Salt gives it; None where the key is missing.
        An empty one is a problem: a pillar that did not reach its minion looks like that.
        Passwords and secrets in it are :class:`dkim_formula.secret.Secret` from here on.
    """
    notes = Notes()
    if _empty(pillar):
        notes.problem(EMPTY)
    given = read_section(pillar, WHERE, _SECTIONS, notes)
    database = read_database(given.get("database"), notes)
    dns = read_dns(given.get("dns"), notes)
    domains = read_domains(given.get("defaults"), given.get("domains"), dns.ttl, notes)
    settings = Settings(
        database=database,
        domains=domains.named,
        every_hosted=domains.every_hosted,
        excluded=frozenset(domains.excluded),
        defaults=domains.defaults,
        opendkim=read_opendkim(given.get("opendkim"), notes),
        postfix=Postfix(**read_section(given.get("postfix"), "dkim:postfix", _POSTFIX, notes)),
        dns=dns,
        rotation=read_rotation(given.get("rotation"), dns, _all(domains), notes),
        monitoring=read_monitoring(given.get("monitoring"), notes),
        fleet=Fleet(**read_section(given.get("fleet"), "dkim:fleet", _FLEET, notes)),
        lookup=read_lookup(given.get("lookup"), notes),
    )
    return Reading(
        settings,
        _told(notes.problems, "problems", "mend these first, then check again"),
        _told(notes.advice, "pieces of advice", "follow these first, then check again"),
    )


def _told(texts: Collection[str], what: str, remedy: str) -> tuple[str, ...]:
    more = len(texts) - MOST_TOLD
    if more <= 0:
        return tuple(texts)
    return (*islice(texts, MOST_TOLD), f"{WHERE}: {more} more {what} are not shown; {remedy}")


def _empty(pillar: object) -> bool:
    """Whether the pillar sets nothing: it is missing, or each of its sections is null."""
    return pillar is None or (
        isinstance(pillar, Mapping) and all(value is None for value in pillar.values())
    )


def _all(domains: Domains) -> list[Domain]:
    templates = [domains.defaults, domains.every_hosted]
    return [*domains.named.values(), *(template for template in templates if template is not None)]
