"""The self-test: every kind of mail signed and verified, by the database and by DNS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..dns import check as dns_check
from ..dns import verdict
from ..dns.checked import Checked
from ..dns.query import run
from ..errors import KeyNotFound, NoLibrary, OpenDKIMError
from ..names import stored_domain
from ..postfix import service_milters
from ..postfix.service_milters import Entrance
from ..settings.model import Settings
from . import check_database
from .check_dns import NOT_OBSERVED
from .model import NO_OPENDKIM, Finding, Host
from .trial_messages import LEFT_OPEN, SAMPLE, SigningResult, attempt, cases, sample, with_records


def selftest(
    settings: Settings, domain: object = None, dns: bool = True, most: int | None = None
) -> list[dict[str, object]]:
    """
    Have a message signed for each active key and each pattern that the key signs for.

    Also reads from Postfix's configuration which of its services send their mail to the daemon.

    Returns a list of ``{"domain", "sender", "kind", "algorithm", "selector", "signed",
    "verified_by_database", "verified_by_dns", "ways", "unsigned_headers", "detail"}``: ``domain``
    is the domain of the signature. A verification is True, False, or None if it was not possible.
    ``ways`` has Postfix's services that accept mail, each with True if its mail passes the daemon.
    ``signed`` is False if mail of a service does not pass the daemon, unless
    ``dkim:postfix:unsigned_services`` names the service. ``unsigned_headers`` has the headers of a
    newsletter that the signature does not cover: advice, since the signature is valid. No message
    is delivered.

    domain
        Only messages with a sender or a key of this domain.
    dns
        False asks no name server, so ``verified_by_dns`` is None.
    most
        The number of messages at most, some of each kind. None means no limit.

    Raises InvalidValue for an invalid domain name, KeyNotFound if no key is active, DatabaseError,
    and OpenDKIMError if the daemons cannot reach the database: a message would crash them.
    """
    host = Host(settings)
    name = None if domain is None else stored_domain(domain)
    every = cases(settings, name)
    chosen = with_records(settings, every if most is None else sample(every, most))
    if not chosen:
        raise KeyNotFound(f"no key is active for {name!r}" if name else "no key is active")
    if not host.has_opendkim:
        raise OpenDKIMError(NO_OPENDKIM)
    logins = (one for one in check_database.logins(host) if isinstance(one, Finding))
    failed = [finding.message for finding in logins if not finding.ok]
    if failed:
        raise OpenDKIMError(f"not tried, since it would crash the daemon: {'; '.join(failed)}")
    results = list(attempt(host.daemons, chosen))
    found = service_milters.read()
    ways = service_milters.entrances(found, host.managed_milters)
    milters = {daemon.algorithm: daemon.milter for daemon in host.daemons}
    verified = _by_dns(host, results) if dns else [(None, "")] * len(results)
    return [
        to_dict(settings, result, by_dns, _ways(ways, milters.get(result.case.key.algorithm)))
        for result, by_dns in zip(results, verified, strict=True)
    ]


def is_ok(results: Sequence[dict[str, object]]) -> bool:
    """Return whether no result of :func:`selftest` is wrong; None is not wrong."""
    judged = ("signed", "verified_by_database", "verified_by_dns")
    return all(result[one] is not False for result in results for one in judged)


def _by_dns(host: Host, results: Sequence[SigningResult]) -> list[tuple[bool | None, str]]:
    """
    Return whether DNS verifies each signature, with the reason if not.

    Every authoritative server must hold the record that verified the signature.
    """
    every = (result.case.record for result in results)
    records = list(dict.fromkeys(record for record in every if record is not None))
    try:
        checked = run(dns_check.check(records, host.settings.dns))
    except NoLibrary as error:
        return [(None, str(error))] * len(results)
    verdicts = {one.record: one for one in checked}
    return [in_dns(result, verdicts.get(result.case.record)) for result in results]


def in_dns(result: SigningResult, checked: Checked | None) -> tuple[bool | None, str]:
    """Return whether DNS verifies a signature, with the reason if not."""
    if checked is None:
        return None, ""
    if checked.verdict == verdict.OK:
        return result.verified, ""
    reason = f"DNS: {checked.verdict}" + (f" ({checked.detail})" if checked.detail else "")
    return (None if checked.verdict in NOT_OBSERVED else False), reason


def _ways(ways: Sequence[Entrance], milter: str | None) -> dict[Entrance, bool]:
    return {way: milter not in way.missing for way in ways}


def to_dict(
    settings: Settings,
    result: SigningResult,
    by_dns: tuple[bool | None, str],
    ways: Mapping[Entrance, bool],
) -> dict[str, object]:
    """Return a result as :func:`selftest` does."""
    key = result.case.key
    advice = f"{LEFT_OPEN}: {', '.join(result.unsigned)}" if result.unsigned else ""
    intended = settings.postfix.unsigned_services
    unsigned = [way for way, passes in ways.items() if not passes and way.service not in intended]
    texts = [f"mail by {way} is not signed" for way in unsigned]
    return {
        "domain": key.domain,
        "sender": result.case.sender,
        "kind": result.case.kind,
        "algorithm": key.algorithm,
        "selector": key.selector,
        "signed": result.signed and not unsigned,
        "verified_by_database": result.verified,
        "verified_by_dns": by_dns[0],
        "ways": {way.service: passes for way, passes in ways.items()},
        "unsigned_headers": list(result.unsigned),
        "detail": "; ".join(filter(None, (result.detail, *texts, by_dns[1], advice))),
    }


def problems(settings: Settings) -> list[str]:
    """
    Return the problems that keep mail of this machine from being signed, a sentence each.

    Tests a sample of messages. Each is signed through its daemon's socket, and verified with the
    public key in the database. Asks no name server. Raises the errors of :func:`selftest`.
    """
    results = selftest(settings, dns=False, most=SAMPLE)
    return [
        f"mail from {one['sender']} ({one['algorithm']}) is not signed well: {one['detail']}"
        for one in results
        if not is_ok([one])
    ]
