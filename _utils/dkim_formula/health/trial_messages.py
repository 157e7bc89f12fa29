"""Test messages: one for each sender that a key signs for, signed by a daemon and verified."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from email.utils import formatdate

from ..errors import OpenDKIMError
from ..keys import patterns
from ..keys import table as keys_table
from ..keys.desired import domain_settings, record_of
from ..keys.model import Key
from ..postgres.connection import session
from ..records import Record
from ..settings.model import Settings
from ..signer import header_coverage
from ..signer.daemons import Daemon
from ..signer.milter import Answer, Connection
from ..signer.verify import NotVerified, tags, verify
from . import remote_database
from .check_keys import with_public_halves
from .model import Host

LOCAL_PART = "dkim-selftest"
# The headers of a newsletter besides From, Sender, Date and Message-ID (RFC 8058, section 4).
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
LEFT_OPEN = "advice: add these unsigned headers to dkim:opendkim:settings:SignHeaders"
BODY = b"A message of dkim.selftest: it is signed, verified, and never delivered.\r\n"
SAMPLE = 20  # messages
ANSWERED_WITHIN = 10.0  # seconds


@dataclass(frozen=True)
class Case:
    """
    A test message for a daemon to sign.

    sender
        The From address.
    kind
        ``domain``, ``subdomain``, ``address`` or ``alias``.
    key
        The key that must sign the message.
    record
        The record of the key's public half (:func:`with_records`); None if that is unknown.
    """

    sender: str
    kind: str
    key: Key
    record: Record | None = None


@dataclass(frozen=True)
class SigningResult:
    """
    The result of a case.

    signed
        Whether the signature has the domain, the selector and the algorithm of the case.
    verified
        Whether the key's record verifies the signature. None without a signature or a record.
    detail
        The problem, or ''.
    unsigned
        The headers of the message that the signature does not cover. This is advice, since the
        signature is valid.
    """

    case: Case
    signed: bool
    verified: bool | None = None
    detail: str = ""
    unsigned: tuple[str, ...] = ()


def cases(settings: Settings, domain: str | None = None) -> list[Case]:
    """
    Return a case for each active key and each pattern that the key signs for. A key without a
    daemon has a case only if no other key signs the same mail.

    The cases have no records yet, since a sample needs few of them. The keys are from the database,
    or on a machine that only signs from the views of its daemons.

    domain
        Only cases with a sender or a key of this domain.

    Raises DatabaseError, OpenDKIMError.
    """
    if settings.database.only_signs:
        shown = remote_database.signed_for(Host(settings), domain)
        return [
            Case(*_sender(pattern, (key.domain, "")), key)
            for pattern, keys in shown.items()
            for key in keys
        ]
    with session(settings.database) as connection:
        stored = keys_table.list_keys(connection, settings.database)
        active = [key for key in stored if key.state == "active"]
        keys = with_public_halves(connection, settings.database, active)
        extra = patterns.read(connection, settings.database)
    by_owner: dict[tuple[str, str], list[Key]] = {}
    for key in keys:
        by_owner.setdefault((key.domain, key.address), []).append(key)
    found = []
    for pattern, owner in _patterns(by_owner, extra):
        sender, kind = _sender(pattern, owner)
        for key in by_owner.get(owner, ()):
            found.append(Case(sender, kind, key))
    algorithms = Host(settings).algorithms
    signed = {case.sender for case in found if case.key.algorithm in algorithms}
    # Mail that another daemon signs needs no daemon for a key that the pillar no longer names.
    found = [one for one in found if one.key.algorithm in algorithms or one.sender not in signed]
    if domain is None:
        return found
    return [case for case in found if domain in (case.key.domain, _host(case.sender), _above(case))]


def with_records(settings: Settings, chosen: Iterable[Case]) -> list[Case]:
    """Return the cases with the records that verify their signatures."""
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
    """Return a sender that a pattern matches, and its kind: opendkim.conf(5), «SigningTable»."""
    if "@" in pattern:
        return pattern, "address"
    if pattern.startswith("."):
        return f"{LOCAL_PART}@{LOCAL_PART}{pattern}", "subdomain"
    return f"{LOCAL_PART}@{pattern}", "domain" if pattern == owner[0] else "alias"


def _host(sender: str) -> str:
    return sender.rpartition("@")[2]


def _above(case: Case) -> str:
    return _host(case.sender).removeprefix(f"{LOCAL_PART}.")


def attempt(daemons: Sequence[Daemon], chosen: Iterable[Case]) -> Iterator[SigningResult]:
    """
    Have the daemons sign the cases, as for a client of this machine that has logged in.

    When a daemon fails, all its remaining cases fail. A case without a daemon fails.
    """
    chosen = list(chosen)
    for daemon in daemons:
        yield from _attempt(
            daemon, [one for one in chosen if one.key.algorithm == daemon.algorithm]
        )
    algorithms = {daemon.algorithm for daemon in daemons}
    yield from (_without_daemon(one) for one in chosen if one.key.algorithm not in algorithms)


def _without_daemon(case: Case) -> SigningResult:
    name, algorithm = case.key.domain, case.key.algorithm
    detail = (
        f"not signed: no daemon of this machine signs with {algorithm} keys; "
        f"add {algorithm} to dkim:domains:{name}:algorithm"
    )
    return SigningResult(case, False, detail=detail)


def _attempt(daemon: Daemon, chosen: Sequence[Case]) -> Iterator[SigningResult]:
    if not chosen:
        return
    done = 0
    try:
        with closing(Connection(daemon.socket, ANSWERED_WITHIN)) as connection:
            for case in chosen:
                result = _sign(connection, case)
                done += 1
                yield result
    except OpenDKIMError as error:
        yield from (SigningResult(case, False, detail=str(error)) for case in chosen[done:])


def _sign(connection: Connection, case: Case) -> SigningResult:
    headers = [
        ("From", f"DKIM self-test <{case.sender}>"),
        # OpenDKIM uses this header first if SenderHeaders of the site's settings says so.
        ("Sender", case.sender),
        ("Date", formatdate(time.time())),
        ("Message-ID", f"<{uuid.uuid4()}@{_host(case.sender)}>"),
        *BULK_HEADERS,
    ]
    # A client that has logged in may send, whatever InternalHosts says. The daemon logs the macro i
    # as the queue ID of the message.
    macros = {"i": LOCAL_PART, "{auth_authen}": LOCAL_PART}
    answer = connection.message(case.sender, headers, BODY, macros=macros)
    return judge(case, answer, [(name, f" {value}") for name, value in headers])


def judge(case: Case, answer: Answer, headers: Sequence[tuple[str, str]]) -> SigningResult:
    """Return the result of a case: whether the right key signed, and the signature is valid."""
    signatures = answer.headers("DKIM-Signature")
    if not signatures:
        reason = f"{answer.verdict}, {answer.reply}" if answer.reply else answer.verdict
        if answer.verdict == "accepted":
            reason = "the daemon added no signature"
        return SigningResult(case, False, detail=f"not signed: {reason}")
    try:
        found = tags(signatures[0])
        desired = {"d": case.key.domain, "s": case.key.selector}
        other = {name: found.get(name) for name in desired if found.get(name) != desired[name]}
        if other:
            listed = ", ".join(f"{name}={value}" for name, value in other.items())
            return SigningResult(case, False, detail=f"signed by another key: {listed}")
        if case.record is None:
            return SigningResult(case, True, detail="the key in the database can't be read")
        verify(signatures[0], headers, BODY, case.record.value)
        left_open = header_coverage.unsigned(signatures[0], [name for name, _ in headers])
    except NotVerified as error:
        return SigningResult(case, True, False, str(error))
    return SigningResult(case, True, True, unsigned=tuple(left_open))


def sample(chosen: Sequence[Case], most: int = SAMPLE) -> list[Case]:
    """Return one case of each kind and algorithm, and the rest evenly from all cases."""
    if len(chosen) <= most:
        return list(chosen)
    firsts = {(case.kind, case.key.algorithm): number for number, case in enumerate(chosen)}
    left = most - len(firsts)
    evenly = [number * len(chosen) // left for number in range(left)]
    return [chosen[number] for number in sorted({*firsts.values(), *evenly})]
