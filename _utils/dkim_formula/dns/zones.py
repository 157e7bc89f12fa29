"""
Which zone a name is in, and who serves it.

A resolver is asked for NS, SOA and addresses alone, and of names that exist: mail domains, zones,
hosts of servers. Asked for a record that is not there yet it would remember its absence for as long
as the zone's SOA says (RFC 2308, section 5), and the absence of all below (RFC 8020).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..records.record import is_inside
from ..settings.model import Dns
from . import message
from .exchange import Exchange
from .failure import DnsError, NoAddress, NoAnswer, NoLibrary, NoSuchDomain
from .message import Reply
from .place import Place, as_place, split

RESOLV_CONF = Path("/etc/resolv.conf")


@dataclass(frozen=True)
class Nameserver:
    """
    An authoritative server: its name, and where it listens.

    problem
        Why it can't be asked; then ``places`` is empty.
    leads_nowhere
        Whether nobody can ask it: DNS says that its name has no address.
    """

    name: str
    places: tuple[Place, ...] = ()
    problem: str = ""
    leads_nowhere: bool = False


@dataclass(frozen=True)
class Served:
    """A zone, with its servers and the one that takes updates (its SOA's MNAME)."""

    name: str
    nameservers: tuple[Nameserver, ...] = ()
    primary: str | None = None


class Finder:
    """Finds zones, each once. For one event loop."""

    def __init__(self, exchange: Exchange, dns: Dns):
        self._exchange = exchange
        self._dns = dns
        self._resolvers = resolvers(dns)
        self._found: dict[object, asyncio.Task] = {}

    async def zone_of(self, name: str) -> Served:
        """
        The zone that a name which exists is in, with its servers.

        name
            A mail domain or a zone. Raises DnsError where no zone can be found.
        """
        return await self._once(("zone", name), lambda: self._zone_of(name))

    async def primary_of(self, name: str) -> Served:
        """The zone that a name which exists is in, with its primary. Raises DnsError."""
        return await self._once(("primary", name), lambda: self._primary_of(name))

    async def below(self, zone: str, servers: Sequence[str], glue: Reply) -> Served:
        """
        A zone that another one's server refers to.

        servers
            The names of its servers, as the referral has them.
        glue
            The referral, which may have their addresses.
        """
        return await self._once(("below", zone), lambda: self._below(zone, servers, glue))

    async def negative_ttl_of(self, zone: Served) -> int | None:
        """
        For how many seconds the absence of a name in a zone may be remembered, by the first of its
        servers that says so; None where none does.
        """
        return await self._once(("negative", zone.name), lambda: self._negative_ttl_of(zone))

    async def places_of(self, server: str) -> tuple[Place, ...]:
        """
        Where a server is: a setting, or a host's name. Raises DnsError where it has no address.
        """
        place = as_place(server)
        if place is not None:
            return (place,)
        host, port = split(server)
        found = await self._once(("addresses", host), lambda: self._addresses(host))
        return tuple(replace(place, port=port) for place in found)

    async def _once(self, key: object, find: Callable[[], Awaitable]) -> object:
        task = self._found.get(key)
        if task is None:
            task = self._found[key] = asyncio.ensure_future(find())
            # Taken note of, also where nobody waits for it any more.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        # One who is cancelled must not take the answer from the others.
        return await asyncio.shield(task)

    async def _zone_of(self, name: str) -> Served:
        configured = configured_zone(self._dns, name)
        settings = self._dns.zones.get(configured) if configured else None
        if settings is not None and settings.nameservers:
            return Served(configured, await self._nameservers(settings.nameservers))
        return await self._served(configured or name)

    async def _served(self, name: str) -> Served:
        answer = await self.resolve(name, "NS")
        names = answer.values(name, "NS")
        if names:
            return Served(name, await self._nameservers(names))
        if _is_alias(answer, name):
            return await self.zone_of(_above(name))
        zone = _enclosing(answer, name)
        if zone == name:
            raise DnsError(f"{name}: the zone shows no NS records")
        # Many domains may be in one zone: it is looked up once.
        return await self.zone_of(zone)

    async def _primary_of(self, name: str) -> Served:
        start = configured_zone(self._dns, name) or name
        answer = await self.resolve(start, "SOA")
        if _is_alias(answer, start):
            return await self.primary_of(_above(start))
        zone = _enclosing(answer, start)
        return Served(zone, primary=answer.soa().value.primary)

    async def _negative_ttl_of(self, zone: Served) -> int | None:
        asked = message.question(zone.name, "SOA")
        for place in (place for server in zone.nameservers for place in server.places):
            try:
                soa = (await self._exchange.ask_fully(place, asked)).soa()
            except NoAnswer:
                continue
            if soa is not None and soa.name == zone.name:
                return min(soa.ttl, soa.value.negative_ttl)
        return None

    async def _below(self, zone: str, servers: Sequence[str], glue: Reply) -> Served:
        configured = self._dns.zones.get(zone)
        if configured is not None and configured.nameservers:
            return Served(zone, await self._nameservers(configured.nameservers))
        addresses = {}
        for rr in glue.additional:
            if rr.type in ("A", "AAAA"):
                addresses.setdefault(rr.name, []).append(Place(rr.value))
        found = []
        for name in servers:
            if name in addresses:
                found.append(_with_a_way(name, addresses[name]))
            else:
                found.append(await self._nameserver(name))
        return Served(zone, tuple(found))

    async def _nameservers(self, servers: Sequence[str]) -> tuple[Nameserver, ...]:
        return tuple(await asyncio.gather(*map(self._nameserver, dict.fromkeys(servers))))

    async def _nameserver(self, server: str) -> Nameserver:
        try:
            return _with_a_way(server, await self.places_of(server))
        except NoLibrary:
            raise
        except NoAddress as error:
            advice = f"{error}; take it out of the zone's NS records, or give it an address"
            return Nameserver(server, problem=advice, leads_nowhere=True)
        except DnsError as error:
            return Nameserver(server, problem=str(error))

    async def _addresses(self, host: str) -> tuple[Place, ...]:
        replies = await asyncio.gather(
            self.resolve(host, "A"), self.resolve(host, "AAAA"), return_exceptions=True
        )
        answers = [reply for reply in replies if isinstance(reply, Reply)]
        found = [
            Place(rr.value)
            for answer in answers
            for rr in answer.answer
            if rr.type in ("A", "AAAA")
        ]
        if not found:
            for failure in replies:
                if isinstance(failure, BaseException):
                    raise failure
            raise NoAddress(f"the server's name {host or '.'} has no address")
        return tuple(found)

    async def resolve(self, name: str, rtype: str) -> Reply:
        """
        What a resolver says of a name that exists: the first one that says anything. Raises
        DnsError.
        """
        asked = message.question(name, rtype, recurse=True)
        failures = []
        for place in self._resolvers:
            try:
                answer = await self._exchange.ask_fully(place, asked)
            except NoAnswer as error:
                failures.append(f"{place}: {error}")
                continue
            if answer.rcode in ("NOERROR", "NXDOMAIN"):
                return answer
            failures.append(f"{place}: {answer.rcode}{await self._why(place, answer, name, rtype)}")
        raise DnsError(
            f"no resolver tells the {rtype} of {name or '.'} ({'; '.join(failures)}); where DNS "
            "does not show it from here, set dkim:dns:resolver, or the servers in dkim:dns:zones"
        )

    async def _why(self, place: Place, answer: Reply, name: str, rtype: str) -> str:
        """
        What is known of a resolver's failure: one of DNSSEC goes away where checking is disabled
        (RFC 4035, section 5.5).
        """
        if answer.rcode != "SERVFAIL":
            return ""
        asked = message.question(name, rtype, recurse=True, validate=False)
        try:
            unchecked = await self._exchange.ask_fully(place, asked)
        except NoAnswer:
            return ""
        if unchecked.rcode not in ("NOERROR", "NXDOMAIN"):
            return ""
        return ", and an answer without validation: DNSSEC of the zone is broken, mend it"


def configured_zone(dns: Dns, name: str) -> str | None:
    """The longest zone of the settings that a name is in."""
    return max((zone for zone in dns.zones if is_inside(name, zone)), key=len, default=None)


def resolvers(dns: Dns, resolv_conf: Path = RESOLV_CONF) -> tuple[Place, ...]:
    """
    The resolvers of the settings, or the system's. Source: resolv.conf(5), which has this machine
    asked where nothing is there.
    """
    if dns.resolver:
        return tuple(Place(*split(server)) for server in dns.resolver)
    try:
        lines = resolv_conf.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    words = [line.split() for line in lines if line.startswith("nameserver")]
    # A link-local address comes with its interface (fe80::1%eth0), which getaddrinfo takes.
    places = [Place(word[1]) for word in words if len(word) > 1]
    return tuple(places) or (Place("127.0.0.1"),)


def _is_alias(answer: Reply, name: str) -> bool:
    """
    Whether a name stands for another (RFC 1034, section 3.6.2; a DNAME above makes it so too): the
    answer is about that other then. Names below it are in the zone of the name above.
    """
    return bool(answer.values(name, "CNAME"))


def _above(name: str) -> str:
    above = name.partition(".")[2]
    if "." not in above:
        raise DnsError(
            f"{name} is an alias (CNAME), and no zone of its own; name its zone in dkim:dns:zones"
        )
    return above


def _enclosing(answer: Reply, name: str) -> str:
    """The zone that a name is in, by the SOA of an answer about it."""
    soa = answer.soa()
    if soa is None or not (soa.name == "" or is_inside(name, soa.name)):
        raise DnsError(f"no zone is found for {name}: the resolver shows no SOA ({answer.rcode})")
    if answer.rcode == "NXDOMAIN" and "." not in soa.name:
        # The SOA is a top-level domain's, or the root's: nobody has registered the domain.
        raise NoSuchDomain(f"{name} does not exist in DNS (NXDOMAIN): there is no zone for it")
    if soa.name == "":
        raise DnsError(f"no zone is found for {name}: only the root has a SOA for it")
    return soa.name


def _with_a_way(name: str, places: Sequence[Place]) -> Nameserver:
    reachable = tuple(place for place in places if place.is_reachable())
    if not reachable:
        shown = ", ".join(map(str, places))
        return Nameserver(name, problem=f"{name}: no way from this machine to {shown}")
    return Nameserver(name, reachable)
