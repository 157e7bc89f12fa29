"""
The process for one provider of octoDNS.

Providers wait on their own if an API limits their rate (Cloudflare's: four times five minutes), and
log what they send. A separate process can be stopped at any time, does not use Salt's loggers, and
leaves no modules imported. It reads one JSON request per line from standard input, and writes one
answer per line to standard output. Requests: ``start``, ``zones``, ``read``, ``plan`` and
``apply``.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import json
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, TextIO

from .octodns_errors import Log, NotInstalled, Redactor, Refused, reason
from .octodns_metadata import keep_metadata

if TYPE_CHECKING:
    from octodns.provider.base import BaseProvider
    from octodns.provider.plan import Plan
    from octodns.record import Record
    from octodns.zone import Zone

# These arguments stop a provider from retrying on its own: a run has a deadline, and the next run
# continues.
NO_RETRIES = {"retry_count": 0, "retries": 0}
_UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'")
# Seconds to wait before a changed zone is read again.
_WAITS = (0.5, 1, 2)


class Service:
    """
    One provider.

    A provider may cache a zone that it has read. Each read uses an instance that has not read the
    zone yet.
    """

    def __init__(self, name: str, class_path: str, arguments: Mapping[str, object]):
        self._name = name
        self._class = provider_class(class_path)
        self._arguments = arguments
        self._instances: list[tuple[BaseProvider, set[str]]] = []
        self._zones: list[str] | None = None
        self._planned: tuple[str, BaseProvider, Plan | None, Sequence[dict]] | None = None
        self.may_have_applied = False
        self._unread_provider("")

    def zones(self) -> list[str] | None:
        """Return the names of the provider's zones; None if the provider does not list them."""
        provider = self._instances[0][0]
        try:
            found = provider.list_zones()
        except (AttributeError, NotImplementedError):
            return None
        self._zones = [name.rstrip(".").lower() for name in found]
        return self._zones

    def read(self, zone: str, names: Sequence[str]) -> dict[str, object]:
        """Return the zone's records at some names, and the names of the zones below."""
        found = _empty(zone)
        provider = self._unread_provider(zone)
        exists = self._has(zone, provider.populate(found, target=True, lenient=True))
        cuts = [_full_name(one) for one in found.records if one._type == "NS" and one.name]
        return {"exists": exists, "records": _records_at(found, names), "cuts": cuts}

    def plan(self, zone: str, changes: Sequence[dict[str, object]]) -> dict[str, object]:
        """Plan changes to a zone, and return the names that :meth:`apply` would change."""
        provider = self._unread_provider(zone)
        plan, conflicts = self._plan(provider, zone, changes)
        self._planned = (zone, provider, plan, changes)
        return {"changed": _changed(plan), "conflicts": conflicts}

    def apply(self) -> dict[str, object]:
        """Apply the last plan, which has changes, and return the records at its names."""
        zone, provider, plan, changes = self._planned
        self.may_have_applied = True
        provider.apply(plan)
        after = self._after(zone, changes, _changed(plan))
        self.may_have_applied = False
        return {"records": after}

    def _after(
        self, zone: str, changes: Sequence[dict[str, object]], changed: Sequence[str]
    ) -> dict[str, dict[str, object]]:
        """Return the zone's records now. Some APIs show a change with a delay (Hetzner's)."""
        before = {change["name"]: change["expected"] for change in changes}
        for wait in (*_WAITS, None):
            records = self.read(zone, list(before))["records"]
            is_old = any(records[name].get("TXT") == before[name] for name in changed)
            if not is_old or wait is None:
                return records
            time.sleep(wait)
        raise AssertionError("unreachable")

    def _plan(
        self, provider: BaseProvider, zone: str, changes: Sequence[dict[str, object]]
    ) -> tuple[Plan | None, list[str]]:
        processor = _processor(changes)
        plan = provider.plan(_empty(zone), processors=[processor], lenient=True)
        if plan is None:
            return None, processor.conflicts
        if not self._has(zone, plan.exists):
            # octoDNS creates a missing zone (measured with octodns-powerdns 1.2).
            raise Refused(f"the provider has no zone {zone}")
        plan.exists = True
        names = {(change["name"], "TXT") for change in changes}
        others = [one for one in plan.changes if _name_and_type(one.record) not in names]
        if others or getattr(plan, "meta", None):
            shown = ", ".join(" ".join(_name_and_type(one.record)) for one in others[:5])
            raise Refused(
                "octoDNS's plan changes more than the formula's names, so nothing was changed: "
                + (shown or "settings of the zone")
            )
        return plan, processor.conflicts

    def _has(self, zone: str, is_found: bool | None) -> bool:
        """Return whether a zone exists. octodns-cloudflare 1.2 does not find an empty zone."""
        if is_found:
            return True
        return zone in (self._zones or self.zones() or ())

    def _unread_provider(self, zone: str) -> BaseProvider:
        for provider, read in self._instances:
            if zone not in read:
                read.add(zone)
                return provider
        provider = new_provider(self._class, self._name, self._arguments)
        keep_metadata(provider)
        self._instances.append((provider, {zone} if zone else set()))
        return provider


