"""Messages through the milter sockets, and what their signatures are worth. None is delivered."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import TYPE_CHECKING

from ..database import keystore, patterns
from ..database.connection import compose, session
from ..database.keystore import Key
from ..database.objects import names
from ..errors import OpenDKIMError
from ..milter import Answer, Connection
from ..private_key import read_stored
from ..records import Record
from ..settings.model import Database, Settings
from ..signer import signed_headers
from ..signer.daemons import Daemon
from ..verification import NotVerified, tags, verify
from ..wanted import domain_settings, record_of
from .finding import Finding, applied, judged, right, shortened, unknown
from .site import NO_OPENDKIM, Site

if TYPE_CHECKING:
    import psycopg2.extensions as pg

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
    their records, of which a sample needs few.

    domain
        Only those that this domain's senders are in, or whose key is its.

    Raises DatabaseError.
    """
    with session(settings.database) as connection:
        keys = _active(connection, settings.database)
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


def _active(connection: pg.connection, database: Database) -> list[Key]:
    """The active keys; the public half of what another tool put in is worked out, not stored."""
    keys = [key for key in keystore.list_keys(connection, database) if key.state == "active"]
    bare = [key.id for key in keys if key.public is None]
    if not bare:
        return keys
    with connection.cursor() as cursor:
        cursor.execute(
            compose("SELECT id, key::text FROM {dkim} WHERE id = ANY (%s)", **names(database)),
            (bare,),
        )
        public = {number: _public(pem) for number, pem in cursor}
    return [replace(key, public=public.get(key.id, key.public)) for key in keys]


def _public(pem: str) -> str | None:
    private = read_stored(pem).private
    return None if private is None else private.public_base64()


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


def check(site: Site) -> list[Finding]:
    """A message for a sample of senders comes back signed, and the signature is good."""
    name = "signing"
    if not site.has_opendkim:
        return [unknown(name, NO_OPENDKIM)]
    every = cases(site.settings)
    chosen = with_records(site.settings, sample(every))
    if not chosen:
        return [unknown(name, "there is no active key", "salt-call dkim.generate_missing")]
    outcomes = list(attempt(site.daemons, chosen))
    failed = [
        f"{one.case.sender} ({one.case.key.algorithm}): {one.detail}"
        for one in outcomes
        if not one.verified
    ]
    looked = f"{len(outcomes)} of {len(every)} kinds of mail were tried"
    if failed:
        do = f"salt-call dkim.selftest; journalctl -u opendkim -n 50; {applied('dkim.opendkim')}"
        return [judged(name, [shortened(failed), looked], "", do)]
    left_open = list(dict.fromkeys(header for one in outcomes for header in one.unsigned))
    advice = f"; {LEFT_OPEN}: {', '.join(left_open)}" if left_open else ""
    return [right(name, f"{looked}, each was signed and verified{advice}")]
