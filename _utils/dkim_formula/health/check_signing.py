"""Messages through the milter sockets and their signatures, verified. None is delivered."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from email.utils import formatdate

from ..dns import check as dns_check
from ..dns import verdict
from ..dns.checked import Checked
from ..dns.query import run
from ..errors import KeyNotFound, NoLibrary, OpenDKIMError
from ..keys import patterns
from ..keys import table as keys_table
from ..keys.desired import domain_settings, record_of
from ..keys.model import Key
from ..names import stored_domain
from ..postfix import service_milters
from ..postfix.service_milters import Way
from ..postgres.connection import session
from ..records import Record
from ..settings.model import Settings
from ..signer import signed_headers
from ..signer.daemons import Daemon
from ..signer.milter import Answer, Connection
from ..signer.verify import NotVerified, tags, verify
from ..text import listed
from . import check_database, reader_login
from .check_dns import NOT_SEEN
from .check_keys import with_public_halves
from .model import NAMED, NO_OPENDKIM, Finding, Host, applied, right, unknown, wrong

LOCAL_PART = "dkim-selftest"
# Those of a newsletter beside From, Sender, Date and Message-ID (RFC 8058, section 4).
BULK_HEADERS = (
    ("To", "somebody@example.net"),
    ("Cc", "somebody.else@example.net"),
    ("Reply-To", "nobody@example.net"),
    ("Subject", "A self-test of DKIM"),
    ("MIME-Version", "1.0"),
    ("Content-Type", "text/plain; charset=us-ascii"),
    ("Content-Transfer-Encoding", "7bit"),
    ("List-Id", "A self-test of DKIM <list.example.net>"),
    ("List-Unsubscribe", "<https://example.net/unsubscribe>"),
    ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
)
BODY = b"A message of dkim.selftest: it is signed, verified, and never delivered.\r\n"
LEFT_OPEN = "advice: add to dkim:opendkim:settings:SignHeaders, which leaves open"
SAMPLE = 20
ANSWERED_WITHIN = 10.0  # seconds


@dataclass(frozen=True)
class Case:
    """
    A message to be signed.

    sender
        Its From address.
    kind
        ``domain``, ``subdomain``, ``address`` or ``alias``.
    key
        The one that has to sign it.
    record
        Its record, as the database's public key makes it (:func:`with_records`); None where the key
        can't be read.
    """

    sender: str
    kind: str
    key: Key
    record: Record | None = None


@dataclass(frozen=True)
class Outcome:
    """
    What came of a case.

    signed
        The signature's header is of this domain, selector and algorithm.
    verified
        It is good by the database's public key; None where it was not signed, or there is none.
    detail
        What is wrong.
    unsigned
        Headers of the message that the signature leaves open: advice, since the signature is good.
    """

    case: Case
    signed: bool
    verified: bool | None = None
    detail: str = ""
    unsigned: tuple[str, ...] = ()


def cases(settings: Settings, domain: str | None = None) -> list[Case]:
    """
    A case for each active key and each pattern that it signs for, by the database; still without
    their records, of which a sample needs few. A machine that only signs has what its daemons read.

    domain
        Only those that this domain's senders are in, or whose key is its.

    Raises DatabaseError, OpenDKIMError.
    """
    if settings.database.only_signs:
        shown = reader_login.signed_for(Host(settings), domain)
        return [
            Case(*_sender(pattern, (key.domain, "")), key)
            for pattern, keys in shown.items()
            for key in keys
        ]
    with session(settings.database) as connection:
        stored = keys_table.list_keys(connection, settings.database)
        active = [key for key in stored if key.state == "active"]
        keys = with_public_halves(connection, settings.database, active)
        extra = patterns.look(connection, settings.database)
    by_owner: dict[tuple[str, str], list[Key]] = {}
    for key in keys:
        by_owner.setdefault((key.domain, key.address), []).append(key)
    found = []
    for pattern, owner in _patterns(by_owner, extra):
        sender, kind = _sender(pattern, owner)
        for key in by_owner.get(owner, ()):
            found.append(Case(sender, kind, key))
    if domain is None:
        return found
    return [case for case in found if domain in (case.key.domain, _host(case.sender), _above(case))]


def with_records(settings: Settings, chosen: Iterable[Case]) -> list[Case]:
    """The cases, each with the record that its signature is to be verified with."""
    return [
        case
        if case.key.public is None
        else replace(case, record=record_of(case.key, domain_settings(settings, case.key.domain)))
        for case in chosen
    ]


def _patterns(owners: Iterable[tuple[str, str]], extra) -> Iterator[tuple[str, tuple[str, str]]]:
    yield from ((domain, (domain, "")) for domain, address in owners if not address)
    yield from extra.items()


def _sender(pattern: str, owner: tuple[str, str]) -> tuple[str, str]:
    """An address that the pattern is for: opendkim.conf(5), «SigningTable»."""
    if "@" in pattern:
        return pattern, "address"
    if pattern.startswith("."):
        return f"{LOCAL_PART}@{LOCAL_PART}{pattern}", "subdomain"
    return f"{LOCAL_PART}@{pattern}", "domain" if pattern == owner[0] else "alias"


def _host(sender: str) -> str:
    return sender.rpartition("@")[2]


def _above(case: Case) -> str:
    return _host(case.sender).removeprefix(f"{LOCAL_PART}.")


def attempt(daemons: Sequence[Daemon], chosen: Iterable[Case]) -> Iterator[Outcome]:
    """
    Has the daemons sign, as a client on this machine that has logged in; a daemon that fails fails
    the rest of its cases.
    """
    chosen = list(chosen)
    for daemon in daemons:
        yield from _attempt(
            daemon, [one for one in chosen if one.key.algorithm == daemon.algorithm]
        )


def _attempt(daemon: Daemon, chosen: Sequence[Case]) -> Iterator[Outcome]:
    if not chosen:
        return
    done = 0
    try:
        with closing(Connection(daemon.socket, ANSWERED_WITHIN)) as connection:
            for case in chosen:
                outcome = _signed(connection, case)
                done += 1
                yield outcome
    except OpenDKIMError as error:
        yield from (Outcome(case, False, detail=str(error)) for case in chosen[done:])


def _signed(connection: Connection, case: Case) -> Outcome:
    headers = [
        ("From", f"DKIM self-test <{case.sender}>"),
        # A site's SenderHeaders may have OpenDKIM look here first.
        ("Sender", case.sender),
        ("Date", formatdate(time.time())),
        ("Message-ID", f"<{uuid.uuid4()}@{_host(case.sender)}>"),
        *BULK_HEADERS,
    ]
    # Who has logged in may send, whatever InternalHosts says. The name stands in the daemon's log
    # as that of the message.
    macros = {"i": LOCAL_PART, "{auth_authen}": LOCAL_PART}
    answer = connection.message(case.sender, headers, BODY, macros=macros)
    return judge(case, answer, [(name, f" {value}") for name, value in headers])


def judge(case: Case, answer: Answer, headers: Sequence[tuple[str, str]]) -> Outcome:
    """What an answer is worth for its case: the right key's signature, and a good one."""
    signatures = answer.headers("DKIM-Signature")
    if not signatures:
        said = f"{answer.verdict}, {answer.reply}" if answer.reply else answer.verdict
        if answer.verdict == "accepted":
            said = "the daemon added no signature"
        return Outcome(case, False, detail=f"not signed: {said}")
    try:
        found = tags(signatures[0])
        wanted = {"d": case.key.domain, "s": case.key.selector}
        other = {name: found.get(name) for name in wanted if found.get(name) != wanted[name]}
        if other:
            listed = ", ".join(f"{name}={value}" for name, value in other.items())
            return Outcome(case, False, detail=f"signed by another key: {listed}")
        if case.record is None:
            return Outcome(case, True, detail="the key in the database can't be read")
        verify(signatures[0], headers, BODY, case.record.value)
        left_open = signed_headers.unsigned(signatures[0], [name for name, _ in headers])
    except NotVerified as error:
        return Outcome(case, True, False, str(error))
    return Outcome(case, True, True, unsigned=tuple(left_open))


