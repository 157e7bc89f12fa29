"""Providers of octoDNS, each in its own process with a deadline."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from ...errors import ConcurrentChange, DnsError, UncertainUpdate
from ...records.record import innermost_zone, is_inside
from ...secret import Secret
from ...settings.dns_providers import PLAIN_ARGUMENTS
from ...settings.model import ApiProvider, Dns
from ..steps import Present, Step
from .provider import BatchProvider, Change, ChangeResult, in_quotes, kept_values

# -I keeps the working directory and PYTHONPATH from providing other modules of these names. The
# process gets the module path of Salt's Python instead.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from dkim_formula.dns.providers import octodns_plan; octodns_plan.main()"
)
_READ_SIZE = 65536
# Seconds that a change may take beyond the deadline. Some providers replace the texts of a name by
# two requests, and the name has no texts in between (octodns-gandi, octodns-ovh, octodns-hetzner).
_GRACE = 60


class OctodnsProvider(BatchProvider):
    """
    One provider of ``dkim:dns:providers``.

    deadline
        The time by ``time.monotonic`` at which the provider's process is stopped. After it no
        change begins, and a change in progress gets :data:`_GRACE` seconds to end.
    limit
        The length of the deadline in seconds, for error texts.
    """

    def __init__(self, settings: ApiProvider, deadline: float, limit: int):
        self._settings = settings
        self._deadline = deadline
        self._limit = limit
        self._process: subprocess.Popen[bytes] | None = None
        self._failure: str | None = None
        # Until when a change in progress may take.
        self._change_end: float | None = None
        self._unread = b""
        self._zones: list[str] | object | None = _NOT_ASKED
        self._read: dict[str, dict[str, object]] = {}

    def __str__(self) -> str:
        return f"provider {self._settings.name} ({self._settings.class_path})"

    def close(self) -> None:
        """End the process, after a change in progress."""
        if self._process is None:
            return
        process, self._process = self._process, None
        if self._change_end is not None:
            left = min(self._change_end - time.monotonic(), _GRACE)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=max(0, left))
        process.kill()
        process.communicate()

    def start(self) -> None:
        """Start the process and create the provider. Raises DnsError, also for wrong settings."""
        if self._process is None:
            self._start_process()

    def zone_of(self, name: str) -> str | None:
        """Return the provider's longest zone that contains a name; None if zones are not listed."""
        if self._zones is _NOT_ASKED:
            self._zones = self._ask("zones")["zones"]
        if self._zones is None:
            return None
        found = innermost_zone(name, self._zones)
        if found is None:
            raise DnsError(f"{self}: the provider has no zone that {name} is in")
        return found

    def load(self, names: Sequence[tuple[str, str]]) -> None:
        """Read the records at some names, with one request for each zone."""
        zones: dict[str, list[str]] = {}
        for zone, name in names:
            zones.setdefault(zone, []).append(name)
        for zone, in_zone in zones.items():
            try:
                self._read[zone] = self._ask("read", zone=zone, names=in_zone)
            except DnsError as error:
                self._read[zone] = {"problem": str(error)}

    def present(self, zone: str, name: str) -> Present:
        """Return the TXT records at a loaded name."""
        read = self._read[zone]
        if "problem" in read:
            raise DnsError(read["problem"])
        if not read["exists"]:
            raise DnsError(
                f"{self}: the provider has no zone {zone}, and the formula does not create zones; "
                "create it at the provider, or set the right zone in dkim:dns:zones"
            )
        cut = next((below for below in read["cuts"] if is_inside(name, below)), None)
        if cut is not None:
            raise DnsError(
                f"{self}: {name} is in the zone {cut}, which other servers serve (NS in {zone}); "
                f"set dkim:dns:zones:{cut}:publish to the method for that zone"
            )
        return _present(read["records"][name])

    def send(self, changes: Sequence[Change]) -> Iterator[tuple[int, ChangeResult]]:
        """Apply changes, with one plan of octoDNS for each zone."""
        return self._results(changes, is_sent=True)

    def preview(self, changes: Sequence[Change]) -> Iterator[tuple[int, ChangeResult]]:
        """Yield what :meth:`send` would yield, by octoDNS's own plan of each zone."""
        return self._results(changes, is_sent=False)

    def _results(
        self, changes: Sequence[Change], is_sent: bool
    ) -> Iterator[tuple[int, ChangeResult]]:
        zones: dict[str, list[int]] = {}
        for position, change in enumerate(changes):
            zones.setdefault(change.zone, []).append(position)
        for zone, positions in zones.items():
            steps = [changes[position].step for position in positions]
            wire = [self._request_of(zone, step) for step in steps]
            try:
                done = self._ask("plan", zone=zone, changes=wire)
                if is_sent and done["changed"]:
                    done |= self._apply()
            except DnsError as error:
                for position in positions:
                    yield position, ChangeResult(error=_with_others(error, changes[position]))
                continue
            for position, step in zip(positions, steps, strict=True):
                yield position, self._result(step.name, done)

    def _apply(self) -> dict[str, object]:
        """Apply the plan that was made last. The change may take longer than the deadline."""
        self._change_end = self._deadline + _GRACE
        done = self._ask("apply")
        self._change_end = None
        return done

    def _result(self, name: str, done: dict[str, object]) -> ChangeResult:
        if name in done["conflicts"]:
            text = "the records at this name changed during the update; run again"
            return ChangeResult(error=ConcurrentChange(f"{self}: {text}"))
        if name not in done["changed"]:
            return ChangeResult(is_needless=True)
        records = done.get("records")
        return ChangeResult(present=None if records is None else _present(records[name]))

    def _request_of(self, zone: str, step: Step) -> dict[str, object]:
        shown = self._read[zone]["records"][step.name].get("TXT")
        gone = {value for value in (shown or {}).get("values", ()) if _octets(value) in step.delete}
        return {
            "name": step.name,
            "ttl": None if step.add is None else step.ttl,
            "remove": sorted(gone),
            "add": None if step.add is None else step.add.decode().replace(";", "\\;"),
            "expected": shown,
        }

    def _ask(self, what: str, **request: object) -> dict[str, object]:
        if self._failure is not None:
            raise DnsError(self._failure)
        if self._process is None:
            self._start_process()
        return self._answer(what, request)

    def _start_process(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _START, json.dumps([*map(str, sys.path)])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._answer(
                "start",
                {
                    "name": self._settings.name,
                    "class_path": self._settings.class_path,
                    "arguments": _revealed(self._settings.arguments),
                    "plain": PLAIN_ARGUMENTS,
                },
            )
        except DnsError as error:
            # A provider that could not be created is not asked again.
            self._failure = str(error)
            raise

    def _answer(self, what: str, request: dict[str, object]) -> dict[str, object]:
        line = json.dumps({"do": what, **request}) + "\n"
        try:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
            answer = json.loads(self._read_line())
        except (BrokenPipeError, EOFError):
            self._fail(f"{self}: its process ended without an answer", what)
        except TimeoutError:
            self._fail(
                f"{self}: no answer within {self._limit} s (dkim:dns:deadline): the provider is "
                "slow, down, or limits the rate; run again, or set a longer deadline",
                what,
            )
        if "error" in answer:
            self._change_end = None
            text = f"{self}: {answer['error']}"
            if what == "start" and not answer["is_settings"]:
                raise DnsError(text)
            if answer["may_have_applied"]:
                raise UncertainUpdate(f"{text}; the provider may have applied the change before")
            raise (_SettingsError if what == "start" else DnsError)(text)
        return answer

    def _fail(self, text: str, what: str) -> None:
        self._failure = text
        self.close()
        if what == "apply":
            raise UncertainUpdate(f"{text}; the provider may have applied the change before")
        raise DnsError(text)

    def _read_line(self) -> bytes:
        """Return the next line of the process. Raises EOFError; TimeoutError at the deadline."""
        end = self._deadline if self._change_end is None else self._change_end
        stdout = self._process.stdout.fileno()
        while b"\n" not in self._unread:
            left = end - time.monotonic()
            if left <= 0 or not select.select([stdout], [], [], left)[0]:
                raise TimeoutError
            part = os.read(stdout, _READ_SIZE)
            if not part:
                raise EOFError
            self._unread += part
        line, _, self._unread = self._unread.partition(b"\n")
        return line


class _SettingsError(DnsError):
    """Settings of a provider that its class rejects."""


_NOT_ASKED = object()


def settings_problems(dns: Dns) -> list[str]:
    """
    Return the problems that the providers' own classes find in the settings. A provider whose
    package is not installed yet is skipped: the state dkim.python installs the package.
    """
    problems = []
    for settings in dns.providers.values():
        provider = OctodnsProvider(settings, time.monotonic() + dns.deadline, dns.deadline)
        with contextlib.closing(provider):
            try:
                provider.start()
            except _SettingsError as error:
                problems.append(f"dkim:dns:providers:{settings.name}: {error}")
            except DnsError:
                # The class contacts the provider at once, so the settings can't be checked here.
                continue
    return problems


def _present(shown: dict[str, object]) -> Present:
    if "CNAME" in shown:
        return Present(alias=shown["CNAME"])
    records = shown.get("TXT")
    if records is None:
        return Present()
    return Present(tuple(dict.fromkeys(map(_octets, records["values"]))), records["ttl"])


def _with_others(error: DnsError, change: Change) -> DnsError:
    """Return an error with the other texts at a name that an unfinished change may have removed."""
    others = kept_values(change)
    if not others or not isinstance(error, UncertainUpdate):
        return error
    return UncertainUpdate(
        f"{error}; compare the other texts that the name had before, and restore what is gone: "
        f"{in_quotes(others)} (TTL {change.present.ttl})"
    )


def _octets(value: str) -> bytes:
    """Return the octets of a value, in which octoDNS escapes every semicolon."""
    return value.replace("\\;", ";").encode("utf-8", "surrogateescape")


def _revealed(value: object) -> object:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, dict):
        return {key: _revealed(below) for key, below in value.items()}
    if isinstance(value, list):
        return [_revealed(one) for one in value]
    return value
