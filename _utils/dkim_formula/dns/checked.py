"""Results of a check: the verdict on one record, and the finding for each server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..records.record import Record
from . import verdict
from .verdict import Finding, printable
from .zones import Nameserver


@dataclass(frozen=True)
class Answered:
    """One server's finding. ``serial`` is the zone's serial, read where the servers differ."""

    server: str
    address: str
    finding: Finding
    serial: int | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the data for a function's return."""
        data = {
            "server": self.server,
            "address": self.address,
            "verdict": self.finding.verdict,
            "detail": self.finding.detail,
            "ttl": self.finding.ttl,
            "shown": self._shown(),
        }
        return data if self.serial is None else {**data, "serial": self.serial}

    def _shown(self) -> list[str]:
        # A text of an ``ok`` server is long and equals the desired value.
        is_ok = self.finding.verdict == verdict.OK
        return [] if is_ok else [printable(value) for value in self.finding.shown]


@dataclass(frozen=True)
class Checked:
    """
    The verdict on one record. The ``detail`` of an ``ok`` record is advice, such as a different
    spelling of the record or a server that resolvers have to skip.

    negative_ttl
        How long resolvers may cache that the record is missing, in seconds. Known where the record
        is missing, and with ``zone_times`` always if a server answers.
    validator
        The result of the validating resolver, where one is set and all servers are ``ok``.
    is_gone
        Whether every answering server of the parent zone says that the domain does not exist.
    """

    record: Record
    verdict: str
    detail: str = ""
    zone: str | None = None
    servers: tuple[Answered, ...] = ()
    negative_ttl: int | None = None
    validator: str | None = None
    is_gone: bool = False

    def to_dict(self) -> dict[str, object]:
        """Return the data for a function's return."""
        record = self.record
        return {
            "name": record.name,
            "type": record.type,
            "purpose": record.purpose,
            "domain": record.domain,
            "selector": record.selector,
            "value": record.value,
            "verdict": self.verdict,
            "detail": self.detail,
            "zone": self.zone,
            "negative_ttl": self.negative_ttl,
            "validator": self.validator,
            "servers": [server.to_dict() for server in self.servers],
        }


def not_ok(checked: Iterable[Checked]) -> list[Checked]:
    """Return the checks that are not ``ok``."""
    return [one for one in checked if one.verdict != verdict.OK]


def not_asked(server: Nameserver) -> Answered:
    """Return the finding for a server without a usable address."""
    found = verdict.LAME if server.has_no_address else verdict.NO_ANSWER
    return Answered(server.name, "", Finding(found, server.problem))


def past_deadline(record: Record, deadline: float) -> Checked:
    """Return the result for a record without a result at the deadline."""
    return Checked(record, verdict.UNCHECKED, f"not within {deadline:g} s (dkim:dns:deadline)")


def joined(answers: Sequence[Answered]) -> str:
    """Return the text of all answers, equal texts once."""
    return "; ".join(dict.fromkeys(_text(answer) for answer in answers))


def advice_of(answers: Sequence[Answered]) -> str:
    """Return the advice on an ``ok`` record: one text where all servers have the same advice."""
    details = {answer.finding.detail for answer in answers}
    if len(details) == 1:
        return details.pop()
    advice = joined([answer for answer in answers if answer.finding.detail])
    if any(answer.finding.verdict == verdict.LAME and answer.address for answer in answers):
        advice += (
            "; resolvers pass over lame servers: let them serve the zone, or remove their NS "
            "records"
        )
    return advice


def _text(answer: Answered) -> str:
    where = f" ({answer.address})" if answer.address not in ("", answer.server) else ""
    detail = f": {answer.finding.detail}" if answer.finding.detail else ""
    return f"{answer.server}{where}: {answer.finding.verdict}{detail}"
