"""The registry of checks, in the order in which a message passes them, and their runs."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..errors import FormulaError
from ..settings.model import Monitoring, Settings
from ..text import listed
from . import (
    check_clock,
    check_database,
    check_dns,
    check_keys,
    check_opendkim,
    check_postfix,
    check_signing,
    child,
)
from .model import NAMED, Finding, Host, Results, Sample, right, unknown, wrong

# The cost of a check decides who runs it. The doctor runs all checks. Monitoring runs LOCAL checks
# at each call, and DATABASE and DNS checks at their intervals. LOCAL checks take milliseconds and
# write no log line. ACTIVE checks start processes, act as the daemon, or read whole tables.
LOCAL, DATABASE, DNS, ACTIVE = "local", "database", "dns", "active"


@dataclass(frozen=True)
class Check:
    """
    A check, with the conditions of its run.

    name
        The name of its findings and of its events.
    function
        The function that checks.
    cost
        LOCAL, DATABASE, DNS or ACTIVE.
    needs
        The names of checks that must pass before. Otherwise this check would report the same
        problem again, or do harm: a message crashes a daemon that cannot reach the database
        (measured, 2.11.0~beta2).
    after
        The names of checks that must not fail before. Their result may be unknown.
    seconds
        The time limit.
    delay
        The setting of ``dkim:monitoring`` that says how long a problem lasts before an event.
    is_of_signers
        Whether a host that only signs also runs this check of the database.
    title
        The heading of its problems on the page of ``dkim.report``, if monitoring runs the check.
    """

    name: str
    function: Callable[[Host], Iterable[Finding | Sample]]
    cost: str = ACTIVE
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    seconds: float = 20.0
    delay: str = ""
    is_of_signers: bool = False
    title: str = ""


def settings(host: Host) -> Iterator[Finding]:
    """Check that the pillar is valid. Other checks use the default of each invalid value."""
    problems = host.problems
    if problems:
        remedy = "correct the pillar; salt-call dkim.check shows all that is wrong"
        message = f"the pillar is wrong: {listed(problems, NAMED)}"
        yield wrong("settings", message, remedy, items=problems, count=len(problems))
    else:
        yield right("settings", "every value of the pillar is valid")


# Reading a hundred thousand keys takes seconds on an idle machine.
MANY_KEYS = 120.0

_DATABASE = ("database",)

CHECKS = (
    Check("settings", settings, LOCAL, title="Pillar"),
    Check("service", check_opendkim.services, LOCAL, delay="down_for", title="Service"),
    Check("main.cf", check_postfix.main),
    Check("master.cf", check_postfix.master),
    Check("other milters", check_postfix.others, seconds=60.0),
    Check("other signers", check_postfix.other_signers_found),
    Check("group membership", check_postfix.membership),
    Check("socket directory", check_opendkim.socket_directory),
    Check("socket", check_opendkim.sockets, LOCAL, delay="down_for", title="Socket"),
    Check("socket as Postfix", check_postfix.at_sockets, needs=("socket",)),
    Check("unit", check_opendkim.units),
    Check("configuration", check_opendkim.configurations),
    Check("password file", check_opendkim.password_file),
    Check(
        "database",
        check_database.reachable,
        DATABASE,
        seconds=30.0,
        delay="down_for",
        title="Database",
    ),
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
        title="Login at the database",
    ),
    Check("keys", check_keys.readable, needs=_DATABASE, seconds=MANY_KEYS),
    Check(
        "orphaned-keys",
        check_keys.orphaned,
        DATABASE,
        needs=_DATABASE,
        seconds=MANY_KEYS,
        delay="down_for",
        title="Domains gone suddenly",
    ),
    Check(
        "key-age",
        check_keys.age,
        DATABASE,
        needs=_DATABASE,
        seconds=MANY_KEYS,
        title="Keys too old",
    ),
    Check(
        "rotation",
        check_keys.rotation,
        DATABASE,
        needs=_DATABASE,
        seconds=MANY_KEYS,
        title="Rotation stuck",
    ),
    Check(
        "unsigned",
        check_keys.unsigned,
        DATABASE,
        needs=_DATABASE,
        seconds=MANY_KEYS,
        title="Unsigned mail",
    ),
    Check("domains", check_keys.domains, needs=_DATABASE, seconds=MANY_KEYS),
    Check("patterns", check_keys.agreement, needs=_DATABASE, seconds=MANY_KEYS),
    Check("signing", check_signing.check, needs=("socket", "database", "login"), seconds=MANY_KEYS),
    Check(
        "dns",
        check_dns.records,
        DNS,
        needs=_DATABASE,
        seconds=MANY_KEYS,
        delay="differs_for",
        title="DNS",
    ),
    Check("dns of orphaned keys", check_dns.orphaned, needs=_DATABASE, seconds=MANY_KEYS),
    Check("clock", check_clock.synchronised),
    Check(
        "database-clock",
        check_clock.with_database,
        DATABASE,
        after=("database", "login"),
        seconds=60.0,
        delay="down_for",
        is_of_signers=True,
        title="Clocks differ",
    ),
)

# The checks whose problems are events and metrics.
MONITORED = tuple(check.name for check in CHECKS if check.cost != ACTIVE)
_DELAYS = {check.name: check.delay for check in CHECKS}
TITLES = {check.name: check.title for check in CHECKS if check.title}


def delay(monitoring: Monitoring, check: str) -> int:
    """Return how long a problem has to last before an event, in seconds."""
    setting = _DELAYS.get(check)
    return getattr(monitoring, setting) if setting else 0


# --- The doctor -----------------------------------------------------------------------------------


def doctor(host: Host, checks: Sequence[Check] | None = None) -> list[Finding]:
    """
    Run every check, each with the account of the part that it checks. Needs root.

    checks
        Default: all of :data:`CHECKS`.

    Changes nothing and delivers no message. Each check runs in its own process, and fails when it
    exceeds its time limit.
    """
    found: list[Finding] = []
    worst: dict[str, bool | None] = {}
    for check in CHECKS if checks is None else checks:
        findings = _skipped(check, worst) or _in_process(host, check)
        found += findings
        worst[check.name] = _worst(findings)
    return found


def _skipped(check: Check, worst: dict[str, bool | None]) -> list[Finding]:
    """Return the finding that a check is skipped, if the results of earlier checks require it."""
    missing = [name for name in check.needs if worst.get(name, True) is not True]
    missing += [name for name in check.after if worst.get(name, True) is False]
    return [unknown(check.name, f'skipped: fix "{missing[0]}" first')] if missing else []


def _worst(findings: Iterable[Finding]) -> bool | None:
    results = {finding.ok for finding in findings}
    return False if False in results else None if None in results else True


def _in_process(host: Host, check: Check) -> list[Finding]:
    seconds = check.seconds + (
        host.settings.dns.deadline if check.function is check_dns.records else 0
    )
    try:
        data = child.run(lambda: _collected(check.function(host)).to_json(), seconds)
    except child.TookTooLong as error:
        remedy = "see what hangs: ps -eo pid,stat,wchan,args; a process in state T or D is stopped"
        return [wrong(check.name, str(error), remedy)]
    except child.ChildBroke as error:
        return [unknown(check.name, f"the check itself failed: {error}")]
    except FormulaError as error:
        return [wrong(check.name, str(error), "see the reason")]
    return list(Results.from_json(data).findings)


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

    When the database or DNS stops answering during the run, that is the finding. The results of
    the other checks of this cost are then unknown.
    """
    at = time.time()
    found: list[Finding | Sample] = []
    worst: dict[str, bool | None] = {}
    only_signs = cost == DATABASE and host.settings.database.only_signs
    for check in CHECKS:
        if check.cost != cost or (only_signs and not check.is_of_signers):
            continue
        try:
            one = _collected(_skipped(check, worst) or check.function(host))
        except FormulaError as error:
            known = [one for one in found if isinstance(one, Finding) and one.check != cost]
            down = failed(cost, str(error), at)
            return replace(down, findings=(*known, *down.findings))
        findings = [_as_monitored(host.settings, finding) for finding in one.findings]
        worst[check.name] = _worst(findings)
        found += [*findings, *one.samples]
    return replace(_collected(found), at=at)


def failed(cost: str, reason: str, at: float) -> Results:
    """Return the results for a database or DNS that did not answer."""
    finding = check_database.no_answer(reason) if cost == DATABASE else unknown(cost, reason)
    return Results(at, (finding,), (Sample(f"dkim_{cost}_up", 0),))


def _as_monitored(settings: Settings, finding: Finding) -> Finding:
    """
    Return a finding with the ``ok`` that events and metrics use.

    A person decides whether the state of an unknown finding is intended. An event cannot.
    """
    if finding.ok is not None:
        return finding
    if finding.subject == check_keys.NOT_CHOSEN:
        return replace(finding, ok=settings.monitoring.unsigned != "hosted")
    is_problem = finding.check == DATABASE or (finding.check == DNS and finding.items)
    return replace(finding, ok=False, count=finding.count or 1) if is_problem else finding


def unknown_checks(results: Iterable[Results]) -> list[str]:
    """Return the names of the monitored checks whose result is unknown."""
    known = {finding.check for one in results for finding in one.findings if finding.ok is not None}
    return sorted(set(MONITORED) - known)
