"""Records into DNS by dynamic update, one name at a time, and out of it again."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from ..records.record import Record, is_inside
from ..settings.model import Dns, TsigKey
from .exchange import Exchange
from .failure import DnsError, NoLibrary, NoSuchDomain, Overtaken, Uncertain
from .loop import run
from .place import Place
from .plan import Foreign, Present, Step, is_there, to_publish, to_remove
from .primary import Primary
from .zones import Finder, configured_zone

_SET = "set dkim:dns:server, or dkim:dns:zones:{zone}:server, to the server that takes updates"


@dataclass(frozen=True)
class Task:
    """
    One name of one type to bring in order.

    record
        What is to be there; None where what we published is to go.
    remembered
        Values that we have published there.
    start
        A name above, or the name itself, that exists: its zone is looked for from there.
    domain
        The mail domain that it is for.
    """

    name: str
    type: str
    start: str
    record: Record | None = None
    remembered: tuple[str, ...] = ()
    domain: str = ""


@dataclass
class Planned:
    """
    What is to be done for a task: ``step`` None is nothing; or why it can't be done. ``overtaken``:
    because somebody else has changed the name meanwhile. ``base`` is the name that the zone was
    looked for from, ``shown`` what a wildcard seems to have put at the name. ``sent``: the server
    has taken the update, whatever came after.
    """

    task: Task
    primary: Primary | None = None
    zone: str = ""
    seen: Present = field(default_factory=Present)
    step: Step | None = None
    problem: str = ""
    overtaken: bool = False
    base: str = ""
    sent: bool = False
    shown: Present | None = None


def published_start(name: str, domain: str) -> str:
    """
    A name above a record that was published, from which its zone is looked for.

    domain
        The mail domain that it is for. A delegated key's record stands below the domain's name in
        a zone of ours, and a consent to reports in the receiver's zone: what follows the domain's
        name is above it then.
    """
    if is_inside(name, domain):
        return domain
    _, _, above = name.partition(f"{domain}.")
    return above.removeprefix("_report._dmarc.") or domain


class Publisher:
    """
    Looks at the servers and updates them; a context manager.

    dns
        The settings. A zone's own server and key come first, then the general ones; where no
        server is set it is the primary that the zone's SOA names.
    """

    def __init__(self, dns: Dns):
        self._dns = dns
        self._primaries: dict[tuple[Place, str | None], Primary] = {}

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *_error: object) -> None:
        for primary in self._primaries.values():
            primary.close()

    def plan(self, tasks: Sequence[Task], adopt: bool = False) -> list[Planned]:
        """
        What each task needs, in their order; changes nothing. What goes wrong with one is its
        ``problem``. Raises NoLibrary.
        """
        bases = [configured_zone(self._dns, task.name) or task.start for task in tasks]
        places = run(_places(self._dns, dict.fromkeys(bases)))
        return [
            self._planned(task, base, places[base], adopt)
            for task, base in zip(tasks, bases, strict=True)
        ]

    def carry_out(self, planned: Planned) -> None:
        """
        Sends one step and looks whether it took effect; a failure becomes its ``problem``.
        """
        task, primary, step = planned.task, planned.primary, planned.step
        try:
            _send(planned)
            planned.sent = True
            step = planned.step
            _, present = primary.read(task.name, task.type)
        except Uncertain as error:
            self._find_out(planned, error)
            return
        except DnsError as error:
            planned.problem = self._told(planned, error)
            planned.overtaken = isinstance(error, Overtaken)
            return
        if not _is_done(step, present):
            planned.problem = f"{primary}: it took the update, and does not show it"
            planned.sent = False

    def _find_out(self, planned: Planned, error: Uncertain) -> None:
        """Look, by another connection, whether an update that got no answer took effect."""
        task, step = planned.task, planned.step
        try:
            present = planned.primary.look_again(task.name, task.type)
        except DnsError:
            planned.problem = f"{self._told(planned, error)}; it may have taken the update before"
            return
        same_ttl = step.add not in step.delete or present.ttl == step.ttl
        planned.sent = _is_done(step, present) and same_ttl
        if not planned.sent:
            planned.problem = self._told(planned, error)
            planned.overtaken = error.overtaken

    def _planned(self, task: Task, base: str, place: Place | DnsError, adopt: bool) -> Planned:
        planned = Planned(task, base=base)
        if isinstance(place, NoSuchDomain) and task.record is None:
            # What was published went with its domain.
            return planned
        try:
            if isinstance(place, DnsError):
                raise place
            planned.primary = self._primary(base, place)
            planned.zone, planned.seen = planned.primary.read(task.name, task.type)
            planned.step = _step(planned, adopt)
        except NoLibrary:
            raise
        except DnsError as error:
            planned.problem = self._told(planned, error)
        return planned

    def _told(self, planned: Planned, error: DnsError) -> str:
        """A server's refusal; where nobody has named the server, with what to set."""
        problem = str(error)
        if planned.primary is None or isinstance(error, Foreign | Overtaken):
            return problem
        if _configured_server(self._dns, planned.base) is not None:
            return problem
        zone = planned.zone or planned.base
        return f"{problem}; it was found by the SOA: if it is not the one, {_SET.format(zone=zone)}"

    def _primary(self, base: str, place: Place) -> Primary:
        key = _key_for(self._dns, base)
        at = (place, None if key is None else key.name)
        if at not in self._primaries:
            self._primaries[at] = Primary(place, key, self._dns.timeout)
        return self._primaries[at]


