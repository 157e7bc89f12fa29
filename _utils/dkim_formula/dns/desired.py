"""Desired records: what DNS should hold, by the settings and the keys in the database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import InvalidValue
from ..keys import table as keys_table
from ..keys.completion import completed_keys
from ..keys.desired import (
    chosen_domains,
    domain_settings,
    key_problem,
    record_name_problem,
    record_of,
)
from ..keys.known_domains import refuse_unknown
from ..keys.model import Key
from ..names import is_served, mail_domain, stored_domain
from ..postgres import hosted as hosted_domains
from ..postgres import schema
from ..postgres.connection import session
from ..records import Record, delegation_records
from ..records.dmarc import dmarc_record, report_authorisation_records
from ..records.policies import mta_sts_record, spf_record, tls_rpt_record
from ..settings.model import Domain, Settings
from ..settings.spf import included_domains, own_name_problem

if TYPE_CHECKING:
    import psycopg2.extensions as pg


def desired_records(settings: Settings, domain: object = None) -> list[Record]:
    """
    Return the records of one domain, or of every domain that the settings choose or that has a key.

    Raises InvalidValue for an invalid domain name, DatabaseUnavailable; DatabaseError, also for a
    domain without a key that is neither hosted nor in the pillar: its name may be mistyped.
    """
    with session(settings.database) as connection:
        if domain is not None:
            name = stored_domain(domain)
            keys = completed_keys(connection, settings, name)
            if not keys and name not in settings.excluded:
                refuse_unknown(connection, settings, name)
            return records_of(settings, [domain_settings(settings, name)], keys)
        keys = completed_keys(connection, settings)
        chosen = chosen_domains(settings, hosted_domains.hosted(connection, settings.database))
    return records_of(settings, with_keys(settings, chosen, keys).values(), keys)


def with_keys(
    settings: Settings, chosen: dict[str, Domain], keys: Iterable[Key]
) -> dict[str, Domain]:
    """Return the chosen domains by name, and every other domain that has a key."""
    every = dict(chosen)
    for key in keys:
        name = key.domain.lower()
        if name not in every and name not in settings.excluded and is_served(name):
            every[name] = domain_settings(settings, name)
    return every


def records_of(settings: Settings, domains: Iterable[Domain], keys: Sequence[Key]) -> list[Record]:
    """
    Return the records of some domains: one for each key in any state, and one for each policy of
    the settings. A domain that the settings exclude has no policies.

    keys
        The domains' stored keys. A row without a readable key has no record.
    """
    by_domain: dict[str, list[Key]] = {}
    for key in keys:
        by_domain.setdefault(_domain_of(key), []).append(key)
    found = []
    for domain in domains:
        shown = [key for key in by_domain.get(domain.name, ()) if not key_problem(key, domain)]
        found += _each_name_once([(key, record_of(key, domain)) for key in shown])
        if domain.delegation is not None and not record_name_problem(domain, domain.name):
            used = (key.selector for key in shown)
            found += delegation_records(domain.name, domain.delegation, used, domain.ttl)
        if domain.name not in settings.excluded:
            found += policy_records(domain)
    return found


def policy_records(domain: Domain) -> list[Record]:
    """
    Return the records of a domain that depend on the settings only. A policy whose name is too long
    for DNS (RFC 1035, section 2.3.4) has no record, nor has an SPF that includes itself.
    """
    name, ttl = domain.name, domain.ttl
    makers = (
        (domain.dmarc, lambda: [dmarc_record(name, domain.dmarc, ttl)]),
        (domain.dmarc, lambda: report_authorisation_records(name, domain.dmarc, ttl)),
        (
            domain.spf and not own_spf_problem(domain),
            lambda: [spf_record(name, domain.spf, ttl)],
        ),
        (domain.tls_rpt, lambda: [tls_rpt_record(name, domain.tls_rpt, ttl)]),
        (domain.mta_sts, lambda: [mta_sts_record(name, domain.mta_sts, ttl)]),
    )
    found = []
    for policy, make in makers:
        if policy:
            with suppress(InvalidValue):
                found += make()
    return found


def own_spf_problem(domain: Domain) -> str:
    """
    Return that a domain's SPF includes the domain itself; else an empty text.

    ``'*'`` or the defaults may name the one domain that has the senders of all domains.
    """
    problem = own_name_problem(domain.spf or "", domain.name, "spf")
    if problem is None:
        return ""
    return (
        f"the spf of {domain.name} {problem.problem}, so the formula leaves this record out; set "
        f"dkim:domains:{domain.name}:spf to the senders of {domain.name}, or to false"
    )


def own_spf_problems(connection: pg.connection, settings: Settings) -> list[str]:
    """Return :func:`own_spf_problem` of the domains that have a record without being named."""
    database, template = settings.database, settings.every_hosted or settings.defaults
    named = included_domains(template.spf or "") - settings.domains.keys() - settings.excluded
    if not named:
        return []
    found: set[str] = set()
    with connection.cursor() as cursor:
        has_hosted = bool(hosted_domains.present(cursor, database))
    if settings.every_hosted is not None and has_hosted:
        found = named - {*hosted_domains.not_hosted(connection, database, named)}
    if schema.has_tables(connection, database):
        found |= {key.domain for key in keys_table.list_of(connection, database, named)}
    return [own_spf_problem(domain_settings(settings, name)) for name in sorted(found)]


def _each_name_once(pairs: Sequence[tuple[Key, Record]]) -> list[Record]:
    """Return one record for each name. DNS ignores the case of selectors."""
    found: dict[str, tuple[Key, Record]] = {}
    for key, record in pairs:
        if record.name not in found or key.state == "active":
            found[record.name] = key, record
    return [record for _, record in found.values()]


def _domain_of(key: Key) -> str:
    try:
        return key.domain if is_served(key.domain) else mail_domain(key.domain)
    except InvalidValue:
        return key.domain
