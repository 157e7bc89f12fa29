"""Every check of the doctor, in the order of a message's way."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..doctor import child, clock, database, dns, files, keys, pillar, postfix, signing, units
from ..doctor.finding import Finding, unknown, wrong
from ..doctor.site import Site
from ..errors import FormulaError, InvalidValue
from ..settings import Reading


@dataclass(frozen=True)
class Check:
    """
    A check and its place.

    name
        What its findings' names begin with.
    look
        The check itself.
    needs
        Names of checks that have to have found all well: without them it would tell the same
        again, or do harm. A message that comes while the daemon can't reach the database crashes it
        (measured, 2.11.0~beta2).
    after
        Names of checks that must not have found something wrong, but may be unable to tell.
    seconds
        How long it may take.
    """

    name: str
    look: Callable[[Site], list[Finding]]
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    seconds: float = 20.0


# A hundred thousand keys are read in seconds, on a machine that has nothing else to do.
MANY_KEYS = 120.0

_MARKS = {True: "ok", False: "WRONG", None: "?"}

CHECKS = (
    Check("pillar", pillar.check),
    Check("Postfix", postfix.runs),
    Check("main.cf", postfix.main),
    Check("master.cf", postfix.master),
    Check("other milters", postfix.others, seconds=60.0),
    Check("group membership", postfix.membership),
    Check("socket directory", files.socket_directory),
    Check("socket", files.sockets),
    Check("socket as Postfix", postfix.at_sockets, ("socket",)),
    Check("unit", units.units),
    Check("configuration", files.configurations),
    Check("password file", files.password_file),
    Check("database", database.reachable, seconds=30.0),
    Check("tables and views", database.definitions, ("database",)),
    Check("rights", database.rights, ("database",)),
    Check("access files", database.access, ("database",)),
    Check("login", database.logins, after=("database",), seconds=60.0),
    Check("keys", keys.whole, ("database",), seconds=MANY_KEYS),
    Check("domains", keys.unsigned, ("database",), seconds=MANY_KEYS),
    Check("orphaned keys", keys.orphaned, ("database",), seconds=MANY_KEYS),
    Check("patterns", keys.agreement, ("database",), seconds=MANY_KEYS),
    Check("signing", signing.check, ("socket", "database", "login"), seconds=MANY_KEYS),
    Check("DNS", dns.check, ("database",), seconds=MANY_KEYS),
    Check("clock", clock.synchronised),
    Check("database's clock", clock.database_clock, ("database",)),
)


def doctor(reading: Reading, checks: Sequence[Check] | None = None) -> list[dict[str, object]]:
    """
    The whole chain of one machine, looked at as the user of each part would; needs root.

    checks
        Default: all of :data:`CHECKS`.

    Returns a list of ``{"check", "ok", "found", "do"}`` along a message's way; ``ok`` is True,
    False, or None where it can't be told from here. Changes nothing, delivers no message, and ends:
    each check has a time, after which it counts as failed.
    """
    site = Site(reading.settings, reading.problems)
    found: list[Finding] = []
    worst: dict[str, bool | None] = {}
    for check in CHECKS if checks is None else checks:
        missing = [name for name in check.needs if worst[name] is not True]
        missing += [name for name in check.after if worst[name] is False]
        if missing:
            findings = [unknown(check.name, f"not tried: {missing[0]} comes first")]
        else:
            findings = _looked(site, check)
        found += findings
        results = {finding.ok for finding in findings}
        worst[check.name] = False if False in results else None if None in results else True
    return [finding.as_plain() for finding in found]


def check_format(format_: object) -> None:
    """InvalidValue for what is neither None nor ``text``."""
    if format_ not in (None, "text"):
        raise InvalidValue("format", format_, "is not a format", "use text, or leave it out")


def as_text(found: Sequence[dict[str, object]]) -> str:
    """The findings for a person: a line each, and below what is not right what to do."""
    width = max(len(one["check"]) for one in found)
    lines = []
    for one in found:
        lines.append(f"{_MARKS[one['ok']]:5}  {one['check']:{width}}  {one['found']}")
        if one["do"]:
            lines.append(f"{'':5}  {'':{width}}  -> {one['do']}")
    wrong = sum(one["ok"] is False for one in found)
    lines.append(f"{wrong} of {len(found)} are wrong" if wrong else "nothing is wrong")
    return "\n".join(lines)


def _looked(site: Site, check: Check) -> list[Finding]:
    seconds = check.seconds
    if check.look is dns.check:
        seconds += site.settings.dns.deadline
    try:
        plain = child.run(lambda: [one.as_plain() for one in check.look(site)], seconds)
    except child.TookTooLong as error:
        do = "see what hangs: ps -eo pid,stat,wchan,args; a process in state T or D is stopped"
        return [wrong(check.name, str(error), do)]
    except child.ChildBroke as error:
        return [unknown(check.name, f"the check itself broke off: {error}")]
    except FormulaError as error:
        return [wrong(check.name, str(error), "see the reason")]
    return [Finding(**one) for one in plain]
