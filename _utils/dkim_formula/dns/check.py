"""Whether every authoritative server holds the records that it should, in whatever form."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..records.record import Record, is_inside
from ..settings.model import Dns
from . import message, verdict
from .exchange import Exchange
from .failure import DnsError, NoAnswer, NoLibrary
from .place import Place, as_place
from .verdict import Finding
from .zones import Finder, Nameserver, Served, configured_zone

# A chain of aliases or of zones longer than this is a mistake, or a trap.
MAX_STEPS = 8


@dataclass(frozen=True)
class Answered:
    """One server's word on one record. ``serial`` is its zone's, asked for where servers differ."""

    server: str
    address: str
    finding: Finding
    serial: int | None = None

    def as_plain(self) -> dict[str, object]:
        """For a function's return."""
        plain = {
            "server": self.server,
            "address": self.address,
            "verdict": self.finding.verdict,
            "detail": self.finding.detail,
            "ttl": self.finding.ttl,
        }
        return plain if self.serial is None else {**plain, "serial": self.serial}


@dataclass(frozen=True)
class Checked:
    """
    The verdict on one record. Of a right one ``detail`` is advice: how it is written differently,
    or which server resolvers have to pass over.

    negative_ttl
        How long resolvers may remember that it is absent, in seconds: told where it is, and with
        ``zone_times`` always, as far as a server says.
    validator
        What the validating resolver says, where one is set and everything else is right.
    """

    record: Record
    verdict: str
    detail: str = ""
    zone: str | None = None
    servers: tuple[Answered, ...] = ()
    negative_ttl: int | None = None
    validator: str | None = None

    def as_plain(self) -> dict[str, object]:
        """For a function's return."""
        record = self.record
        return {
            "name": record.name,
            "type": record.type,
            "purpose": record.purpose,
            "domain": record.domain,
            "selector": record.selector,
            "verdict": self.verdict,
            "detail": self.detail,
            "zone": self.zone,
            "negative_ttl": self.negative_ttl,
            "validator": self.validator,
            "servers": [server.as_plain() for server in self.servers],
        }


async def check(records: Sequence[Record], dns: Dns, zone_times: bool = False) -> list[Checked]:
    """
    Asks every authoritative server of each record's zone for it, over UDP and over TCP.

    records
        In any number; each gets its verdict, in their order.
    dns
        The limits: ``timeout`` for an answer, ``concurrency``, and a ``deadline`` for all, after
        which the records that are left are ``not checked``.
    zone_times
        Tell ``negative_ttl`` of every record, at a question more for each zone.

    Raises NoLibrary. What is wrong with a zone or a server is a verdict.
    """
    async with Exchange(dns.timeout, dns.concurrency) as exchange:
        checker = _Checker(exchange, dns, zone_times)
        free = asyncio.Semaphore(dns.concurrency)

        async def one(record: Record) -> Checked:
            async with free:
                return await checker.check(record)

        tasks = [asyncio.create_task(one(record)) for record in records]
        if tasks:
            await asyncio.wait(tasks, timeout=dns.deadline)
        late = [task for task in tasks if task.cancel()]
        await asyncio.gather(*late, return_exceptions=True)
        return [
            _unchecked(record, dns.deadline) if task.cancelled() else task.result()
            for record, task in zip(records, tasks, strict=True)
        ]


