"""The screens of ``dkim.doctor``, ``dkim.health`` and ``dkim.check``: problems and remedies."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from ..calls import SALT_CALL, typed
from ..text import ADVICE, counted, listed
from . import words
from .terminal import Terminal, cell_width

Finding = Mapping[str, object]

# A part of a remedy that is a command, with words before or after it that explain the command.
_COMMAND = re.compile(
    r"(?:(?P<before>[^:]*): |see )?"
    rf"(?P<command>(?:{SALT_CALL}|systemctl|journalctl|timedatectl|postfix|postconf|apt-get|ps)\b.*?)"
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
    summary = counted(len(problems), "problem") if problems else "No problems found"
    mark = terminal.bad if problems else terminal.ok
    return "\n".join(
        [*lines, *terminal.marked(mark, f"{summary}; {asked_text(found['checked'], now)}")]
    )


def asked_text(checked: Mapping[str, str | None], now: datetime) -> str:
    """
    Return when the database and DNS were last asked.

    checked
        ``checked`` of ``dkim.health``.
    """
    names = {"database": "the database", "dns": "DNS"}
    return ", ".join(f"{names[what]} was {_asked(time, now)}" for what, time in checked.items())


def check(found: Mapping[str, object], terminal: Terminal) -> str:
    """Draw ``dkim.check``."""
    lines: list[str] = []
    for text in found["problems"]:
        lines += [*terminal.marked(terminal.bad, text), ""]
    for text in found["advice"]:
        lines += [*terminal.marked(terminal.unknown, text), ""]
    if not found["database_checked"]:
        lines += [*terminal.wrapped("The database was not read."), ""]
    number, advice = len(found["problems"]), len(found["advice"])
    summary = counted(number, "problem") if number else "No problems found"
    if advice:
        summary += f", {counted(advice, 'piece')} of advice"
    return "\n".join([*lines, f"{terminal.bad if number else terminal.ok} {summary}"])


def advice_of(comment: str) -> tuple[list[str], str]:
    """Return the advice in the comment of a state ``dkim.checked``, and the rest of the comment."""
    lines = comment.split("\n")
    given = [line.removeprefix(ADVICE) for line in lines if line.startswith(ADVICE)]
    return given, "\n".join(line for line in lines if not line.startswith(ADVICE))


def advice(texts: Iterable[str], terminal: Terminal) -> list[str]:
    """
    Draw the advice that the check gave before a run of states, each text once, as ``dkim.check``
    draws it. The run itself may have repaired the cause.
    """
    found = ["\n".join(terminal.marked(terminal.unknown, text)) for text in dict.fromkeys(texts)]
    head = "Advice from before the run (salt-call dkim.check gives the present advice):"
    return ["\n".join(terminal.wrapped(head)), *found] if found else []


def left_out(number: int, terminal: Terminal) -> list[str]:
    """Draw the number of the states that did not run because of a failed state."""
    text = f"{counted(number, 'state')} did not run, because a state that they require failed"
    return ["\n".join(terminal.marked(terminal.unknown, text))] if number else []


def _asked(time: str | None, now: datetime) -> str:
    return f"asked {words.when(time, now)}" if time else "not asked yet"


def remedy_lines(remedy: str, terminal: Terminal, minion: str = "") -> Iterable[str]:
    """
    Yield the lines of a remedy: each command unbroken, with its explanation as a comment.

    minion
        The minion that the commands are for, if the screen is the master's.
    """
    for part in remedy.split("; "):
        found = _COMMAND.fullmatch(part)
        if found is None:
            yield from terminal.wrapped(part, 4, 6)
            continue
        text = " ".join(filter(None, (found["before"], (found["after"] or "").strip(", "))))
        comment = f"# {terminal.printable(text)}" if text else ""
        command = command_on(minion, found["command"]) if minion else typed(found["command"])
        command = terminal.printable(command)
        line = f"    {terminal.paint(command, 'bold')}"
        if not comment:
            yield line
        elif 4 + cell_width(command) + 2 + cell_width(comment) <= terminal.columns:
            yield f"{line}  {comment}"
        else:
            yield from (f"    {comment}", line)


def command_on(minion: str, command: str) -> str:
    """
    Return the command for the master that runs a command on a minion.

    command
        A command of ``salt-call``, or of another program.
    """
    name, words_ = shlex.quote(minion), command.split(" ")
    if words_[0] != SALT_CALL or "&&" in words_:
        return f"salt {name} cmd.run {shlex.quote(command)}"
    # salt(1) takes options before its target.
    at = next(number for number, word in enumerate(words_[1:], 1) if not word.startswith("--"))
    return " ".join(["salt", *words_[1:at], name, *words_[at:]])


def problem_lines(
    one: Finding, terminal: Terminal, now: datetime, minion: str = ""
) -> Sequence[str]:
    """Return the lines of a problem, with its remedy; ``minion`` as for :func:`remedy_lines`."""
    return _finding(one, terminal.bad, terminal, now, minion)[:-1]


def _finding(
    one: Finding, mark: str, terminal: Terminal, now: datetime, minion: str = ""
) -> list[str]:
    name = f"{one['check']} {one['subject']}".strip()
    lasting = words.lasting(one["since"], now)
    text = f"{name}: {one['message']}"
    lines = terminal.marked(mark, f"{text} ({lasting})" if lasting else text)
    if one["remedy"]:
        lines += remedy_lines(str(one["remedy"]), terminal, minion)
    return [*lines, ""]
