"""A provider that calls the user's own program."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence

from ...errors import DnsError
from ...settings.model import Dns
from ..present_records import read_all
from ..program_file import check_file
from ..program_process import SHOWN, NotInTime, call
from ..query import run
from ..steps import Present
from .provider import BatchProvider, Change, ChangeResult, kept_values

FORMAT = 1


class CommandProvider(BatchProvider):
    """
    A program that gets all changes of one publication as JSON on its standard input. The program
    only writes. The formula reads the present records from the authoritative servers.

    deadline
        The time by ``time.monotonic`` at which the program is stopped.
    """

    def __init__(self, dns: Dns, deadline: float):
        self._dns = dns
        self._deadline = deadline
        self._read: dict[str, Present | DnsError] = {}

    def __str__(self) -> str:
        return f"program {self._dns.command}"

    def close(self) -> None:
        """Do nothing: no process runs between two calls."""

    def zone_of(self, name: str) -> str | None:
        """Return None: the program does not list its zones."""

    def load(self, names: Sequence[tuple[str, str]]) -> None:
        """Read the records at some names from the authoritative servers of their zones."""
        self._read = run(read_all(self._dns, {name: zone for zone, name in names}))

    def present(self, zone: str, name: str) -> Present:
        """Return the records at a loaded name. Raises DnsError."""
        found = self._read[name]
        if isinstance(found, DnsError):
            raise found
        return found

    def preview(self, changes: Sequence[Change]) -> Iterator[tuple[int, ChangeResult]]:
        """Check the program's file, and yield a result for each change. Starts no program."""
        return self._results(changes, dict)

    def send(self, changes: Sequence[Change]) -> Iterator[tuple[int, ChangeResult]]:
        """Start the program once with all changes."""
        document = {"format": FORMAT, "changes": [_to_dict(change) for change in changes]}
        return self._results(changes, lambda: self._refusals(json.dumps(document).encode()))

    def _results(
        self, changes: Sequence[Change], refusals: Callable[[], dict[str, str]]
    ) -> Iterator[tuple[int, ChangeResult]]:
        if not changes:
            return
        try:
            check_file(self._dns.command, "dkim:dns:command")
            refused = refusals()
        except DnsError as error:
            yield from ((position, ChangeResult(error=error)) for position in range(len(changes)))
            return
        for position, change in enumerate(changes):
            text = refused.get(f"{change.step.name} {change.step.type}")
            error = None if text is None else DnsError(f"{self}: {text}")
            yield position, ChangeResult(error=error)

    def _refusals(self, document: bytes) -> dict[str, str]:
        """Run the program and return the problems that it reports, by name and type."""
        limit = f"{self._dns.deadline} s (dkim:dns:deadline)"
        try:
            return _problems(call([self._dns.command], document, self._deadline, limit))
        except DnsError as error:
            addition = ""
            if isinstance(error, NotInTime):
                addition = "; some of the records may have been published"
            raise DnsError(f"{self}: {error}{addition}") from None


def _to_dict(change: Change) -> dict[str, object]:
    step = change.step
    kept = kept_values(change)
    values = [*kept, *([step.add] if step.add is not None and step.add not in kept else [])]
    return {
        "zone": change.zone,
        "name": step.name,
        "type": step.type,
        "ttl": step.ttl if step.add is not None else change.present.ttl if kept else None,
        "add": [] if step.add is None else [step.add.decode()],
        "remove": [_text(value) for value in step.delete if value != step.add],
        "values": [_text(value) for value in values],
    }


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _problems(output: bytes) -> dict[str, str]:
    """Return ``problems`` of the program's answer; none if the output is not such an answer."""
    try:
        reported = json.loads(output)["problems"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    if not isinstance(reported, dict):
        return {}
    return {str(name): " ".join(str(text).split())[:SHOWN] for name, text in reported.items()}
