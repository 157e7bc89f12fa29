"""The screens of ``dkim.doctor``, ``dkim.health`` and ``dkim.check``: problems and remedies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from ..text import counted, listed
from . import words
from .terminal import Terminal

Finding = Mapping[str, object]

# A part of a remedy that is a command, with words before or after it that explain the command.
_COMMAND = re.compile(
    r"(?:(?P<before>[^:]*): |see )?"
    r"(?P<command>(?:salt-call|systemctl|journalctl|timedatectl|postfix|postconf|apt-get|ps)\b.*?)"
    r"(?P<after>,? (?:or|says|shows|tells|prints|publishes|takes|moves|finds|mends|where)\b.*)?"
)


# A part may be unknown because it was not asked yet, or because this host can't ask it.
_ASK = (
    "ask now: salt-call dkim.health fresh=True; what this host can't check: salt-call dkim.doctor"
)


def doctor(
    findings: Sequence[Finding], terminal: Terminal, now: datetime, verbose: bool = False
) -> str:
    """
    Draw ``dkim.doctor``.

    verbose
        List the checks that passed.
    """
    wrong = [one for one in findings if one["ok"] is False]
    unknown = [one for one in findings if one["ok"] is None]
    passed = [one for one in findings if one["ok"] is True]
    lines: list[str] = []
    for one in wrong:
        lines += _finding(one, terminal.bad, terminal, now)
    for one in unknown:
        lines += _finding(one, terminal.unknown, terminal, now)
    if verbose:
        for one in passed:
            lines += _finding(one, terminal.ok, terminal, now)[:-1]
        lines += [""] if passed else []
    parts = [terminal.paint(counted(len(wrong), "problem"), "red")] if wrong else []
    parts += [f"{len(unknown)} unknown from here"] if unknown else []
    hint = "" if verbose or not passed else " (verbose=True lists them)"
    parts.append(f"{counted(len(passed), 'check')} passed{hint}")
    return "\n".join([*lines, f"{terminal.bad if wrong else terminal.ok} {', '.join(parts)}"])


def health(found: Mapping[str, object], terminal: Terminal, now: datetime) -> str:
    """Draw ``dkim.health``."""
    problems: Sequence[Finding] = found["problems"]
    lines: list[str] = []
    for one in problems:
        lines += _finding(one, terminal.bad, terminal, now)
    if found["unknown"]:
        unknown = f"Nothing is known of: {listed(found['unknown'])}"
        lines += terminal.marked(terminal.unknown, unknown)
        lines += [*remedy_lines(_ASK, terminal), ""]
    asked = [
        f"{name} was {_asked(found['checked'][what], now)}"
        for what, name in (("database", "the database"), ("dns", "DNS"))
    ]
    summary = counted(len(problems), "problem") if problems else "No problems found"
    mark = terminal.bad if problems else terminal.ok
    return "\n".join([*lines, *terminal.marked(mark, f"{summary}; {', '.join(asked)}")])


def check(found: Mapping[str, object], terminal: Terminal) -> str:
    """Draw ``dkim.check``."""
    lines: list[str] = []
    for text in found["problems"]:
        lines += [*terminal.marked(terminal.bad, text), ""]
    for text in found["advice"]:
        lines += [*terminal.marked(terminal.unknown, text), ""]
    if not found["looked"]:
        lines += [*terminal.wrapped("The database was not read."), ""]
    number, advice = len(found["problems"]), len(found["advice"])
    summary = counted(number, "problem") if number else "No problems found"
    if advice:
        summary += f", {counted(advice, 'piece')} of advice"
    return "\n".join([*lines, f"{terminal.bad if number else terminal.ok} {summary}"])


def _asked(time: str | None, now: datetime) -> str:
    return f"asked {words.when(time, now)}" if time else "not asked yet"


def remedy_lines(remedy: str, terminal: Terminal) -> Iterable[str]:
    """Yield the lines of a remedy: each command unbroken, with its explanation as a comment."""
    for part in remedy.split("; "):
        found = _COMMAND.fullmatch(part)
        if found is None:
            yield from terminal.wrapped(part, 4, 6)
            continue
        text = " ".join(filter(None, (found["before"], (found["after"] or "").strip(", "))))
        comment = f"  # {terminal.printable(text)}" if text else ""
        yield f"    {terminal.paint(terminal.printable(found['command']), 'bold')}{comment}"


def _finding(one: Finding, mark: str, terminal: Terminal, now: datetime) -> list[str]:
    name = f"{one['check']} {one['subject']}".strip()
    lasting = words.lasting(one["since"], now)
    text = f"{name}: {one['message']}"
    lines = terminal.marked(mark, f"{text} ({lasting})" if lasting else text)
    if one["remedy"]:
        lines += remedy_lines(str(one["remedy"]), terminal)
    return [*lines, ""]
