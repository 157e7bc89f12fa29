"""DNS check of every record at every authoritative server of its zone."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Sequence
from dataclasses import replace

from ..errors import DnsError, NoAnswer, NoLibrary, NoResolver, NoSuchDomain
from ..progress import Progress
from ..records.record import Record, is_inside
from ..settings.model import Dns
from . import verdict
from .checked import Answered, Checked, advice_of, joined, not_asked, past_deadline
from .query import DnsClient, Endpoint, endpoint_of, question
from .reply import Reply
from .serials import with_serials
from .verdict import Finding
from .zones import Zone, ZoneFinder, configured_zone

# A longer chain of aliases or zones is an error or an attack.
MAX_STEPS = 8


async def check(
    records: Sequence[Record],
    dns: Dns,
    zone_times: bool = False,
    progress: Progress | None = None,
) -> list[Checked]:
    """
    Ask every authoritative server of each record's zone, over UDP and over TCP, and return the
    verdicts in the order of the records.

    dns
        The limits: ``timeout`` for one answer, ``concurrency``, and ``deadline`` for all records.
        Records without a result at the deadline are ``unchecked``, as are records whose zone no
        resolver can be asked for.
    zone_times
        Also read ``negative_ttl`` of every record, by one more question for each zone.
    progress
        Called with (done, total) after each record.

    Raises NoLibrary. A problem of a zone or a server is a verdict.
    """
    async with DnsClient(dns.timeout, dns.concurrency) as client:
        checker = _Checker(client, dns, zone_times)
        free = asyncio.Semaphore(dns.concurrency)

        done = itertools.count(1)

        async def one(record: Record) -> Checked:
            async with free:
                checked = await checker.check(record)
            if progress is not None:
                progress(next(done), len(records))
            return checked

        tasks = [asyncio.create_task(one(record)) for record in records]
        if tasks:
            await asyncio.wait(tasks, timeout=dns.deadline)
        late = [task for task in tasks if task.cancel()]
        await asyncio.gather(*late, return_exceptions=True)
        return [
            past_deadline(record, dns.deadline) if task.cancelled() else task.result()
            for record, task in zip(records, tasks, strict=True)
        ]


class _Checker:
    def __init__(self, client: DnsClient, dns: Dns, zone_times: bool):
        self._client = client
        self._dns = dns
        self._zone_times = zone_times
        self._finder = ZoneFinder(client, dns)
        self._validator = None if dns.validator is None else endpoint_of(dns.validator)

    async def check(self, record: Record) -> Checked:
        try:
            zone = await self._finder.zone_of(start_of(record, self._dns))
            found = await self._at(record, record.name, zone, MAX_STEPS)
        except NoLibrary:
            raise
        except NoSuchDomain as error:
            return await self._without_domain(record, error)
        except NoResolver as error:
            return Checked(record, verdict.UNCHECKED, str(error))
        except DnsError as error:
            return Checked(record, verdict.NO_ZONE, str(error))
        if found.verdict == verdict.OK and self._validator is not None:
            return await self._validate(found)
        return found

    async def _at(self, record: Record, name: str, zone: Zone, steps: int) -> Checked:
        """Check a record at a name, in the name's zone or in a zone that refers to that zone."""
        answers = await self._ask_all(record, name, zone)
        if not steps:
            return Checked(
                record, verdict.DIFFERENT, f"{name}: too many aliases or zones", zone.name
            )
        for answer in answers:
            if answer.finding.verdict == verdict.REFERRED:
                below = await self._below(answer.finding)
                return await self._at(record, name, below, steps - 1)
        targets = {a.finding.target for a in answers if a.finding.verdict == verdict.ALIAS}
        if targets:
            return await self._through_alias(record, zone, answers, min(targets), steps)
        answers = await self._exclude_wildcards(name, record.type, zone, answers)
        if name == record.name:
            answers = await self._find_doubled(record, zone, answers)
        return await self._conclude(record, zone, answers)

    async def _without_domain(self, record: Record, error: NoSuchDomain) -> Checked:
        """
        Ask the servers of the parent zone whether a domain exists that a resolver does not know.
        A resolver's answer may be old or invented.
        """
        checked = Checked(record, verdict.NO_ZONE, str(error))
        try:
            parent = await self._finder.zone_of(error.parent)
            query = question(error.name, "NS")
        except DnsError:
            return checked

        async def denies(endpoint: Endpoint) -> bool | None:
            try:
                reply = await self._client.ask_fully(endpoint, query)
            except NoAnswer:
                return None
            if reply.rcode == "NXDOMAIN" and reply.authoritative:
                return True
            return False if reply.rcode in ("NOERROR", "NXDOMAIN") else None

        denials = set(await asyncio.gather(*map(denies, parent.endpoints().values()))) - {None}
        return replace(checked, is_gone=denials == {True})

    async def _below(self, finding: Finding) -> Zone:
        referral = finding.reply
        names = [
            rr.value for rr in referral.authority if rr.type == "NS" and rr.name == finding.target
        ]
        return await self._finder.below(finding.target, names, referral)

    async def _through_alias(
        self, record: Record, zone: Zone, answers: list[Answered], target: str, steps: int
    ) -> Checked:
        if is_inside(target, zone.name):
            end = zone
        else:
            end = await self._zone_of_target(answers, target)
        found = await self._at(record, target, end, steps - 1)
        judged = []
        for answer in answers:
            finding = answer.finding
            if finding.verdict == verdict.ALIAS and finding.target == target:
                finding = replace(
                    finding, verdict=found.verdict, detail=f"{finding.detail}: {found.verdict}"
                )
            elif finding.verdict == verdict.ALIAS:
                finding = replace(finding, verdict=verdict.DIFFERENT)
            judged.append(replace(answer, finding=finding))
        if found.verdict in (verdict.MISSING, verdict.DIFFERENT):
            judged = await self._exclude_wildcards(record.name, record.type, zone, judged)
        held = await self._conclude(record, zone, judged)
        path = f"CNAME to {target}" + (f": {found.detail}" if found.detail else "")
        return replace(
            held,
            detail=path if held.verdict == verdict.OK else held.detail or path,
            servers=(*held.servers, *found.servers),
            negative_ttl=_longest(held.negative_ttl, found.negative_ttl),
        )

    async def _zone_of_target(self, answers: list[Answered], target: str) -> Zone:
        try:
            if not target:
                raise DnsError("the root has no records of this kind")
            return await self._finder.zone_of(_known_above(target, self._dns))
        except NoLibrary:
            raise
        except DnsError as error:
            server = next(a.server for a in answers if a.finding.target == target)
            kind = NoResolver if isinstance(error, NoResolver) else DnsError
            raise kind(f"{server} has a CNAME to {target or '.'}: {error}") from None

    async def _conclude(self, record: Record, zone: Zone, answers: list[Answered]) -> Checked:
        result = verdict.overall(answer.finding.verdict for answer in answers)
        if result == verdict.INCONSISTENT:
            answers = await with_serials(self._client, zone, answers)
        wrong = [answer for answer in answers if answer.finding.verdict != verdict.OK]
        negative = _longest(*(answer.finding.negative_ttl for answer in wrong))
        if negative is None and self._zone_times:
            negative = await self._finder.negative_ttl_of(zone)
        return Checked(
            record,
            result,
            advice_of(answers) if result == verdict.OK else joined(wrong),
            zone.name,
            tuple(answers),
            negative,
        )

    async def _ask_all(self, record: Record, name: str, zone: Zone) -> list[Answered]:
        known = [(server, one) for server in zone.nameservers for one in server.endpoints]
        found = await asyncio.gather(
            *(self._ask(record, name, zone.name, endpoint) for _, endpoint in known)
        )
        answers = [
            Answered(server.name, str(endpoint), finding)
            for (server, endpoint), finding in zip(known, found, strict=True)
        ]
        return answers + [not_asked(server) for server in zone.nameservers if not server.endpoints]

    async def _ask(self, record: Record, name: str, zone: str, endpoint: Endpoint) -> Finding:
        query = question(name, record.type)

        async def over(transport: str) -> Finding:
            try:
                reply = await self._client.ask(endpoint, query, transport)
            except NoAnswer as error:
                return verdict.of_failure(error)
            return verdict.judge(record, name, zone, reply)

        return verdict.both(*await asyncio.gather(over("udp"), over("tcp")))

    async def _exclude_wildcards(
        self, name: str, rtype: str, zone: Zone, answers: list[Answered]
    ) -> list[Answered]:
        """
        Return the answers, with ``missing`` for an answer that comes from a wildcard. A random
        sibling of the record's name has the same answer then.
        """
        if name == zone.name:
            return answers
        endpoints = zone.endpoints()

        async def judged(answer: Answered) -> Answered:
            finding = answer.finding
            if not (finding.shown or finding.target) or finding.verdict not in _MAYBE_BY_WILDCARD:
                return answer
            if not await self._is_of_wildcard(endpoints[answer.address], name, rtype, finding):
                return answer
            return replace(answer, finding=verdict.by_wildcard(finding))

        return list(await asyncio.gather(*map(judged, answers)))

    async def _is_of_wildcard(
        self, endpoint: Endpoint, name: str, rtype: str, finding: Finding
    ) -> bool:
        try:
            sibling = question(f"{secrets.token_hex(8)}.{name.partition('.')[2]}", rtype)
            reply = await self._client.ask_fully(endpoint, sibling)
        except DnsError:
            # The server gives no answer, or the sibling's name is longer than DNS allows.
            return False
        return _is_alike(finding, reply)

    async def _find_doubled(
        self, record: Record, zone: Zone, answers: list[Answered]
    ) -> list[Answered]:
        """
        Return the answers. If no server has the record, and a server has it at its name followed by
        the zone's name, the details say so: some DNS panels append the zone's name to every name.
        """
        found = {answer.finding.verdict for answer in answers}
        if verdict.MISSING not in found or verdict.OK in found:
            return answers
        missing = [answer for answer in answers if answer.finding.verdict == verdict.MISSING]
        endpoint = zone.endpoints()[missing[0].address]
        doubled = f"{record.name}.{zone.name}"
        try:
            reply = await self._client.ask_fully(endpoint, question(doubled, record.type))
        except DnsError:
            # The server gives no answer, or the doubled name is longer than DNS allows.
            return answers
        there = verdict.judge(record, doubled, zone.name, reply)
        if there.verdict != verdict.OK:
            return answers
        if await self._is_of_wildcard(endpoint, doubled, record.type, there):
            return answers
        return [
            replace(answer, finding=verdict.doubled(answer.finding, record.name, zone.name))
            if answer in missing
            else answer
            for answer in answers
        ]

    async def _validate(self, found: Checked) -> Checked:
        """
        Return the check with the result of the validating resolver. A failure that disappears
        without validation is a DNSSEC failure: RFC 4035, section 5.5.
        """
        record = found.record
        try:
            reply = await self._resolve(record, True)
            if reply.rcode == "SERVFAIL":
                unchecked = await self._resolve(record, False)
                if unchecked.rcode == "NOERROR":
                    detail = (
                        f"{self._validator} fails to validate the answer, but returns it without "
                        "validation"
                    )
                    return replace(found, verdict=verdict.BOGUS, detail=detail, validator="bogus")
                return replace(found, validator="SERVFAIL, also without validation")
        except NoAnswer as error:
            return replace(found, validator=str(error))
        if reply.rcode not in ("NOERROR", "NXDOMAIN"):
            return replace(found, validator=reply.rcode)
        if reply.rcode != "NOERROR" or not reply.answer:
            # The resolver's cache may hold an old answer, which is not an error of the servers.
            return replace(found, validator="its cache still has no record")
        result = "validated" if reply.authenticated else "the zone is not signed"
        return replace(found, validator=result)

    async def _resolve(self, record: Record, validate: bool) -> Reply:
        query = question(record.name, record.type, recurse=True, validate=validate, signed=True)
        return await self._client.ask_fully(self._validator, query)


def start_of(record: Record, dns: Dns) -> str:
    """Return the existing name at or above the record's where the search for the zone starts."""
    return configured_zone(dns, record.name) or record.zone or record.domain


def _known_above(name: str, dns: Dns) -> str:
    # The target of an alias may not exist. Its last two labels exist if the domain is registered.
    # The servers of that zone refer to the zones below.
    return configured_zone(dns, name) or ".".join(name.split(".")[-2:])


def _longest(*seconds: int | None) -> int | None:
    return max((one for one in seconds if one is not None), default=None)


_MAYBE_BY_WILDCARD = (verdict.MISSING, verdict.DIFFERENT, verdict.DUPLICATE)


def _is_alike(finding: Finding, reply: Reply) -> bool:
    if not reply.answer:
        return False
    sibling = reply.answer[0].name
    if finding.target:
        return reply.values(sibling, "CNAME") == [finding.target]
    shown = {rr.value for rr in reply.answer if rr.name == sibling and rr.type != "CNAME"}
    aliases = set(reply.values(sibling, "CNAME"))
    return set(finding.shown) in (shown, aliases)