def sample(chosen: Sequence[Case], most: int = SAMPLE) -> list[Case]:
    """Some of each kind and algorithm, and the rest evenly from all."""
    if len(chosen) <= most:
        return list(chosen)
    firsts = {(case.kind, case.key.algorithm): number for number, case in enumerate(chosen)}
    left = most - len(firsts)
    evenly = [number * len(chosen) // left for number in range(left)]
    return [chosen[number] for number in sorted({*firsts.values(), *evenly})]


def check(host: Host) -> Iterator[Finding]:
    """Yield whether a message of each of a sample of senders comes back with a good signature."""
    name = "signing"
    if not host.has_opendkim:
        yield unknown(name, NO_OPENDKIM)
        return
    every = cases(host.settings)
    chosen = with_records(host.settings, sample(every))
    if not chosen:
        yield unknown(name, "there is no active key", "salt-call dkim.generate_missing")
        return
    outcomes = list(attempt(host.daemons, chosen))
    failed = [
        f"{one.case.sender} ({one.case.key.algorithm}): {one.detail}"
        for one in outcomes
        if not one.verified
    ]
    looked = f"{len(outcomes)} of {len(every)} kinds of mail were tried"
    if failed:
        remedy = (
            f"salt-call dkim.selftest; journalctl -u opendkim -n 50; {applied('dkim.opendkim')}"
        )
        yield wrong(name, f"{listed(failed, NAMED)}; {looked}", remedy, count=len(failed))
        return
    left_open = list(dict.fromkeys(header for one in outcomes for header in one.unsigned))
    advice = f"; {LEFT_OPEN}: {', '.join(left_open)}" if left_open else ""
    yield right(name, f"{looked}, each was signed and verified{advice}")


def selftest(
    settings: Settings, domain: object = None, dns: bool = True, most: int | None = None
) -> list[dict[str, object]]:
    """
    Have a message signed for each active key and each pattern that it signs for, of one domain or
    of all, and reads from Postfix's configuration which ways of mail lead to the daemon.

    Returns a list of ``{"domain", "sender", "kind", "algorithm", "selector", "signed",
    "verified_by_database", "verified_by_dns", "ways", "unsigned_headers", "detail"}``: ``domain``
    is the signature's, and a verification is True, False, or None where it could not be tried.
    ``ways`` are Postfix's services by which mail comes in, each True where its mail passes the
    daemon; ``signed`` is False where one does not, but for ``dkim:postfix:unsigned_services``.
    ``unsigned_headers`` names headers of a newsletter that the signature leaves open, as advice:
    the signature is good without them. No message is delivered.

    dns
        False asks no name server: ``verified_by_dns`` is None.
    most
        So many messages at the most, some of each kind; None is no limit.

    Raises InvalidValue for what is no domain name, KeyNotFound where no key is active,
    DatabaseError, and OpenDKIMError where the daemons can't reach the database: a message would
    crash them.
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
    barred = [finding.message for finding in logins if not finding.ok]
    if barred:
        raise OpenDKIMError(f"not tried, for it would crash the daemon: {'; '.join(barred)}")
    outcomes = list(attempt(host.daemons, chosen))
    found = service_milters.read()
    ways = service_milters.ways(found, host.ours)
    milters = {daemon.algorithm: daemon.milter for daemon in host.daemons}
    seen = _by_dns(host, outcomes) if dns else [(None, "")] * len(outcomes)
    return [
        _plain(settings, outcome, by_dns, _ways(ways, milters.get(outcome.case.key.algorithm)))
        for outcome, by_dns in zip(outcomes, seen, strict=True)
    ]


def is_right(results: Sequence[dict[str, object]]) -> bool:
    """Whether nothing is wrong; what could not be tried is not wrong."""
    judged = ("signed", "verified_by_database", "verified_by_dns")
    return all(result[one] is not False for result in results for one in judged)


def _by_dns(host: Host, outcomes: Sequence[Outcome]) -> list[tuple[bool | None, str]]:
    """
    Whether each signature is good by what every authoritative server holds: the servers are asked
    for the very record that it was verified with.
    """
    every = (outcome.case.record for outcome in outcomes)
    records = list(dict.fromkeys(record for record in every if record is not None))
    try:
        checked = run(dns_check.check(records, host.settings.dns))
    except NoLibrary as error:
        return [(None, str(error))] * len(outcomes)
    verdicts = {one.record: one for one in checked}
    return [_seen(outcome, verdicts.get(outcome.case.record)) for outcome in outcomes]


def _seen(outcome: Outcome, checked: Checked | None) -> tuple[bool | None, str]:
    if checked is None:
        return None, ""
    if checked.verdict == verdict.OK:
        return outcome.verified, ""
    told = f"DNS: {checked.verdict}" + (f" ({checked.detail})" if checked.detail else "")
    return (None if checked.verdict in NOT_SEEN else False), told


def _ways(ways: Sequence[Way], milter: str | None) -> dict[Way, bool]:
    return {way: milter not in way.lacks for way in ways}


def _plain(
    settings: Settings,
    outcome: Outcome,
    by_dns: tuple[bool | None, str],
    ways: Mapping[Way, bool],
) -> dict[str, object]:
    key = outcome.case.key
    advice = f"{LEFT_OPEN}: {', '.join(outcome.unsigned)}" if outcome.unsigned else ""
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


def problems(settings: Settings) -> list[str]:
    """
    Return what keeps this machine's mail from leaving signed, a sentence each: of a sample of
    messages, each signed through its daemon's socket and verified by the key that signs. No name
    server is asked. Raises as :func:`selftest`.
    """
    results = selftest(settings, dns=False, most=SAMPLE)
    return [
        f"mail from {one['sender']} ({one['algorithm']}) is not signed well: {one['detail']}"
        for one in results
        if not is_right([one])
    ]
