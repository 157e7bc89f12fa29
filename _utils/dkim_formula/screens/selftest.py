"""The screen of ``dkim.selftest``: failed messages first, and a summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..text import counted
from . import words
from .doctor import remedy_lines
from .terminal import Terminal, rows

_OF_MACHINE = ("signed", "verified_by_database")
_JUDGED = (*_OF_MACHINE, "verified_by_dns")
_TITLES = ("sender", "key", "signed", "database", "DNS")


def selftest(results: Sequence[Mapping[str, object]], terminal: Terminal) -> str:
    """Draw ``dkim.selftest``."""
    bad = [one for one in results if _is_bad(one)]
    good = [one for one in results if not _is_bad(one)]
    chosen = [*bad, *good] if len(results) + 4 <= terminal.height else bad
    cells = [_cells(one, terminal) for one in chosen]
    title, *lines = rows([_TITLES, *cells], terminal.columns, 2)
    shown = [terminal.paint(title, "bold")] if chosen else []
    for one, line in zip(chosen, lines, strict=True):
        shown.append(terminal.paint(line, "red") if _is_bad(one) else line)
        shown += terminal.wrapped(one["detail"], 4) if one["detail"] else []
    return "\n".join([*shown, *_summary(results, terminal)])


def _summary(results: Sequence[Mapping[str, object]], terminal: Terminal) -> list[str]:
    """Return what is wrong by its place, each with the command that says more."""
    unsigned = [one for one in results if any(one[name] is False for name in _OF_MACHINE)]
    no_record = [one for one in results if one["verified_by_dns"] is False]
    unasked = [one for one in results if one["verified_by_dns"] is None]
    number, lines = len(results), []
    if unsigned:
        text = f"{len(unsigned):,} of {counted(number, 'message')} not signed as desired"
        lines += terminal.marked(terminal.bad, text)
        lines += remedy_lines("why: salt-call dkim.doctor", terminal)
    elif no_record:
        lines += terminal.marked(terminal.ok, f"{counted(number, 'message')} signed as desired")
    if no_record:
        text = (
            f"{counted(len(no_record), 'signature')} that receivers can't verify: the key's record "
            "in DNS is not as desired"
        )
        lines += terminal.marked(terminal.bad, text)
        lines += words.commands("check_dns", _domains(no_record), terminal)
    if not lines:
        text = f"{counted(number, 'message')} signed and verified"
        text += f", {len(unasked):,} of them not by DNS" if unasked else ""
        lines += terminal.marked(terminal.ok, text)
    if unasked:
        lines += ["What DNS shows:", *words.commands("check_dns", _domains(unasked), terminal)]
    return lines


def _domains(results: Sequence[Mapping[str, object]]) -> list[str]:
    return [str(one["domain"]) for one in results]


def _is_bad(one: Mapping[str, object]) -> bool:
    return any(one[name] is False for name in _JUDGED)


def _cells(one: Mapping[str, object], terminal: Terminal) -> list[str]:
    answers = {True: "yes", False: "NO", None: "?"}
    sender = terminal.printable(one["sender"])
    key = f"{terminal.printable(one['selector'])} {one['algorithm']}"
    return [sender, key, *(answers[one[name]] for name in _JUDGED)]
