"""Signing, tried out: through the daemons' own sockets, and verified."""

from collections.abc import Mapping, Sequence

from ..dns import check as dns_check
from ..dns import verdict
from ..dns.check import Checked
from ..dns.failure import NoLibrary
from ..dns.loop import run
from ..doctor import database, signing
from ..doctor.signing import Outcome
from ..doctor.site import NO_OPENDKIM, Site
from ..errors import KeyNotFound, OpenDKIMError
from ..names import stored_domain
from ..postfix import services
from ..postfix.services import Way
from ..settings.model import Settings

# What says more of this machine's view than of the record.
_NOT_SEEN = (verdict.NO_ZONE, verdict.UNCHECKED)


def selftest(settings: Settings, domain: object = None) -> list[dict[str, object]]:
    """
    Has a message signed for each active key and each pattern that it signs for, of one domain or
    of all, and reads from Postfix's configuration which ways of mail lead to the daemon.

    Returns a list of ``{"domain", "sender", "kind", "algorithm", "selector", "signed",
    "verified_by_database", "verified_by_dns", "ways", "unsigned_headers", "detail"}``: ``domain``
    is the signature's, and a verification is True, False, or None where it could not be tried.
    ``ways`` are Postfix's services by which mail comes in, each True where its mail passes the
    daemon; ``signed`` is False where one does not, but for ``dkim:postfix:unsigned_services``.
    ``unsigned_headers`` names headers of a newsletter that the signature leaves open, as advice:
    the signature is good without them. No message is delivered.

    Raises InvalidValue for what is no domain name, KeyNotFound where no key is active,
    DatabaseError, and OpenDKIMError where the daemons can't reach the database: a message would
    crash them.
    """
    site = Site(settings)
    name = None if domain is None else stored_domain(domain)
    chosen = signing.with_records(settings, signing.cases(settings, name))
    if not chosen:
        raise KeyNotFound(f"no key is active for {name}" if name else "no key is active")
    if not site.has_opendkim:
        raise OpenDKIMError(NO_OPENDKIM)
    barred = [finding.found for finding in database.logins(site) if not finding.ok]
    if barred:
        raise OpenDKIMError(f"not tried, for it would crash the daemon: {'; '.join(barred)}")
    outcomes = list(signing.attempt(site.daemons, chosen))
    found = services.read()
    ways = services.ways(found, site.ours)
    milters = {daemon.algorithm: daemon.milter for daemon in site.daemons}
    return [
        _plain(settings, outcome, by_dns, _ways(ways, milters.get(outcome.case.key.algorithm)))
        for outcome, by_dns in zip(outcomes, _by_dns(site, outcomes), strict=True)
    ]


def right(results: Sequence[dict[str, object]]) -> bool:
    """Whether nothing is wrong; what could not be tried is not."""
    judged = ("signed", "verified_by_database", "verified_by_dns")
    return all(result[one] is not False for result in results for one in judged)


def _by_dns(site: Site, outcomes: Sequence[Outcome]) -> list[tuple[bool | None, str]]:
    """
    Whether each signature is good by what every authoritative server holds: the servers are asked
    for the very record that it was verified with.
    """
    every = (outcome.case.record for outcome in outcomes)
    records = list(dict.fromkeys(record for record in every if record is not None))
    try:
        checked = run(dns_check.check(records, site.settings.dns))
    except NoLibrary as error:
        return [(None, str(error))] * len(outcomes)
    verdicts = {one.record: one for one in checked}
    return [_seen(outcome, verdicts.get(outcome.case.record)) for outcome in outcomes]


def _seen(outcome: Outcome, checked: Checked | None) -> tuple[bool | None, str]:
    if checked is None:
        return None, ""
    if checked.verdict == verdict.RIGHT:
        return outcome.verified, ""
    told = f"DNS: {checked.verdict}" + (f" ({checked.detail})" if checked.detail else "")
    return (None if checked.verdict in _NOT_SEEN else False), told


def _ways(ways: Sequence[Way], milter: str | None) -> dict[Way, bool]:
    return {way: milter not in way.lacks for way in ways}


def _plain(
    settings: Settings,
    outcome: Outcome,
    by_dns: tuple[bool | None, str],
    ways: Mapping[Way, bool],
) -> dict[str, object]:
    key = outcome.case.key
    advice = f"{signing.LEFT_OPEN}: {', '.join(outcome.unsigned)}" if outcome.unsigned else ""
    meant = settings.postfix.unsigned_services
    round_us = [way for way, passes in ways.items() if not passes and way.service not in meant]
    texts = [f"mail by {way} is not signed" for way in round_us]
    return {
        "domain": key.domain,
        "sender": outcome.case.sender,
        "kind": outcome.case.kind,
        "algorithm": key.algorithm,
        "selector": key.selector,
        "signed": outcome.signed and not round_us,
        "verified_by_database": outcome.verified,
        "verified_by_dns": by_dns[0],
        "ways": {way.service: passes for way, passes in ways.items()},
        "unsigned_headers": list(outcome.unsigned),
        "detail": "; ".join(filter(None, (outcome.detail, *texts, by_dns[1], advice))),
    }