def provider_class(path: str) -> type[BaseProvider]:
    """Return a class of octoDNS by module and name. Raises Refused."""
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name, None)
        base = importlib.import_module("octodns.provider.base").BaseProvider
    except ImportError as error:
        missing = error.name or module
        raise NotInstalled(
            f"the Python package of {path} is not installed in the Python that runs Salt (it has "
            f"no module {missing}); apply the state dkim.python"
        ) from None
    if not (isinstance(found, type) and issubclass(found, base)):
        raise Refused(
            f"{path} is not a provider of octoDNS; use the class name that its package documents"
        )
    return found


def new_provider(
    kind: type[BaseProvider], name: str, arguments: Mapping[str, object]
) -> BaseProvider:
    """
    Return a new provider. Raises Refused for unknown and for missing arguments. A class may read
    arguments from ``**kwargs`` (octodns-hetzner 2.0), so the signature does not show all of them.
    """
    known, required = _parameters(kind)
    missing = [one for one in required if one not in arguments]
    if missing:
        raise Refused(f"{kind.__name__} needs the argument {' and '.join(missing)}")
    defaults = {key: value for key, value in NO_RETRIES.items() if key in known}
    try:
        return kind(name, **{**defaults, **arguments})
    except TypeError as error:
        unknown = _UNEXPECTED.search(str(error))
        if unknown is None:
            raise
        near = difflib.get_close_matches(unknown[1], known, 1)
        hint = f"did you mean {near[0]}?" if near else f"known arguments: {', '.join(known)}"
        raise Refused(f"{kind.__name__} has no argument {unknown[1]}; {hint}") from None


def _parameters(kind: type) -> tuple[list[str], list[str]]:
    """Return the names of all arguments of a class and its bases, and of the required ones."""
    known: dict[str, None] = {}
    for one in kind.__mro__:
        if one is not object and "__init__" in vars(one):
            known |= dict.fromkeys(_named_parameters(one))
    required = [name for name, one in _named_parameters(kind).items() if one.default is one.empty]
    return list(known), required


def _named_parameters(kind: type) -> dict[str, inspect.Parameter]:
    """Return the named parameters of a constructor, without self and id."""
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {one.name: one for one in parameters if one.kind in by_name and one.name != "id"}


def _processor(changes: Sequence[dict[str, object]]):
    """
    Return a processor of octoDNS that derives the desired zone from the existing one. So no other
    source of octoDNS can add to a change.
    """
    from octodns.processor.base import BaseProcessor

    class DkimProcessor(BaseProcessor):
        def __init__(self):
            super().__init__("dkim")
            self.conflicts: list[str] = []

        def process_source_and_target_zones(self, _desired, existing, target, lenient=False):
            desired = existing.copy()
            for change in changes:
                current = _txt(desired, change["name"])
                if _shown(current) != change["expected"]:
                    self.conflicts.append(change["name"])
                else:
                    _put(desired, current, change, target)
            return desired, existing

    return DkimProcessor()


