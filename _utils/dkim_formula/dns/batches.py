"""Changes in zones whose provider takes many changes at once: octoDNS or the user's program."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence

from ..errors import ConcurrentChange, DnsError, NoLibrary, NoSuchDomain
from ..settings.model import Dns
from .planned import Planned, is_applied, step_from
from .providers.command import CommandProvider
from .providers.octodns import OctodnsProvider
from .providers.provider import BatchProvider, Change, ChangeResult, in_quotes
from .query import DnsClient, run
from .steps import rewritten_form, rewritten_problem
from .zones import ZoneFinder, configured_zone, publish_method

_ODD = frozenset(b'"\\')


class Batches:
    """
    The batch providers of ``dkim:dns``, each with its names.

    dns
        The settings. Their ``deadline`` covers all requests of one publication to the providers
        together, except the end of a change in progress.
    """

    def __init__(self, dns: Dns):
        self._dns = dns
        self._deadline = time.monotonic() + dns.deadline
        self._providers: dict[str, OctodnsProvider] = {}
        self._program: CommandProvider | None = None

    def close(self) -> None:
        """End the processes of the providers."""
        for provider in self._providers.values():
            provider.close()

    def plan(self, planned: Sequence[Planned], adopt: bool) -> list[Planned]:
        """
        Set the step or the problem of each name that a batch provider publishes, and return the
        other names.
        """
        rest = []
        for one in planned:
            one.provider = self._provider_of(one.task.name)
            if one.provider is None:
                rest.append(one)
        for provider, names in _by_provider(planned).items():
            self._find_zones(provider, names)
            found = [one for one in names if one.zone]
            provider.load([(one.zone, one.task.name) for one in found])
            for one in found:
                _decide(one, adopt)
        return rest

    def preview(self, planned: Sequence[Planned]) -> None:
        """
        Remove the steps that change nothing by the providers' own plans. A refusal becomes the
        ``problem``.
        """
        for provider, names in _by_provider(planned).items():
            steps = [one for one in names if one.step is not None]
            for position, result in provider.preview(_changes(steps)):
                _note(steps[position], result)

    def apply(self, planned: Sequence[Planned]) -> Iterator[Planned]:
        """Send the steps, and yield each name once its step was sent."""
        for provider, names in _by_provider(planned).items():
            yield from (one for one in names if one.step is None)
            steps = [one for one in names if one.step is not None]
            for position, result in provider.send(_changes(steps)):
                one = steps[position]
                one.sent = result.error is None and not result.is_needless
                _note(one, result)
                yield one

    def _provider_of(self, name: str) -> BatchProvider | None:
        method = publish_method(self._dns, name)
        if method == "command":
            if self._program is None:
                self._program = CommandProvider(self._dns, self._deadline)
            return self._program
        if method != "octodns":
            return None
        zone = self._dns.zones.get(configured_zone(self._dns, name))
        key = (zone.provider if zone is not None else None) or self._dns.provider
        if key not in self._providers:
            self._providers[key] = OctodnsProvider(
                self._dns.providers[key], self._deadline, self._dns.deadline
            )
        return self._providers[key]

    def _find_zones(self, provider: BatchProvider, names: Sequence[Planned]) -> None:
        """
        Set the zone of each name: from the settings, else from the provider, else from a resolver.
        """
        unknown = []
        for one in names:
            zone = configured_zone(self._dns, one.task.name)
            try:
                one.zone = zone or provider.zone_of(one.task.name) or ""
            except DnsError as error:
                one.problem = str(error)
            if not one.zone and not one.problem:
                unknown.append(one)
        if unknown:
            found = run(self._zones_by_resolver(dict.fromkeys(one.base for one in unknown)))
            for one in unknown:
                zone = found[one.base]
                if isinstance(zone, str):
                    one.zone = zone
                elif not (isinstance(zone, NoSuchDomain) and one.task.is_obsolete):
                    one.problem = str(zone)

    async def _zones_by_resolver(self, starts: Sequence[str]) -> dict[str, str | DnsError]:
        async with DnsClient(self._dns.timeout, self._dns.concurrency) as client:
            finder = ZoneFinder(client, self._dns)

            async def one(start: str) -> str | DnsError:
                try:
                    return (await finder.primary_of(start)).name
                except NoLibrary:
                    raise
                except DnsError as error:
                    return error

            return dict(zip(starts, await asyncio.gather(*map(one, starts)), strict=True))


def _by_provider(planned: Sequence[Planned]) -> dict[BatchProvider, list[Planned]]:
    found: dict[BatchProvider, list[Planned]] = {}
    for one in planned:
        if isinstance(one.provider, BatchProvider):
            found.setdefault(one.provider, []).append(one)
    return found


def _decide(planned: Planned, adopt: bool) -> None:
    try:
        planned.present = planned.provider.present(planned.zone, planned.task.name)
        planned.step = step_from(planned.task, planned.present, adopt)
    except DnsError as error:
        planned.problem = str(error)
    if planned.step is not None:
        planned.advice = _other_texts_advice(planned)


def _other_texts_advice(planned: Planned) -> str:
    """
    Return advice on texts at the name that the formula does not manage. A service replaces all
    records of a name and type at once. Some services change such texts when they write them again.
    """
    others = set(planned.present.values) - set(planned.step.delete)
    odd = sorted(value for value in others if _ODD & set(value) or not value.isascii())
    if not odd:
        return ""
    shown = odd[0].decode("utf-8", "backslashreplace")
    return (
        f"{planned.provider}: the name has other texts with quotes, backslashes or letters "
        f"beyond ASCII, which some services change when they write the name: {shown}; compare them "
        "afterwards"
    )


def _changes(planned: Sequence[Planned]) -> list[Change]:
    return [Change(one.zone, one.step, one.present) for one in planned]


def _note(planned: Planned, result: ChangeResult) -> None:
    """Store the result of a step in its name."""
    step = planned.step
    if result.error is not None:
        planned.problem = str(result.error)
        planned.has_conflict = isinstance(result.error, ConcurrentChange)
    elif result.is_needless:
        planned.step = None
    elif result.present is not None:
        planned.rewritten = rewritten_form(step, planned.present, result.present)
        lost = [value for value in planned.present.values if value not in step.delete]
        lost = [value for value in lost if value not in result.present.values]
        if lost:
            planned.problem = (
                f"{planned.provider}: another text at this name is gone after the change: "
                f"{in_quotes(lost)}; restore it if no other user removed it"
            )
        elif planned.rewritten is not None and not is_applied(step, result.present):
            planned.problem = f"{planned.provider}: {rewritten_problem(planned.rewritten.shown)}"
        elif not is_applied(step, result.present):
            planned.problem = (
                f"{planned.provider}: the provider accepted the change and does not show it"
            )
