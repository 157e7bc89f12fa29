"""Checks of DNS: whether the authoritative servers hold the desired records."""

from collections.abc import Iterator, Sequence

from ..dns import check as dns_check
from ..dns import verdict
from ..dns.checked import Checked, not_ok
from ..dns.desired import records_of, with_keys
from ..dns.query import run
from ..errors import NoLibrary
from ..keys import table as keys_table
from ..keys.desired import chosen_domains, domain_settings, record_of
from ..postgres import hosted as hosted_domains
from ..postgres.connection import session
from ..records import Record
from ..rotation.state import is_readable
from ..settings.model import Settings
from ..text import counted, listed
from . import samples
from .check_keys import with_public_halves
from .model import (
    MOST_ITEMS,
    NAMED,
    Finding,
    Host,
    Sample,
    applied,
    right,
    unknown,
    wrong,
)

# The verdicts without an observation of the record.
NOT_OBSERVED = (verdict.NO_ZONE, verdict.UNCHECKED)


def records(host: Host) -> Iterator[Finding | Sample]:
    """Check that every server holds the records of all domains, keys and policies."""
    desired, states, asked = _desired(host)
    try:
        checked = run(dns_check.check(desired, host.settings.dns))
    except NoLibrary as error:
        yield unknown("dns", str(error), applied("dkim.python"))
        yield Sample("dkim_dns_up", 0)
        return
    differing = [one for one in not_ok(checked) if not _is_gone_for_good(one)]
    yield Sample("dkim_dns_up", 1)
    yield from samples.of_records(checked, differing, states)
    yield finding(host.settings, checked, differing, asked)


def finding(
    settings: Settings, checked: Sequence[Checked], differing: Sequence[Checked], asked: str
) -> Finding:
    """
    Return the finding about checked records.

    asked
        A clause that says of which domains the records are.
    """
    if not differing:
        advice = [f"{_name(one)}: {one.detail}" for one in checked if one.detail]
        text = f"; advice: {listed(advice, NAMED)}" if advice else ""
        return right("dns", f"{asked}, each of {len(checked)} is ok{text}")
    # Records without an observation come last.
    differing = sorted(differing, key=lambda one: one.verdict in NOT_OBSERVED)
    items = tuple(_with_verdict(one) for one in differing[:MOST_ITEMS])
    number = len(differing)
    are = f"{counted(number, 'record')} {'is' if number == 1 else 'are'}"
    message = f"{are} not in DNS as desired: {listed(items, NAMED, number)}"
    more = {"items": items, "count": number}
    if differing[0].verdict in NOT_OBSERVED:
        remedy = "salt-call dkim.check_dns, where DNS can be asked"
        return unknown("dns", f"{message}; {asked}", remedy, **more)
    remedy = f"salt-call dkim.check_dns says how each differs; {_how_to_publish(settings)}"
    return wrong("dns", f"{message}; {asked}", remedy, **more)


def orphaned(host: Host) -> Iterator[Finding]:
    """
    Check the records of keys whose domain is neither hosted nor in the pillar.

    Differences are unknown, not wrong, because none of these records keeps mail from being signed.
    """
    name, settings = "dns of orphaned keys", host.settings
    domains = evenly(sorted(host.orphans.gone), host.domains_asked)
    if not domains:
        return
    with session(settings.database) as connection:
        keys = keys_table.list_of(connection, settings.database, domains)
    readable = [key for key in keys if is_readable(settings, key)]
    desired = [record_of(key, domain_settings(settings, key.domain)) for key in readable]
    try:
        checked = run(dns_check.check(desired, settings.dns))
    except NoLibrary:
        return
    differing = [_with_verdict(one) for one in not_ok(checked) if not one.is_gone]
    if differing:
        remedy = "salt-call dkim.status says what comes next, and when"
        yield unknown(name, listed(differing, NAMED), remedy)
    else:
        yield right(name, f"{len(desired)} records are ok, or their domains do not exist")


def _desired(host: Host) -> tuple[list[Record], samples.States, str]:
    """
    Return the desired records, the states of the keys, and a clause about the domains asked for.

    Writes nothing.
    """
    settings = host.settings
    with session(settings.database) as connection:
        hosted = hosted_domains.hosted(connection, settings.database)
        stored = keys_table.list_keys(connection, settings.database)
        keys = with_public_halves(connection, settings.database, stored)
    every = with_keys(settings, chosen_domains(settings, hosted), keys)
    # The zone of a domain that is gone may be missing as well.
    domains = [one for name, one in every.items() if name not in host.orphans.gone]
    some = evenly(domains, host.domains_asked)
    asked = f"the records of {len(some)} of {len(domains)} domains were asked for"
    states = {(key.domain, key.selector): key.state for key in keys}
    return records_of(settings, some, keys), states, asked


def evenly(of: Sequence, most: int | None) -> list:
    """Return at most ``most`` items, evenly from all of them; all items if ``most`` is None."""
    step = 1 if most is None else max(1, -(-len(of) // most))
    return list(of[::step])


def _is_gone_for_good(one: Checked) -> bool:
    # A missing record and an empty p= both mean that the key is revoked: RFC 6376, section 6.1.2.
    revoked = one.record.purpose == "dkim" and one.record.value.endswith("p=")
    return revoked and one.verdict == verdict.MISSING


def _with_verdict(one: Checked) -> str:
    return f"{_name(one)}: {one.verdict}"


def _name(one: Checked) -> str:
    return f"{one.record.name} {one.record.type}"


def _how_to_publish(settings: Settings) -> str:
    if settings.dns.is_published:
        return "salt-call dkim.publish publishes"
    return "salt-call dkim.records prints what to publish"