def _put(zone: Zone, current: Record | None, change: Mapping[str, object], source) -> None:
    from octodns.record import Record

    kept = [] if current is None else [v for v in current.values if v not in change["remove"]]
    if change["add"] is None and not kept:
        if current is not None:
            zone.remove_record(current)
        return
    ttl = current.ttl if change["add"] is None else change["ttl"]
    # The settings of a provider for the name, such as a comment.
    settings = {} if current is None else deepcopy(current.octodns)
    if not kept:
        # Cloudflare's automatic TTL would override the TTL of the formula's own record.
        settings.get("cloudflare", {}).pop("auto-ttl", None)
    data = {"type": "TXT", "ttl": ttl, "values": [change["add"] or ""], "octodns": settings}
    record = Record.new(zone, _relative(zone, change["name"]), data, source=source, lenient=True)
    # Other values are written back as the same objects that were read: octoDNS removes quotes from
    # a value that it creates anew.
    record.values = sorted([*kept, *(record.values if change["add"] is not None else [])])
    zone.add_record(record, replace=True, lenient=True)


def _empty(zone: str) -> Zone:
    from octodns.zone import Zone

    return Zone(f"{zone}.", [])


def _relative(zone: Zone, name: str) -> str:
    return f"{name}.".removesuffix(zone.name).removesuffix(".")


def _txt(zone: Zone, name: str) -> Record | None:
    relative = _relative(zone, name)
    found = (one for one in zone.records if one._type == "TXT" and one.name == relative)
    return next(found, None)


def _shown(record: Record | None) -> dict[str, object] | None:
    if record is None:
        return None
    return {"ttl": record.ttl, "values": sorted(str(value) for value in record.values)}


def _records_at(zone: Zone, names: Sequence[str]) -> dict[str, dict[str, object]]:
    by_relative = {_relative(zone, name): name for name in names}
    found: dict[str, dict[str, object]] = {name: {} for name in names}
    for one in zone.records:
        if one.name in by_relative and one._type == "TXT":
            found[by_relative[one.name]]["TXT"] = _shown(one)
        elif one.name in by_relative and one._type == "CNAME":
            found[by_relative[one.name]]["CNAME"] = str(one.value).rstrip(".").lower()
    return found


def _full_name(record: Record) -> str:
    return record.fqdn.rstrip(".").lower()


def _name_and_type(record: Record) -> tuple[str, str]:
    return _full_name(record), record._type


def _changed(plan: Plan | None) -> list[str]:
    return [] if plan is None else [_full_name(one.record) for one in plan.changes]


def serve(requests: TextIO, answers: TextIO, log: Log) -> None:
    """Carry out requests until the input ends."""
    service, redact = None, Redactor({}, ())
    for line in requests:
        request = json.loads(line)
        what = request.pop("do")
        log.lines = []
        try:
            if what == "start":
                redact = Redactor(request["arguments"], request.pop("plain"))
                service, answer = Service(**request), {}
            elif what == "zones":
                answer = {"zones": service.zones()}
            else:
                answer = getattr(service, what)(**request)
        except Exception as error:
            answer = {
                "error": reason(error, log.lines, redact),
                "is_settings": not isinstance(error, NotInstalled | OSError),
                "may_have_applied": service is not None and service.may_have_applied,
            }
            if service is not None:
                service.may_have_applied = False
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main() -> None:
    """Serve on this process's streams. Discard what libraries print."""
    # A signal to the whole process group would stop a change between its two requests. The process
    # ends when its input ends, or when it is killed.
    for one in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    log = Log()
    logging.getLogger().handlers = [log]
    logging.getLogger().setLevel(logging.WARNING)
    serve(sys.stdin, answers, log)
