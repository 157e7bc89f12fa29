"""A zone's serial at each server: servers that lag behind, and a serial that was not raised."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import replace

from ..errors import NoAnswer
from . import verdict
from .checked import Answered
from .query import DnsClient, Endpoint, question
from .zones import Zone


async def with_serials(client: DnsClient, zone: Zone, answers: list[Answered]) -> list[Answered]:
    """Return the answers with each server's serial, and name the servers that lag behind."""
    endpoints = zone.endpoints()
    found = await read(client, zone.name, endpoints.values())
    serials = dict(zip(endpoints, found, strict=True))
    right = {serials.get(one.address) for one in answers if one.finding.verdict == verdict.OK}
    latest = newest(found)
    return [
        _with_serial(answer, zone.name, serials.get(answer.address), latest, right)
        for answer in answers
    ]


async def read(client: DnsClient, zone: str, servers: Iterable[Endpoint]) -> list[int | None]:
    """Return a zone's serial at each server; None without an answer that has the zone's SOA."""
    return await asyncio.gather(*(_serial(client, zone, server) for server in servers))


async def _serial(client: DnsClient, zone: str, server: Endpoint) -> int | None:
    try:
        reply = await client.ask_fully(server, question(zone, "SOA"))
    except NoAnswer:
        return None
    soa = reply.soa()
    return None if soa is None or soa.name != zone else soa.value.serial


def newest(serials: Iterable[int | None]) -> int | None:
    """Return the newest serial, or None without one."""
    found: int | None = None
    for serial in serials:
        if serial is not None and (found is None or is_newer(serial, found)):
            found = serial
    return found


def is_newer(one: int, other: int) -> bool:
    """Return whether a serial is newer than another: RFC 1982, section 3.2."""
    return one != other and (one - other) % 2**32 < 2**31


def _with_serial(
    answer: Answered,
    zone: str,
    serial: int | None,
    newest: int | None,
    right: Collection[int | None],
) -> Answered:
    """
    Return an answer with its server's serial. If the record is not ``ok``, the detail says whether
    the server lags behind or the serial was not raised.

    right
        The serials of the servers that show the record.
    """
    finding, text = answer.finding, ""
    if serial is not None and finding.verdict != verdict.OK:
        if serial in right:
            text = (
                f"a server with the same serial {serial} has the record: the serial of {zone} was "
                "not raised, so this server does not copy the zone; raise it (PowerDNS: pdnsutil "
                f"set-meta {zone} SOA-EDIT-API DEFAULT, then pdnsutil increase-serial {zone})"
            )
        elif serial != newest:
            text = f"the server lags behind: its serial is {serial}, the newest {newest}"
    if text:
        finding = replace(finding, detail=f"{finding.detail}; {text}" if finding.detail else text)
    return replace(answer, finding=finding, serial=serial)
