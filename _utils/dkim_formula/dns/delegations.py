"""CNAMEs in customers' zones: the desired ones, and what each customer's servers have."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ..errors import DnsError, InvalidValue, NoAnswer, NoLibrary
from ..keys import history
from ..keys.desired import chosen_domains
from ..names import stored_domain
from ..postgres import hosted as hosted_domains
from ..postgres import schema
from ..postgres.connection import session
from ..records import Record, delegation_records
from ..records.meaning import cut
from ..settings.model import Dns, Settings
from ..text import timestamp_if_known
from . import awaited
from .awaited import Awaited
from .query import DnsClient, Endpoint, question
from .verdict import INCONSISTENT, MISSING, NO_ANSWER, OK, UNCHECKED, doubled_text
from .zones import ZoneFinder

OTHER_TARGET = "wrong target"
OTHER_RECORD = "another record"
_WRONG = frozenset({INCONSISTENT, MISSING, OTHER_TARGET, OTHER_RECORD})


@dataclass(frozen=True)
class Delegated:
    """
    One CNAME and its state: a verdict of ``dns.verdict``, or one of the constants above.

    since
        For an ``ok`` CNAME: the first of the successive checks that found it ok.
    last_ok
        The last check that found the CNAME ok.
    """

    record: Record
    state: str
    detail: str = ""
    since: datetime | None = None
    last_ok: datetime | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the data for a function's return."""
        return {
            "domain": self.record.domain,
            "name": self.record.name,
            "target": self.record.value,
            "state": self.state,
            "detail": self.detail,
            "since": timestamp_if_known(self.since),
            "last_ok": timestamp_if_known(self.last_ok),
        }


def desired(settings: Settings, domain: object = None) -> list[Record]:
    """
    Return the CNAMEs that customers have to add: of one domain, or of all with a delegation.

    Raises InvalidValue for a domain without a delegation, DatabaseError.
    """
    with session(settings.database) as connection:
        chosen = chosen_domains(settings, hosted_domains.hosted(connection, settings.database))
    if domain is not None:
        name = stored_domain(domain)
        if name not in chosen or chosen[name].delegation is None:
            raise InvalidValue(
                "domain",
                name,
                "has no delegation",
                f"set dkim:domains:{name}:delegation to one of your zones",
            )
        chosen = {name: chosen[name]}
    found = []
    for one in chosen.values():
        if one.delegation is not None:
            found += delegation_records(one.name, one.delegation, (), one.ttl)
    return found


async def observe(records: Sequence[Record], dns: Dns, deadline: float) -> list[Delegated]:
    """
    Ask the authoritative servers of each customer's zone, and return the states in the order of the
    records.

    dns
        ``concurrency`` limits the open questions to all servers together.
    deadline
        Seconds. Records without an answer at the deadline are ``unchecked``.
    """
    async with DnsClient(dns.timeout, dns.concurrency) as client:
        finder = ZoneFinder(client, dns)
        free = asyncio.Semaphore(dns.concurrency)

        async def one(record: Record) -> Delegated:
            async with free:
                try:
                    return await _state(client, finder, record)
                except NoLibrary:
                    raise
                except DnsError as error:
                    return Delegated(record, NO_ANSWER, str(error))

        tasks = [asyncio.create_task(one(record)) for record in records]
        if tasks:
            await asyncio.wait(tasks, timeout=deadline)
        late = [task for task in tasks if task.cancel()]
        await asyncio.gather(*late, return_exceptions=True)
        return [
            Delegated(record, UNCHECKED, f"not within {deadline:g} s")
            if task.cancelled()
            else task.result()
            for record, task in zip(records, tasks, strict=True)
        ]


def store_times(settings: Settings, found: Sequence[Delegated]) -> list[Delegated]:
    """
    Store the times at which each CNAME was ok, and return the states with these times. A check
    without an answer changes no times.
    """
    with session(settings.database) as connection, awaited.lock(connection) as has_lock:
        if not schema.has_tables(connection, settings.database):
            return list(found)
        before = awaited.read(connection, settings.database)
        now = history.clock(connection)
        right = [one.record for one in found if one.state == OK]
        wrong = [one.record for one in found if one.state in _WRONG]
        known = awaited.after_check(before, wrong, right, now)
        if has_lock:
            awaited.store(connection, settings.database, before, known)
            connection.commit()
    return [_dated(one, known.get(awaited.record_id(one.record))) for one in found]


def _dated(one: Delegated, row: Awaited | None) -> Delegated:
    return (
        one if row is None else replace(one, since=row.visible_since, last_ok=row.last_visible_at)
    )


async def _state(client: DnsClient, finder: ZoneFinder, record: Record) -> Delegated:
    zone = await finder.zone_of(record.domain)
    servers = [*zone.endpoints().values()]
    found = await asyncio.gather(*(_targets(client, one, record.name) for one in servers))
    answered = [one for one in found if one is not None]
    if not answered:
        return Delegated(record, NO_ANSWER, f"none of {len(servers)} servers answers")
    right = [one for one in answered if one == (record.value.lower(),)]
    others = sorted({target for one in answered for target in one} - {record.value.lower()})
    if len(right) == len(found):
        return Delegated(record, OK)
    if right:
        return Delegated(record, INCONSISTENT, f"at {len(right)} of {len(found)} servers")
    if others:
        return Delegated(record, OTHER_TARGET, f"the CNAME points to {cut(others[0])}")
    first = servers[[one is not None for one in found].index(True)]
    return await _missing(client, first, record, zone.name)


async def _missing(client: DnsClient, server: Endpoint, record: Record, zone: str) -> Delegated:
    """Return the state of a CNAME that no server has, with the likely reason."""
    reply = await client.ask_fully(server, question(record.name, "TXT"))
    if reply.values(record.name, "TXT"):
        detail = "a TXT record exists at this name; remove it and add the CNAME instead"
        return Delegated(record, OTHER_RECORD, detail)
    # Some panels append the zone's name to a name that already ends with it.
    try:
        is_doubled = await _targets(client, server, f"{record.name}.{zone}")
    except DnsError:
        # The doubled name is longer than DNS allows.
        is_doubled = None
    if is_doubled:
        return Delegated(record, MISSING, doubled_text(record.name, zone))
    return Delegated(record, MISSING)


async def _targets(client: DnsClient, server: Endpoint, name: str) -> tuple[str, ...] | None:
    """Return the targets of the CNAMEs at a name; None where the server gives no usable answer."""
    try:
        reply = await client.ask_fully(server, question(name, "CNAME"))
    except NoAnswer:
        return None
    if reply.rcode not in ("NOERROR", "NXDOMAIN") or not reply.authoritative:
        return None
    return tuple(sorted(target.lower() for target in reply.values(name, "CNAME")))