def _is_done(step: Step, present: Present) -> bool:
    """Whether a name looks as it has to after a step."""
    gone = [value for value in step.delete if value != step.add]
    is_added = step.add is None or is_there(step.add, step, present)
    return is_added and not any(value in present.values for value in gone)


def _send(planned: Planned) -> None:
    """
    Sends a step. A name may have the very text of the wildcard above it, which only the update's
    prerequisite tells apart; then the step is for a name that has it.
    """
    task, primary = planned.task, planned.primary
    try:
        primary.send(planned.zone, planned.step, planned.seen)
    except Overtaken:
        if planned.shown is None or planned.shown.alias is not None:
            raise
        planned.seen, planned.shown = planned.shown, None
        planned.step = _step_from(task, planned.seen, False)
        primary.send(planned.zone, planned.step, planned.seen)


def _step(planned: Planned, adopt: bool) -> Step | None:
    task = planned.task
    try:
        step = _step_from(task, planned.seen, adopt)
    except Foreign:
        if not _is_by_wildcard(planned):
            raise
    else:
        if step is None or not _is_by_wildcard(planned):
            return step
    # Nothing is at the name itself (RFC 4592, section 2.2.1), and no prerequisite of an update
    # holds for what a wildcard puts there (RFC 2136, section 2.4; BIND 9.18 answers NXRRSET).
    planned.shown, planned.seen = planned.seen, Present()
    planned.zone = planned.zone or planned.primary.zone_of(task.start)
    return _step_from(task, planned.seen, adopt)


def _step_from(task: Task, seen: Present, adopt: bool) -> Step | None:
    if task.record is None:
        return to_remove(task.name, task.type, seen, task.remembered)
    return to_publish(task.record, seen, task.remembered, adopt)


def _is_by_wildcard(planned: Planned) -> bool:
    # No wildcard is above a zone's own name.
    if planned.seen == Present() or planned.task.name == planned.zone:
        return False
    return planned.primary.is_by_wildcard(planned.task.name, planned.task.type, planned.seen)


def _key_for(dns: Dns, name: str) -> TsigKey | None:
    zone = dns.zones.get(configured_zone(dns, name))
    return zone.key if zone is not None and zone.key is not None else dns.key


async def _places(dns: Dns, starts: Collection[str]) -> dict[str, Place | DnsError]:
    """Where the zone of each name takes updates, or why that can't be told."""
    async with Exchange(dns.timeout, dns.concurrency) as exchange:
        finder = Finder(exchange, dns)

        async def one(start: str) -> Place | DnsError:
            try:
                return await _place(dns, finder, start)
            except NoLibrary:
                raise
            except DnsError as error:
                return error

        return dict(zip(starts, await asyncio.gather(*map(one, starts)), strict=True))


async def _place(dns: Dns, finder: Finder, start: str) -> Place:
    server = _configured_server(dns, start)
    if server is not None:
        return _nearest(await finder.places_of(server))
    zone = await finder.primary_of(start)
    if not zone.primary:
        # RFC 1035, section 3.3.13; providers hide their primary so.
        raise DnsError(
            f"the SOA of {zone.name} names no primary (its MNAME is the root); "
            + _SET.format(zone=zone.name)
        )
    try:
        return _nearest(await finder.places_of(zone.primary))
    except NoLibrary:
        raise
    except DnsError as error:
        raise DnsError(
            f"the SOA of {zone.name} names {zone.primary} as its primary, and {error}; "
            + _SET.format(zone=zone.name)
        ) from None


def _configured_server(dns: Dns, start: str) -> str | None:
    zone = dns.zones.get(configured_zone(dns, start))
    return zone.server if zone is not None and zone.server is not None else dns.server


def _nearest(places: Sequence[Place]) -> Place:
    return next((place for place in places if place.is_reachable()), places[0])