class _Checker:
    def __init__(self, exchange: Exchange, dns: Dns, zone_times: bool):
        self._exchange = exchange
        self._dns = dns
        self._zone_times = zone_times
        self._finder = Finder(exchange, dns)
        self._validator = None if dns.validator is None else as_place(dns.validator)

    async def check(self, record: Record) -> Checked:
        try:
            zone = await self._finder.zone_of(start_of(record, self._dns))
            found = await self._at(record, record.name, zone, MAX_STEPS)
        except NoLibrary:
            raise
        except DnsError as error:
            return Checked(record, verdict.NO_ZONE, str(error))
        if found.verdict == verdict.RIGHT and self._validator is not None:
            return await self._validated(found)
        return found

    async def _at(self, record: Record, name: str, zone: Served, steps: int) -> Checked:
        """The record where ``name`` is, in a zone that holds it or refers to the one that does."""
        answers = await self._ask_all(record, name, zone)
        if not steps:
            return Checked(record, verdict.DIFFERS, f"{name}: too many aliases or zones", zone.name)
        for answer in answers:
            if answer.finding.verdict == verdict.REFERRED:
                below = await self._below(answer.finding)
                return await self._at(record, name, below, steps - 1)
        targets = {a.finding.target for a in answers if a.finding.verdict == verdict.ALIAS}
        if targets:
            return await self._through_alias(record, zone, answers, min(targets), steps)
        answers = await self._apart_from_wildcards(name, record.type, zone, answers)
        return await self._concluded(record, zone, answers)

    async def _below(self, finding: Finding) -> Served:
        referral = finding.reply
        names = [
            rr.value for rr in referral.authority if rr.type == "NS" and rr.name == finding.target
        ]
        return await self._finder.below(finding.target, names, referral)

    async def _through_alias(
        self, record: Record, zone: Served, answers: list[Answered], target: str, steps: int
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
                finding = replace(finding, verdict=verdict.DIFFERS)
            judged.append(replace(answer, finding=finding))
        if found.verdict in (verdict.ABSENT, verdict.DIFFERS):
            judged = await self._apart_from_wildcards(record.name, record.type, zone, judged)
        held = await self._concluded(record, zone, judged)
        told = f"CNAME to {target}" + (f": {found.detail}" if found.detail else "")
        return replace(
            held,
            detail=told if held.verdict == verdict.RIGHT else held.detail or told,
            servers=(*held.servers, *found.servers),
            negative_ttl=_longest(held.negative_ttl, found.negative_ttl),
        )

    async def _zone_of_target(self, answers: list[Answered], target: str) -> Served:
        try:
            if not target:
                raise DnsError("nothing is at the root")
            return await self._finder.zone_of(_known_above(target, self._dns))
        except NoLibrary:
            raise
        except DnsError as error:
            server = next(a.server for a in answers if a.finding.target == target)
            raise DnsError(f"{server} shows a CNAME to {target or '.'}, and {error}") from None

    async def _concluded(self, record: Record, zone: Served, answers: list[Answered]) -> Checked:
        result = verdict.overall(answer.finding.verdict for answer in answers)
        if result == verdict.DISAGREES:
            answers = await self._with_serials(zone, answers)
        wrong = [answer for answer in answers if answer.finding.verdict != verdict.RIGHT]
        negative = _longest(*(answer.finding.negative_ttl for answer in wrong))
        if negative is None and self._zone_times:
            negative = await self._finder.negative_ttl_of(zone)
        return Checked(
            record,
            result,
            _advice(answers) if result == verdict.RIGHT else _listed(wrong),
            zone.name,
            tuple(answers),
            negative,
        )

    async def _ask_all(self, record: Record, name: str, zone: Served) -> list[Answered]:
        asked = message.question(name, record.type)
        known = [(server, place) for server in zone.nameservers for place in server.places]
        found = await asyncio.gather(
            *(self._ask(record, name, zone.name, place, asked) for _, place in known)
        )
        answers = [
            Answered(server.name, str(place), finding)
            for (server, place), finding in zip(known, found, strict=True)
        ]
        return answers + [_not_asked(server) for server in zone.nameservers if not server.places]

    async def _ask(
        self, record: Record, name: str, zone: str, place: Place, asked: bytes
    ) -> Finding:
        async def over(transport: str) -> Finding:
            try:
                reply = await self._exchange.ask(place, asked, transport)
            except NoAnswer as error:
                return verdict.of_failure(error)
            return verdict.judge(record, name, zone, reply)

        return verdict.both(*await asyncio.gather(over("udp"), over("tcp")))

    async def _apart_from_wildcards(
        self, name: str, rtype: str, zone: Served, answers: list[Answered]
    ) -> list[Answered]:
        """
        The answers, with those that a wildcard gives taken for what they are: nothing is at the
        name. Then a name beside it that nobody has made shows the same.
        """
        if name == zone.name:
            return answers
        places = {str(place): place for server in zone.nameservers for place in server.places}
        beside = message.question(f"{secrets.token_hex(8)}.{name.partition('.')[2]}", rtype)

        async def judged(answer: Answered) -> Answered:
            finding = answer.finding
            if not (finding.shown or finding.target) or finding.verdict not in _MAYBE_BY_WILDCARD:
                return answer
            try:
                reply = await self._exchange.ask_fully(places[answer.address], beside)
            except NoAnswer:
                return answer
            if not _is_alike(finding, reply):
                return answer
            return replace(answer, finding=verdict.by_wildcard(finding))

        return list(await asyncio.gather(*map(judged, answers)))

    async def _with_serials(self, zone: Served, answers: list[Answered]) -> list[Answered]:
        """The answers with each server's serial, and who lags behind said so."""
        places = {str(place): place for server in zone.nameservers for place in server.places}
        serials = dict(
            zip(
                places,
                await asyncio.gather(*(self._serial(zone.name, p) for p in places.values())),
                strict=True,
            )
        )
        newest = None
        for serial in serials.values():
            if serial is not None and (newest is None or _is_newer(serial, newest)):
                newest = serial
        return [_with_serial(answer, serials.get(answer.address), newest) for answer in answers]

    async def _serial(self, zone: str, place: Place) -> int | None:
        try:
            reply = await self._exchange.ask(place, message.question(zone, "SOA"))
        except NoAnswer:
            return None
        soa = reply.soa()
        return None if soa is None or soa.name != zone else soa.value.serial

    async def _validated(self, found: Checked) -> Checked:
        """
        What the validating resolver makes of a record that every server has. A failure of DNSSEC
        is one that goes away where checking is disabled: RFC 4035, section 5.5.
        """
        record = found.record
        try:
            reply = await self._resolved(record, True)
            if reply.rcode == "SERVFAIL":
                unchecked = await self._resolved(record, False)
                if unchecked.rcode == "NOERROR":
                    detail = f"{self._validator} refuses the answer, and has it without validation"
                    return replace(found, verdict=verdict.BOGUS, detail=detail, validator="bogus")
                return replace(found, validator="it answers SERVFAIL, also without validation")
        except NoAnswer as error:
            return replace(found, validator=str(error))
        if reply.rcode not in ("NOERROR", "NXDOMAIN"):
            return replace(found, validator=f"it answers {reply.rcode}")
        if reply.rcode != "NOERROR" or not reply.answer:
            # What it remembers from before is no fault of the servers.
            return replace(found, validator="it still remembers that there was no record")
        said = "validated" if reply.authenticated else "the zone is not signed"
        return replace(found, validator=said)

    async def _resolved(self, record: Record, validate: bool) -> message.Reply:
        asked = message.question(
            record.name, record.type, recurse=True, validate=validate, signed=True
        )
        return await self._exchange.ask_fully(self._validator, asked)


def start_of(record: Record, dns: Dns) -> str:
    """A name above the record's, or its own, that exists: its zone is looked for from there."""
    return configured_zone(dns, record.name) or record.zone or record.domain


def _known_above(name: str, dns: Dns) -> str:
    # Whether the target of a stranger's alias exists is not known. Its last two labels do, where
    # the name is anybody's; the servers of the zone that is found there refer to those below.
    return configured_zone(dns, name) or ".".join(name.split(".")[-2:])


def _longest(*seconds: int | None) -> int | None:
    return max((one for one in seconds if one is not None), default=None)


_MAYBE_BY_WILDCARD = (verdict.ABSENT, verdict.DIFFERS, verdict.SEVERAL)


def _is_alike(finding: Finding, reply: message.Reply) -> bool:
    if not reply.answer:
        return False
    beside = reply.answer[0].name
    if finding.target:
        return reply.values(beside, "CNAME") == [finding.target]
    shown = {rr.value for rr in reply.answer if rr.name == beside and rr.type != "CNAME"}
    aliases = set(reply.values(beside, "CNAME"))
    return set(finding.shown) in (shown, aliases)


def _not_asked(server: Nameserver) -> Answered:
    found = verdict.LAME if server.leads_nowhere else verdict.SILENT
    return Answered(server.name, "", Finding(found, server.problem))


def _listed(answers: Sequence[Answered]) -> str:
    return "; ".join(dict.fromkeys(_said(answer) for answer in answers))


def _advice(answers: Sequence[Answered]) -> str:
    """What there is to say of servers where the record is right: once, where all say the same."""
    details = {answer.finding.detail for answer in answers}
    if len(details) == 1:
        return details.pop()
    said = _listed([answer for answer in answers if answer.finding.detail])
    if any(answer.finding.verdict == verdict.LAME and answer.address for answer in answers):
        said += (
            "; resolvers pass over lame servers: have them serve the zone, or take them out of it"
        )
    return said


def _unchecked(record: Record, deadline: float) -> Checked:
    return Checked(record, verdict.UNCHECKED, f"not within {deadline:g} s (dkim:dns:deadline)")


def _said(answer: Answered) -> str:
    where = f" ({answer.address})" if answer.address not in ("", answer.server) else ""
    detail = f": {answer.finding.detail}" if answer.finding.detail else ""
    return f"{answer.server}{where}: {answer.finding.verdict}{detail}"


def _with_serial(answer: Answered, serial: int | None, newest: int | None) -> Answered:
    finding = answer.finding
    if serial is not None and serial != newest and finding.verdict != verdict.RIGHT:
        text = f"it lags behind: its serial is {serial}, the newest {newest}"
        finding = replace(finding, detail=f"{finding.detail}; {text}" if finding.detail else text)
    return replace(answer, finding=finding, serial=serial)


def _is_newer(one: int, other: int) -> bool:
    """Source: RFC 1982, section 3.2."""
    return one != other and (one - other) % 2**32 < 2**31


def wrong(checked: Iterable[Checked]) -> list[Checked]:
    """Those that are not right."""
    return [one for one in checked if one.verdict != verdict.RIGHT]
