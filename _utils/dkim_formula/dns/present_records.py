"""TXT records at a name, read from all authoritative servers of its zone."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping

from ..errors import DnsError, NoAnswer, NoLibrary
from ..settings.model import Dns
from . import serials
from .query import DnsClient, Endpoint, question
from .reply import Reply
from .steps import Present
from .zones import ZoneFinder


async def read_all(dns: Dns, zones: Mapping[str, str]) -> dict[str, Present | DnsError]:
    """
    Return the TXT records at each name, or the error that prevented reading them.

    zones
        The zone of each name.
    """
    async with DnsClient(dns.timeout, dns.concurrency) as client:
        finder = ZoneFinder(client, dns)
        free = asyncio.Semaphore(dns.concurrency)

        async def one(name: str, zone: str) -> Present | DnsError:
            async with free:
                try:
                    return await _read(client, finder, name, zone)
                except NoLibrary:
                    raise
                except DnsError as error:
                    return error

        found = await asyncio.gather(*(one(name, zone) for name, zone in zones.items()))
        return dict(zip(zones, found, strict=True))


async def _read(client: DnsClient, finder: ZoneFinder, name: str, zone: str) -> Present:
    servers = (await finder.zone_of(zone)).endpoints()
    asked = await asyncio.gather(*(_ask(client, server, name) for server in servers.values()))
    found = {
        servers[server]: answer
        for server, answer in zip(servers, asked, strict=True)
        if isinstance(answer, Present)
    }
    if not found:
        why = "; ".join(dict.fromkeys(str(answer) for answer in asked))
        raise DnsError(f"no server of the zone {zone} has an answer for this name: {why}")
    if len(set(map(_content, found.values()))) > 1:
        found = await _newest(client, zone, found)
    server, present = next(iter(found.items()))
    if name == zone or present == Present():
        return present
    # A sibling name has the same records if a wildcard answers. The name itself then has none.
    sibling = await _ask(client, server, f"{secrets.token_hex(8)}.{name.partition('.')[2]}")
    is_alike = isinstance(sibling, Present) and _content(sibling) == _content(present)
    return Present() if is_alike else present


async def _newest(
    client: DnsClient, zone: str, found: Mapping[Endpoint, Present]
) -> dict[Endpoint, Present]:
    """
    Return the answers of the servers with the newest serial. Raises DnsError where these answers
    differ.
    """
    known = await serials.read(client, zone, found)
    newest = serials.newest(known)
    of_newest = {
        server: found[server]
        for server, serial in zip(found, known, strict=True)
        if serial == newest
    }
    if len(set(map(_content, of_newest.values()))) > 1:
        shown = "; ".join(f"{server}: {len(one.values)} texts" for server, one in found.items())
        raise DnsError(
            f"the servers of the zone {zone} differ at this name ({shown}); run again when they "
            "agree"
        )
    return of_newest


def _content(present: Present) -> tuple[frozenset[bytes], str | None]:
    return frozenset(present.values), present.alias


async def _ask(client: DnsClient, server: Endpoint, name: str) -> Present | DnsError:
    try:
        reply: Reply = await client.ask_fully(server, question(name, "TXT"))
    except NoAnswer as error:
        return DnsError(f"{server}: {error}")
    if reply.rcode not in ("NOERROR", "NXDOMAIN") or not reply.authoritative:
        return DnsError(f"{server} does not serve the zone ({reply.rcode})")
    aliases = reply.values(name, "CNAME")
    if aliases:
        return Present(alias=aliases[0])
    found = [rr for rr in reply.answer if rr.name == name and rr.type == "TXT"]
    if not found:
        return Present()
    # The servers' TTL may differ from the TTL that was sent to an API.
    values = tuple(dict.fromkeys(rr.value for rr in found))
    return Present(values, found[0].ttl, ttl_matters=False)
