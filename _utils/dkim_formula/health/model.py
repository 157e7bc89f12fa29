"""The input of a health check (the host) and its output (findings and samples)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from typing import NamedTuple

from ..keys import removed_domains
from ..keys.removed_domains import Orphans
from ..postfix.main_cf import POSTCONF
from ..postfix.milter_addresses import ManagedMilters
from ..settings.lookup import names
from ..settings.model import Settings
from ..signer.daemons import Daemon, daemon, daemons
from ..text import timestamp as utc_text

SYSTEMD_RUNS = "/run/systemd/system"  # sd_booted(3)
OPENDKIM = "/usr/sbin/opendkim"
MAIN_CF = "/etc/postfix/main.cf"

NO_OPENDKIM = "OpenDKIM is not installed on this machine"
NO_POSTFIX = "Postfix is not installed on this machine"

STATES = ("standby", "pending", "active", "retired", "revoked")

# The number of names that a message lists at most.
NAMED = 5

# The number of items in a finding at most: a problem may concern a hundred thousand keys. The
# count of a finding is always complete.
MOST_ITEMS = 1000


@dataclass(frozen=True)
class Finding:
    """
    One result of a check.

    check
        The name of the check.
    subject
        The service, role or part that the finding is about. Empty for a check of one subject.
    ok
        True, False, or None where this machine cannot decide.
    message
        The observed state.
    remedy
        The repair, as a command where one exists.
    items
        The first of the affected keys, records or domains.
    count
        The number of all affected keys, records or domains.
    since
        The start of the problem, in seconds since the epoch, where it is known.
    """

    check: str
    subject: str
    ok: bool | None
    message: str
    remedy: str = ""
    items: tuple[str, ...] = ()
    count: int = 0
    since: float | None = None

    @property
    def name(self) -> str:
        """The name of the check, and the subject."""
        return f"{self.check} {self.subject}".strip()

    def to_dict(self) -> dict[str, object]:
        """Return the finding as data, with the time as ISO 8601 text."""
        since = None if self.since is None else timestamp(self.since)
        return {**asdict(self), "items": list(self.items), "since": since}


class Sample(NamedTuple):
    """A value of a metric."""

    metric: str
    value: float
    labels: Mapping[str, str] = {}


@dataclass(frozen=True)
class Results:
    """The findings and samples of some checks, with their time in seconds since the epoch."""

    at: float
    findings: tuple[Finding, ...] = ()
    samples: tuple[Sample, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Return the results as data for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping) -> Results:
        """Return results from their JSON data. Raises TypeError, KeyError, ValueError."""
        findings = (Finding(**{**one, "items": tuple(one["items"])}) for one in data["findings"])
        samples = (Sample(*one) for one in data["samples"])
        return cls(float(data["at"]), tuple(findings), tuple(samples))

    def is_down(self, what: str) -> bool:
        """Return whether ``what`` (``database`` or ``dns``) could not be used."""
        return any(one.metric == f"dkim_{what}_up" and not one.value for one in self.samples)


def right(check: str, message: str, subject: str = "") -> Finding:
    """Return the finding of a check that passed."""
    return Finding(check, subject, True, message)


def wrong(check: str, message: str, remedy: str, subject: str = "", **more: object) -> Finding:
    """Return the finding of a problem, with its remedy."""
    return Finding(check, subject, False, message, remedy, **{"count": 1, **more})


def unknown(
    check: str, message: str, remedy: str = "", subject: str = "", **more: object
) -> Finding:
    """Return a finding that this machine cannot decide, or whose state may be intended."""
    return Finding(check, subject, None, message, remedy, **more)


def judged(
    check: str, problems: Iterable[str], passed: str, remedy: str, subject: str = ""
) -> Finding:
    """Return a finding of all ``problems``, or without problems one with the message ``passed``."""
    found = list(problems)
    if found:
        return wrong(check, "; ".join(found), remedy, subject)
    return right(check, passed, subject)


def differences(changes: Mapping[str, Mapping[str, object]]) -> list[str]:
    """
    Return a text for each difference between what exists and what the formula would set.

    changes
        ``{what: {"old", "new"}}``; None is nothing.
    """
    return [_difference(what, one["old"], one["new"]) for what, one in changes.items()]


def _difference(what: str, old: object, new: object) -> str:
    if old is None:
        return f"{what}: {new!r} is missing"
    if new is None:
        return f"{what}: {old!r} is not desired"
    return f"{what}: {old!r} instead of {new!r}"


def applied(sls: str) -> str:
    """Return the command that applies an SLS of the formula."""
    return f"salt-call state.apply {sls}"


def timestamp(seconds: float) -> str:
    """Return a time as ISO 8601 text, in UTC."""
    return utc_text(datetime.fromtimestamp(seconds, timezone.utc))


def _no_service_runs(_service: str) -> bool:
    return False


def _unknown_time(_service: str) -> None:
    return None


@dataclass(frozen=True)
class Host:
    """
    The settings of the pillar, and what is installed on this machine.

    settings
        The settings of the pillar. A default replaces each invalid value.
    problems
        The errors of the pillar, one line each.
    runs
        A function that returns whether the service of a name runs.
    stopped_at
        A function that returns when a service ended, in seconds since the epoch, if it is known.
    domains_asked
        The number of domains whose records are looked up in DNS at most. None means all domains.
    """

    settings: Settings
    problems: tuple[str, ...] = ()
    runs: Callable[[str], bool] = field(default=_no_service_runs)
    domains_asked: int | None = None
    stopped_at: Callable[[str], float | None] = field(default=_unknown_time)

    @cached_property
    def lookup(self) -> Mapping[str, object]:
        """The names of packages, services and paths."""
        return names(self.settings.lookup)

    @cached_property
    def daemons(self) -> tuple[Daemon, ...]:
        """The desired daemons."""
        return daemons(self.settings, self.lookup)

    @cached_property
    def algorithms(self) -> frozenset[str]:
        """The algorithms of the keys that the desired daemons sign with."""
        return frozenset(daemon.algorithm for daemon in self.daemons)

    @cached_property
    def unused_milters(self) -> list[str]:
        """The milters of the daemons that are not desired."""
        every = [daemon(algorithm, self.lookup) for algorithm in ("rsa", "ed25519")]
        return [one.milter for one in every if one not in self.daemons]

    @cached_property
    def managed_milters(self) -> ManagedMilters:
        """The milters of the desired daemons."""
        return ManagedMilters([daemon.milter for daemon in self.daemons], queue=self.chroot)

    @cached_property
    def orphans(self) -> Orphans:
        """The keys whose domains are neither hosted nor in the pillar."""
        return removed_domains.read(self.settings)

    @property
    def user(self) -> str:
        """The account of the OpenDKIM daemons."""
        return str(self.lookup["opendkim_user"])

    @property
    def postfix_user(self) -> str:
        """The account of Postfix."""
        return str(self.lookup["postfix_user"])

    @property
    def chroot(self) -> str:
        """The queue directory of Postfix."""
        return str(self.lookup["postfix_chroot"])

    @property
    def systemd(self) -> bool:
        """Whether systemd runs this machine."""
        return os.path.isdir(SYSTEMD_RUNS)

    @property
    def has_opendkim(self) -> bool:
        """Whether OpenDKIM is installed, or the formula has set it up before."""
        return os.path.exists(OPENDKIM) or any(
            os.path.exists(self.unit_file(daemon)) for daemon in self.daemons
        )

    @property
    def has_postfix(self) -> bool:
        """Whether Postfix is installed."""
        return os.path.exists(POSTCONF)

    @property
    def had_postfix(self) -> bool:
        """Whether Postfix is installed, or its main.cf remains after its removal."""
        return self.has_postfix or os.path.exists(MAIN_CF)

    def unit_file(self, daemon: Daemon) -> str:
        """Return the path of the unit file or drop-in that the formula writes for a daemon."""
        unit = f"/etc/systemd/system/{daemon.service}.service"
        main = daemon.service == self.lookup["opendkim_service"]
        return f"{unit}.d/dkim-formula.conf" if main else unit
