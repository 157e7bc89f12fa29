"""Changes to records: planned and sent by the provider of each zone."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence

from ..errors import (
    ConcurrentChange,
    DnsError,
    NoLibrary,
    NoSuchDomain,
    RecordConflict,
    UncertainUpdate,
)
from ..record_names import above_reports
from ..records.record import is_inside
from ..settings.model import Dns, TsigKey
from .batches import Batches
from .planned import Planned, Task, is_applied, step_from
from .providers.provider import BatchProvider, Provider
from .providers.rfc2136 import Rfc2136Provider
from .query import DnsClient, Endpoint, run
from .steps import Present, Step, rewritten_form
from .zones import ZoneFinder, configured_zone

_SET = "set dkim:dns:server, or dkim:dns:zones:{zone}:server, to the server that takes updates"


def start_of_published(name: str, domain: str) -> str:
    """
    Return the name at or above a published record where the search for its zone starts.

    domain
        The mail domain of the record. A delegated key's record and a consent to reports are in
        other zones, with names that contain the domain. The search then starts at the part of the
        name after the domain.
    """
    if is_inside(name, domain):
        return domain
    _, _, above = name.partition(f"{domain}.")
    return above_reports(above) or domain


class Publisher:
    """
    A reader and writer of records by the providers of their zones; a context manager.

    dns
        The settings. A zone's own settings override the general ones. Without a server, the
        primary in the zone's SOA receives the updates.
    """

    def __init__(self, dns: Dns):
        self._dns = dns
        self._providers: dict[tuple[Endpoint, str | None], Provider] = {}
        self._batches = Batches(dns)

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *_error: object) -> None:
        for provider in self._providers.values():
            provider.close()
        self._batches.close()

    def plan(self, tasks: Sequence[Task], adopt: bool = False) -> list[Planned]:
        """
        Return the change that each task needs, in the order of the tasks. Changes nothing. A
        failure becomes the ``problem`` of its task only. Raises NoLibrary.
        """
        planned = [
            Planned(task, base=configured_zone(self._dns, task.name) or task.start)
            for task in tasks
        ]
        updates = self._batches.plan(planned, adopt)
        endpoints = run(_endpoints(self._dns, dict.fromkeys(one.base for one in updates)))
        for one in updates:
            self._plan(one, endpoints[one.base], adopt)
        return planned

    def preview(self, tasks: Sequence[Task], adopt: bool = False) -> list[Planned]:
        """
        Return what a run would do. Changes nothing. A service that plans changes itself returns its
        plan.
        """
        planned = self.plan(tasks, adopt)
        self._batches.preview(planned)
        return planned

    def apply(self, planned: Sequence[Planned]) -> Iterator[Planned]:
        """
        Send the steps, read the names again, and yield each name once its step was sent. A failure
        becomes the ``problem``.
        """
        for one in planned:
            if not isinstance(one.provider, BatchProvider):
                if one.step is not None:
                    self._apply(one)
                yield one
        yield from self._batches.apply(planned)

    def _apply(self, planned: Planned) -> None:
        """Send one step by an update and read the name again."""
        task, provider = planned.task, planned.provider
        try:
            _send(planned)
            planned.sent = True
            _, present = provider.read(task.name, task.type)
        except UncertainUpdate as error:
            self._read_result(planned, error)
            return
        except DnsError as error:
            planned.problem = self._problem(planned, error)
            planned.has_conflict = isinstance(error, ConcurrentChange)
            return
        if not is_applied(planned.step, present):
            planned.problem = f"{provider}: the server accepted the update and does not show it"
            planned.sent = False
        planned.rewritten = rewritten_form(planned.step, planned.present, present)

    def _read_result(self, planned: Planned, error: UncertainUpdate) -> None:
        """Read over a new connection whether an update without an answer was applied."""
        task, step = planned.task, planned.step
        try:
            present = planned.provider.read_again(task.name, task.type)
        except DnsError:
            problem = self._problem(planned, error)
            planned.problem = f"{problem}; the server may have applied the update before"
            return
        same_ttl = step.add not in step.delete or present.ttl == step.ttl
        planned.sent = is_applied(step, present) and same_ttl
        if not planned.sent:
            planned.problem = self._problem(planned, error)
            planned.has_conflict = error.has_conflict

    def _plan(self, planned: Planned, endpoint: Endpoint | DnsError, adopt: bool) -> None:
        task = planned.task
        if isinstance(endpoint, NoSuchDomain) and task.is_obsolete:
            # The domain does not exist, so its published records do not exist either.
            return
        try:
            if isinstance(endpoint, DnsError):
                raise endpoint
            planned.provider = self._provider(planned.base, endpoint)
            planned.zone, planned.present = planned.provider.read(task.name, task.type)
            planned.step = _step(planned, adopt)
        except NoLibrary:
            raise
        except DnsError as error:
            planned.problem = self._problem(planned, error)

    def _problem(self, planned: Planned, error: DnsError) -> str:
        """Return an error's text, with the key to set where the SOA named the server."""
        problem = str(error)
        if planned.provider is None or isinstance(error, RecordConflict | ConcurrentChange):
            return problem
        if _configured_server(self._dns, planned.base) is not None:
            return problem
        zone = planned.zone or planned.base
        return f"{problem}; the SOA names this server: if it is the wrong one, " + _SET.format(
            zone=zone
        )

    def _provider(self, base: str, endpoint: Endpoint) -> Provider:
        key = _key_for(self._dns, base)
        connection = (endpoint, None if key is None else key.name)
        if connection not in self._providers:
            self._providers[connection] = Rfc2136Provider(endpoint, key, self._dns.timeout)
        return self._providers[connection]


