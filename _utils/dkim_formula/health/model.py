"""What a check knows of the machine, and what it finds and measures."""

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
from ..postfix.milters import Ours
from ..settings.lookup import names
from ..settings.model import Settings
from ..signer.daemons import Daemon, daemon, daemons

SYSTEMD_RUNS = "/run/systemd/system"  # sd_booted(3)
OPENDKIM = "/usr/sbin/opendkim"
MAIN_CF = "/etc/postfix/main.cf"

NO_OPENDKIM = "OpenDKIM is not installed on this machine"
NO_POSTFIX = "Postfix is not installed on this machine"

STATES = ("standby", "pending", "active", "retired", "revoked")

# So many names stand in a sentence.
NAMED = 5

# A finding holds so many names of what may be a hundred thousand; its count is complete.
MOST_ITEMS = 1000


@dataclass(frozen=True)
class Finding:
    """
    One thing that a check found.

    check, subject
        The name of the check; which service, role or part it is about, '' where there is one alone.
    ok
        True, False, or None where nobody can tell from here.
    message, remedy
        What is there; what to do about it, as a command where there is one.
    items, count
        The keys, records or domains that are concerned, the first of them; and how many there are.
    since
        When the problem started, in seconds since the epoch, where that is known.
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
        """Its check and its subject."""
        return f"{self.check} {self.subject}".strip()

    def to_dict(self) -> dict[str, object]:
        """Return the data for a function's return: the time as ISO 8601 text."""
        since = None if self.since is None else timestamp(self.since)
        return {**asdict(self), "items": list(self.items), "since": since}


class Sample(NamedTuple):
    """One value of a metric."""

    metric: str
    value: float
    labels: Mapping[str, str] = {}


@dataclass(frozen=True)
class Results:
    """What some checks found and measured at one time, in seconds since the epoch."""

    at: float
    findings: tuple[Finding, ...] = ()
    samples: tuple[Sample, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Return data that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping) -> Results:
        """Return what :meth:`to_json` was made of. Raises TypeError, KeyError, ValueError."""
        findings = (Finding(**{**one, "items": tuple(one["items"])}) for one in data["findings"])
        samples = (Sample(*one) for one in data["samples"])
        return cls(float(data["at"]), tuple(findings), tuple(samples))

    def is_down(self, what: str) -> bool:
        """Whether the database, or DNS, could not be asked."""
        return any(one.metric == f"dkim_{what}_up" and not one.value for one in self.samples)


def right(check: str, message: str, subject: str = "") -> Finding:
    """Return a finding that all is well."""
    return Finding(check, subject, True, message)


def wrong(check: str, message: str, remedy: str, subject: str = "", **more: object) -> Finding:
    """Return a finding that something is wrong, and what to do."""
    return Finding(check, subject, False, message, remedy, **{"count": 1, **more})


def unknown(
    check: str, message: str, remedy: str = "", subject: str = "", **more: object
) -> Finding:
    """Return a finding that nobody can tell from here, or that may be meant."""
    return Finding(check, subject, None, message, remedy, **more)


def judged(
    check: str, problems: Iterable[str], well: str, remedy: str, subject: str = ""
) -> Finding:
    """Return a finding with all its problems, or one that all is well."""
    found = list(problems)
    if found:
        return wrong(check, "; ".join(found), remedy, subject)
    return right(check, well, subject)


def applied(sls: str) -> str:
    """Return the command that applies one SLS of the formula."""
    return f"salt-call state.apply {sls}"


def timestamp(seconds: float) -> str:
    """Return a time as ISO 8601 text, in UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")


def _none_runs(_service: str) -> bool:
    return False


@dataclass(frozen=True)
class Host:
    """
    The settings of the pillar, and what is installed on this machine.

    settings
        Where the pillar is wrong, defaults stand in.
    problems
        What is wrong with the pillar, a line each.
    runs
        Whether a service of that name runs.
    domains_asked
        The records of so many domains are looked up in DNS; None for all.
    """

    settings: Settings
    problems: tuple[str, ...] = ()
    runs: Callable[[str], bool] = field(default=_none_runs)
    domains_asked: int | None = None

    @cached_property
    def lookup(self) -> Mapping[str, object]:
        """Names of packages, services and paths."""
        return names(self.settings.lookup)

    @cached_property
    def daemons(self) -> tuple[Daemon, ...]:
        """The desired daemons."""
        return daemons(self.settings, self.lookup)

    @cached_property
    def unused_milters(self) -> list[str]:
        """Milters of daemons that are not desired."""
        every = [daemon(algorithm, self.lookup) for algorithm in ("rsa", "ed25519")]
        return [one.milter for one in every if one not in self.daemons]

    @cached_property
    def ours(self) -> Ours:
        """The milters of the desired daemons."""
        return Ours([daemon.milter for daemon in self.daemons], queue=self.chroot)

    @cached_property
    def orphans(self) -> Orphans:
        """The keys of domains that are neither hosted nor in the pillar."""
        return removed_domains.look(self.settings)

    @property
    def user(self) -> str:
        """The account of the daemons."""
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
        """Whether OpenDKIM is installed, or was when the formula set it up."""
        return os.path.exists(OPENDKIM) or any(
            os.path.exists(self.unit_file(daemon)) for daemon in self.daemons
        )

    @property
    def has_postfix(self) -> bool:
        """Whether Postfix is installed."""
        return os.path.exists(POSTCONF)

    @property
    def had_postfix(self) -> bool:
        """Whether Postfix is installed, or was removed without its configuration."""
        return self.has_postfix or os.path.exists(MAIN_CF)

    def unit_file(self, daemon: Daemon) -> str:
        """Return the file that the formula gives the daemon's unit."""
        unit = f"/etc/systemd/system/{daemon.service}.service"
        main = daemon.service == self.lookup["opendkim_service"]
        return f"{unit}.d/dkim-formula.conf" if main else unit
