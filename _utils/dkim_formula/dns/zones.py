"""
Zones: the zone of a name, and the servers of the zone.

A resolver is asked only for NS, SOA and addresses of names that exist: mail domains, zones, hosts.
A question for an unpublished record would make the resolver cache that the record is missing. The
zone's SOA sets for how long (RFC 2308, section 5), also for all names below (RFC 8020).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import DnsError, NoAddress, NoAnswer, NoLibrary, NoResolver, NoSuchDomain
from ..records.record import MANUAL_PURPOSES, Record, innermost_zone, is_inside
from ..settings.model import Dns
from .query import DnsClient, Endpoint, endpoint_of, host_and_port, question
from .reply import Reply

RESOLV_CONF = Path("/etc/resolv.conf")


@dataclass(frozen=True)
class Nameserver:
    """
    An authoritative server: its name and its endpoints.

    problem
        Why this machine can't reach the server; ``endpoints`` is empty then.
    has_no_address
        Whether DNS has no address for the server's name, so that no client can reach it.
    """

    name: str
    endpoints: tuple[Endpoint, ...] = ()
    problem: str = ""
    has_no_address: bool = False


@dataclass(frozen=True)
class Zone:
    """A zone, its servers, and the primary that its SOA names (MNAME)."""

    name: str
    nameservers: tuple[Nameserver, ...] = ()
    primary: str | None = None

    def endpoints(self) -> dict[str, Endpoint]:
        """Return the endpoints of all servers by their text form."""
        return {str(one): one for server in self.nameservers for one in server.endpoints}


class ZoneFinder:
    """A search for zones and servers in one event loop. Each is looked up once."""

    def __init__(self, client: DnsClient, dns: Dns):
        self._client = client
        self._dns = dns
        self._resolvers = resolvers(dns)
        self._found: dict[object, asyncio.Task] = {}

    async def zone_of(self, name: str) -> Zone:
        """
        Return the zone of a name that exists, with its servers. Raises DnsError if no zone is
        found.

        name
            A mail domain or a zone.
        """
        return await self._once(("zone", name), lambda: self._zone_of(name))

    async def primary_of(self, name: str) -> Zone:
        """Return the zone of a name that exists, with its primary. Raises DnsError."""
        return await self._once(("primary", name), lambda: self._primary_of(name))

    async def below(self, zone: str, servers: Sequence[str], glue: Reply) -> Zone:
        """
        Return a zone that a server of another zone refers to.

        servers
            The names of the zone's servers, from the referral.
        glue
            The referral. It may contain the servers' addresses.
        """
        return await self._once(("below", zone), lambda: self._below(zone, servers, glue))

    async def negative_ttl_of(self, zone: Zone) -> int | None:
        """
        Return for how many seconds resolvers may cache that a name of the zone is missing. The
        first server that answers decides; None without an answer.
        """
        return await self._once(("negative", zone.name), lambda: self._negative_ttl_of(zone))

    async def endpoints_of(self, server: str) -> tuple[Endpoint, ...]:
        """
        Return the endpoints of a setting or a host name. Raises DnsError if the host has no
        address.
        """
        endpoint = endpoint_of(server)
        if endpoint is not None:
            return (endpoint,)
        host, port = host_and_port(server)
        found = await self._once(("addresses", host), lambda: self._addresses(host))
        return tuple(replace(endpoint, port=port) for endpoint in found)

    async def resolve(self, name: str, rtype: str) -> Reply:
        """
        Return the answer of the first resolver that answers, about a name that exists. Raises
        NoResolver if none gives an answer, DnsError if all answers are failures.
        """
        query = question(name, rtype, recurse=True)
        failures, are_silent = [], True
        for endpoint in self._resolvers:
            try:
                answer = await self._client.ask_fully(endpoint, query)
            except NoAnswer as error:
                failures.append(f"{endpoint}: {error}")
                continue
            if answer.rcode in ("NOERROR", "NXDOMAIN"):
                return answer
            are_silent = False
            reason = await self._reason(endpoint, answer, name, rtype)
            failures.append(f"{endpoint}: {answer.rcode}{reason}")
        raise no_resolver(name, rtype, failures, are_silent)

    async def _once(self, key: object, find: Callable[[], Awaitable]) -> object:
        task = self._found.get(key)
        if task is None:
            task = self._found[key] = asyncio.ensure_future(find())
            # Reads the exception, so that asyncio logs no warning if no caller waits any longer.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        # A cancelled caller must not cancel the task that other callers wait for.
        return await asyncio.shield(task)

    async def _zone_of(self, name: str) -> Zone:
        configured = configured_zone(self._dns, name)
        settings = self._dns.zones.get(configured) if configured else None
        if settings is not None and settings.nameservers:
            return Zone(configured, await self._nameservers(settings.nameservers))
        return await self._zone_by_ns(configured or name)

    async def _zone_by_ns(self, name: str) -> Zone:
        answer = await self.resolve(name, "NS")
        names = answer.values(name, "NS")
        if names:
            return Zone(name, await self._nameservers(names))
        if _is_alias(answer, name):
            return await self.zone_of(_above(name))
        zone = _enclosing(answer, name)
        if zone == name:
            raise DnsError(f"{name}: the zone has no NS records")
        # Many domains may share one zone, which is looked up once.
        return await self.zone_of(zone)

    async def _primary_of(self, name: str) -> Zone:
        start = configured_zone(self._dns, name) or name
        answer = await self.resolve(start, "SOA")
        if _is_alias(answer, start):
            return await self.primary_of(_above(start))
        zone = _enclosing(answer, start)
        return Zone(zone, primary=answer.soa().value.primary)

    async def _negative_ttl_of(self, zone: Zone) -> int | None:
        query = question(zone.name, "SOA")
        for endpoint in zone.endpoints().values():
            try:
                soa = (await self._client.ask_fully(endpoint, query)).soa()
            except NoAnswer:
                continue
            if soa is not None and soa.name == zone.name:
                return min(soa.ttl, soa.value.negative_ttl)
        return None

    async def _below(self, zone: str, servers: Sequence[str], glue: Reply) -> Zone:
        configured = self._dns.zones.get(zone)
        if configured is not None and configured.nameservers:
            return Zone(zone, await self._nameservers(configured.nameservers))
        addresses = {}
        for rr in glue.additional:
            if rr.type in ("A", "AAAA"):
                addresses.setdefault(rr.name, []).append(Endpoint(rr.value))
        found = []
        for name in servers:
            if name in addresses:
                found.append(_reachable(name, addresses[name]))
            else:
                found.append(await self._nameserver(name))
        return Zone(zone, tuple(found))

    async def _nameservers(self, servers: Sequence[str]) -> tuple[Nameserver, ...]:
        return tuple(await asyncio.gather(*map(self._nameserver, dict.fromkeys(servers))))

    async def _nameserver(self, server: str) -> Nameserver:
        try:
            return _reachable(server, await self.endpoints_of(server))
        except NoLibrary:
            raise
        except NoAddress as error:
            advice = f"{error}; remove it from the zone's NS records, or add its address"
            return Nameserver(server, problem=advice, has_no_address=True)
        except DnsError as error:
            return Nameserver(server, problem=str(error))

    async def _addresses(self, host: str) -> tuple[Endpoint, ...]:
        replies = await asyncio.gather(
            self.resolve(host, "A"), self.resolve(host, "AAAA"), return_exceptions=True
        )
        answers = [reply for reply in replies if isinstance(reply, Reply)]
        found = [
            Endpoint(rr.value)
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

    async def _reason(self, endpoint: Endpoint, answer: Reply, name: str, rtype: str) -> str:
        """
        Return the reason of a resolver's failure, if known. A DNSSEC failure disappears without
        validation (RFC 4035, section 5.5).
        """
        if answer.rcode != "SERVFAIL":
            return ""
        query = question(name, rtype, recurse=True, validate=False)
        try:
            unchecked = await self._client.ask_fully(endpoint, query)
        except NoAnswer:
            return ""
        if unchecked.rcode not in ("NOERROR", "NXDOMAIN"):
            return ""
        return ", and an answer without validation: the zone's DNSSEC is bogus, repair it"


def no_resolver(
    name: str, rtype: str, failures: Sequence[str], are_silent: bool = True
) -> DnsError:
    """
    Return the error that no resolver answers a question.

    failures
        The reason of each resolver.
    are_silent
        Whether no resolver gives any answer, not even a failure.
    """
    kind = NoResolver if are_silent else DnsError
    return kind(
        f"no resolver answers for the {rtype} of {name or '.'} ({'; '.join(failures)}); repair "
        "this machine's resolver, or set dkim:dns:resolver to one that sees the zone, or "
        "dkim:dns:zones to the zone's servers"
    )


def configured_zone(dns: Dns, name: str) -> str | None:
    """Return the longest zone of the settings that contains a name."""
    return innermost_zone(name, dns.zones)


def publish_method(dns: Dns, name: str) -> str:
    """Return the method that publishes the zone of a name: a choice of ``dkim:dns:publish``."""
    zone = dns.zones.get(configured_zone(dns, name))
    return dns.publish if zone is None or zone.publish is None else zone.publish


def is_manual(dns: Dns, record: Record) -> bool:
    """Return whether a person publishes a record, here or in a zone of another operator."""
    return (
        not dns.is_published
        or has_manual_zone(dns, record.name)
        or record.purpose in MANUAL_PURPOSES
    )


def has_manual_zone(dns: Dns, name: str) -> bool:
    """
    Return whether a person publishes the zone of a name. The settings have to say so: without a
    method for any zone, ``dkim.publish`` sends updates.
    """
    zone = dns.zones.get(configured_zone(dns, name))
    is_set = dns.is_published or (zone is not None and zone.publish is not None)
    return is_set and publish_method(dns, name) == "none"


def resolvers(dns: Dns, resolv_conf: Path = RESOLV_CONF) -> tuple[Endpoint, ...]:
    """
    Return the resolvers of the settings, else the system's. By resolv.conf(5) the default is a
    resolver on this machine.
    """
    if dns.resolver:
        return tuple(Endpoint(*host_and_port(server)) for server in dns.resolver)
    try:
        lines = resolv_conf.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    words = [line.split() for line in lines if line.startswith("nameserver")]
    # A link-local address includes its interface (fe80::1%eth0); getaddrinfo(3) accepts this form.
    endpoints = [Endpoint(word[1]) for word in words if len(word) > 1]
    return tuple(endpoints) or (Endpoint("127.0.0.1"),)


def _is_alias(answer: Reply, name: str) -> bool:
    """
    Return whether a name is an alias (RFC 1034, section 3.6.2), also by a DNAME above the name. The
    answer then describes the target. Names below the alias are in the zone of the parent name.
    """
    return bool(answer.values(name, "CNAME"))


def _above(name: str) -> str:
    above = name.partition(".")[2]
    if "." not in above:
        raise DnsError(f"{name} is an alias (CNAME) and not a zone; add its zone to dkim:dns:zones")
    return above


def _enclosing(answer: Reply, name: str) -> str:
    """Return the zone of a name, by the SOA of an answer about the name."""
    soa = answer.soa()
    if soa is None or not (soa.name == "" or is_inside(name, soa.name)):
        raise DnsError(f"{name} has no zone: the resolver's answer has no SOA ({answer.rcode})")
    if answer.rcode == "NXDOMAIN" and "." not in soa.name:
        # The SOA of a top-level domain or the root: the domain is not registered.
        raise NoSuchDomain(name, soa.name)
    if soa.name == "":
        raise DnsError(f"{name} has no zone: only the root has a SOA for it")
    return soa.name


def _reachable(name: str, endpoints: Sequence[Endpoint]) -> Nameserver:
    reachable = tuple(endpoint for endpoint in endpoints if endpoint.is_reachable())
    if not reachable:
        shown = ", ".join(map(str, endpoints))
        return Nameserver(name, problem=f"{name}: this machine has no route to {shown}")
    return Nameserver(name, reachable)