def _send(planned: Planned) -> None:
    """
    Send a step. A name may have the same text as the wildcard above it, which only the update's
    prerequisite shows. In this case send the step for a name that has the text.
    """
    provider = planned.provider
    try:
        provider.send(planned.zone, planned.step, planned.present)
    except ConcurrentChange:
        if planned.wildcard is None or planned.wildcard.alias is not None:
            raise
        planned.present, planned.wildcard = planned.wildcard, None
        planned.step = step_from(planned.task, planned.present, False)
        provider.send(planned.zone, planned.step, planned.present)


def _step(planned: Planned, adopt: bool) -> Step | None:
    task = planned.task
    try:
        step = step_from(task, planned.present, adopt)
    except RecordConflict:
        if not _is_by_wildcard(planned):
            raise
    else:
        if step is None or not _is_by_wildcard(planned):
            return step
    # The name itself has no record (RFC 4592, section 2.2.1). A wildcard's record does not satisfy
    # the prerequisite of an update (RFC 2136, section 2.4; BIND 9.18 answers NXRRSET).
    planned.wildcard, planned.present = planned.present, Present()
    planned.zone = planned.zone or planned.provider.zone_of(task.start)
    return step_from(task, planned.present, adopt)


def _is_by_wildcard(planned: Planned) -> bool:
    # A wildcard never applies to the zone's own name.
    if planned.present == Present() or planned.task.name == planned.zone:
        return False
    task = planned.task
    return planned.provider.is_by_wildcard(task.name, task.type, planned.present)


def _key_for(dns: Dns, name: str) -> TsigKey | None:
    zone = dns.zones.get(configured_zone(dns, name))
    return zone.key if zone is not None and zone.key is not None else dns.key


async def _endpoints(dns: Dns, starts: Collection[str]) -> dict[str, Endpoint | DnsError]:
    """Return the server that receives updates for each name's zone, or the error."""
    async with DnsClient(dns.timeout, dns.concurrency) as client:
        finder = ZoneFinder(client, dns)

        async def one(start: str) -> Endpoint | DnsError:
            try:
                return await _endpoint(dns, finder, start)
            except NoLibrary:
                raise
            except DnsError as error:
                return error

        return dict(zip(starts, await asyncio.gather(*map(one, starts)), strict=True))


async def _endpoint(dns: Dns, finder: ZoneFinder, start: str) -> Endpoint:
    server = _configured_server(dns, start)
    if server is not None:
        return _reachable(await finder.endpoints_of(server))
    zone = await finder.primary_of(start)
    if not zone.primary:
        # RFC 1035, section 3.3.13. Providers hide their primary in this way.
        raise DnsError(
            f"the SOA of {zone.name} names no primary (its MNAME is the root); "
            + _SET.format(zone=zone.name)
        )
    try:
        return _reachable(await finder.endpoints_of(zone.primary))
    except NoLibrary:
        raise
    except DnsError as error:
        raise DnsError(
            f"the SOA of {zone.name} names the primary {zone.primary}: {error}; "
            + _SET.format(zone=zone.name)
        ) from None


def _configured_server(dns: Dns, start: str) -> str | None:
    zone = dns.zones.get(configured_zone(dns, start))
    return zone.server if zone is not None and zone.server is not None else dns.server


def _reachable(endpoints: Sequence[Endpoint]) -> Endpoint:
    return next((one for one in endpoints if one.is_reachable()), endpoints[0])
