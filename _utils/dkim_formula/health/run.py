"""The registry of checks, in the order of a message's way, and how they are run."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..errors import FormulaError
from ..settings.model import Monitoring, Settings
from ..text import listed
from . import (
    check_database,
    check_dns,
    check_keys,
    check_opendkim,
    check_postfix,
    check_signing,
    child,
)
from .model import NAMED, Finding, Host, Results, Sample, right, unknown, wrong

# What a check costs, and so who runs it. LOCAL takes milliseconds and leaves no line in a log: at
# each call. DATABASE and DNS: by their intervals, or the doctor. ACTIVE starts processes, acts as
# the daemon does, or reads whole tables: the doctor alone.
LOCAL, DATABASE, DNS, ACTIVE = "local", "database", "dns", "active"


@dataclass(frozen=True)
class Check:
    """
    A check and its place.

    name
        The name of its findings, and so of its events.
    look
        The check itself.
    cost
        LOCAL, DATABASE, DNS or ACTIVE.
    needs
        Names of checks that have to have found all well: without them it would tell the same
        again, or do harm. A message that comes while the daemon can't reach the database crashes it
        (measured, 2.11.0~beta2).
    after
        Names of checks that must not have found something wrong, but may be unable to tell.
    seconds
        How long it may take.
    delay
        The setting of ``dkim:monitoring`` that says how long a problem lasts before an event.
    is_of_signers
        Whether a host that only signs runs the check among those of the database, too.
    """

    name: str
    look: Callable[[Host], Iterable[Finding | Sample]]
    cost: str = ACTIVE
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    seconds: float = 20.0
    delay: str = ""
    is_of_signers: bool = False


def settings(host: Host) -> Iterator[Finding]:
    """Yield whether a value of the pillar is wrong. It counts as its default in other checks."""
    problems = host.problems
    if problems:
        remedy = "correct the pillar; salt-call dkim.check shows all that is wrong"
        message = f"the pillar is wrong: {listed(problems, NAMED)}"
        yield wrong("settings", message, remedy, items=problems, count=len(problems))
    else:
        yield right("settings", "every value of the pillar is valid")


# A hundred thousand keys are read in seconds, on a machine that has nothing else to do.
MANY_KEYS = 120.0

_DATABASE = ("database",)

CHECKS = (
    Check("settings", settings, LOCAL),
    Check("service", check_opendkim.services, LOCAL, delay="down_for"),
    Check("main.cf", check_postfix.main),
    Check("master.cf", check_postfix.master),
    Check("other milters", check_postfix.others, seconds=60.0),
    Check("other signers", check_postfix.other_signers_found),
    Check("group membership", check_postfix.membership),
    Check("socket directory", check_opendkim.socket_directory),
    Check("socket", check_opendkim.sockets, LOCAL, delay="down_for"),
    Check("socket as Postfix", check_postfix.at_sockets, needs=("socket",)),
    Check("unit", check_opendkim.units),
    Check("configuration", check_opendkim.configurations),
    Check("password file", check_opendkim.password_file),
    Check("database", check_database.reachable, DATABASE, seconds=30.0, delay="down_for"),
    Check("tables and views", check_database.definitions, needs=_DATABASE),
    Check("rights", check_database.rights, needs=_DATABASE),
    Check("access files", check_database.access, needs=_DATABASE),
    Check(
        "login",
        check_database.logins,
        DATABASE,
        after=_DATABASE,
        seconds=60.0,
        delay="down_for",
        is_of_signers=True,
    ),
    Check("keys", check_keys.readable, needs=_DATABASE, seconds=MANY_KEYS),
    Check(
        "orphaned-keys",
        check_keys.orphaned,
        DATABASE,
        needs=_DATABASE,
        seconds=MANY_KEYS,
        delay="down_for",
    ),
    Check("key-age", check_keys.age, DATABASE, needs=_DATABASE, seconds=MANY_KEYS),
    Check("rotation", check_keys.rotation, DATABASE, needs=_DATABASE, seconds=MANY_KEYS),
    Check("unsigned", check_keys.unsigned, DATABASE, needs=_DATABASE, seconds=MANY_KEYS),
    Check("domains", check_keys.domains, needs=_DATABASE, seconds=MANY_KEYS),
    Check("patterns", check_keys.agreement, needs=_DATABASE, seconds=MANY_KEYS),
    Check("signing", check_signing.check, needs=("socket", "database", "login"), seconds=MANY_KEYS),
    Check("dns", check_dns.records, DNS, needs=_DATABASE, seconds=MANY_KEYS, delay="differs_for"),
    Check("dns of orphaned keys", check_dns.orphaned, needs=_DATABASE, seconds=MANY_KEYS),
    Check("clock", check_database.synchronised),
    Check("database's clock", check_database.database_clock, needs=_DATABASE),
)

# The checks whose problems are events and metrics.
MONITORED = tuple(check.name for check in CHECKS if check.cost != ACTIVE)
_DELAYS = {check.name: check.delay for check in CHECKS}


def delay(monitoring: Monitoring, check: str) -> int:
    """Return how long a problem has to last before an event, in seconds."""
    setting = _DELAYS.get(check)
    return getattr(monitoring, setting) if setting else 0


# --- The doctor -----------------------------------------------------------------------------------


def doctor(host: Host, checks: Sequence[Check] | None = None) -> list[Finding]:
    """
    Run every check as the user of each part would; needs root.

    checks
        Default: all of :data:`CHECKS`.

    Changes nothing, delivers no message, and ends: each check is a process of its own and has a
    time, after which it counts as failed.
    """
    found: list[Finding] = []
    worst: dict[str, bool | None] = {}
    for check in CHECKS if checks is None else checks:
        findings = _barred(check, worst) or _in_process(host, check)
        found += findings
        worst[check.name] = _worst(findings)
    return found


def _barred(check: Check, worst: dict[str, bool | None]) -> list[Finding]:
    """Return why a check is not tried, by the results of those before it."""
    missing = [name for name in check.needs if worst.get(name, True) is not True]
    missing += [name for name in check.after if worst.get(name, True) is False]
    return [unknown(check.name, f'skipped: see to "{missing[0]}" first')] if missing else []


def _worst(findings: Iterable[Finding]) -> bool | None:
    results = {finding.ok for finding in findings}
    return False if False in results else None if None in results else True


def _in_process(host: Host, check: Check) -> list[Finding]:
    seconds = check.seconds + (host.settings.dns.deadline if check.look is check_dns.records else 0)
    try:
        said = child.run(lambda: _collected(check.look(host)).to_json(), seconds)
    except child.TookTooLong as error:
        remedy = "see what hangs: ps -eo pid,stat,wchan,args; a process in state T or D is stopped"
        return [wrong(check.name, str(error), remedy)]
    except child.ChildBroke as error:
        return [unknown(check.name, f"the check itself broke off: {error}")]
    except FormulaError as error:
        return [wrong(check.name, str(error), "see the reason")]
    return list(Results.from_json(said).findings)


def _collected(found: Iterable[Finding | Sample]) -> Results:
    found = list(found)
    return Results(
        time.time(),
        tuple(one for one in found if isinstance(one, Finding)),
        tuple(one for one in found if isinstance(one, Sample)),
    )


# --- Monitoring -----------------------------------------------------------------------------------


def collect(host: Host, cost: str) -> Results:
    """
    Run the checks of one cost in this process.

    Where the database, or DNS, gives no answer in the middle, that is the finding, and what the
    other checks would have found is unknown.
    """
    at = time.time()
    found: list[Finding | Sample] = []
    worst: dict[str, bool | None] = {}
    only_signs = cost == DATABASE and host.settings.database.only_signs
    for check in CHECKS:
        if check.cost != cost or (only_signs and not check.is_of_signers):
            continue
        try:
            one = _collected(_barred(check, worst) or check.look(host))
        except FormulaError as error:
            known = [one for one in found if isinstance(one, Finding) and one.check != cost]
            down = failed(cost, str(error), at)
            return replace(down, findings=(*known, *down.findings))
        findings = [_as_monitored(host.settings, finding) for finding in one.findings]
        worst[check.name] = _worst(findings)
        found += [*findings, *one.samples]
    return replace(_collected(found), at=at)


def failed(cost: str, reason: str, at: float) -> Results:
    """Return the results where the database, or DNS, gave no answer."""
    finding = check_database.away(reason) if cost == DATABASE else unknown(cost, reason)
    return Results(at, (finding,), (Sample(f"dkim_{cost}_up", 0),))


def _as_monitored(settings: Settings, finding: Finding) -> Finding:
    """
    Return a finding that may be meant as what it counts for: a person judges it, but an event
    can't.
    """
    if finding.ok is not None:
        return finding
    if finding.subject == check_keys.NOT_CHOSEN:
        return replace(finding, ok=settings.monitoring.unsigned != "hosted")
    is_problem = finding.check == DATABASE or (finding.check == DNS and finding.items)
    return replace(finding, ok=False, count=finding.count or 1) if is_problem else finding


def unknown_checks(results: Iterable[Results]) -> list[str]:
    """Return the monitored checks that nothing is known of."""
    known = {finding.check for one in results for finding in one.findings if finding.ok is not None}
    return sorted(set(MONITORED) - known)
