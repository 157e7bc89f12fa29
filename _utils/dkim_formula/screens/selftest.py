"""The screen of ``dkim.selftest``: failed messages first, and a summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..text import counted
from .terminal import Terminal, row, widths

_JUDGED = ("signed", "verified_by_database", "verified_by_dns")
_TITLES = ("sender", "key", "signed", "database", "DNS")


def selftest(results: Sequence[Mapping[str, object]], terminal: Terminal) -> str:
    """Draw ``dkim.selftest``."""
    bad = [one for one in results if _is_bad(one)]
    good = [one for one in results if not _is_bad(one)]
    chosen = [*bad, *good] if len(results) + 4 <= terminal.height else bad
    cells = [_cells(one, terminal) for one in chosen]
    wide = widths([_TITLES, *cells])
    lines = [terminal.paint(row(_TITLES, wide), "bold")] if chosen else []
    for one, shown in zip(chosen, cells, strict=True):
        line = row(shown, wide)
        lines.append(terminal.paint(line, "red") if _is_bad(one) else line)
        lines += terminal.wrapped(one["detail"], 4) if one["detail"] else []
    if bad:
        summary = f"{len(bad):,} of {counted(len(results), 'signature')} failed"
    else:
        summary = f"{counted(len(results), 'message')} signed and verified"
        not_by_dns = sum(one["verified_by_dns"] is None for one in results)
        summary += f", {not_by_dns:,} of them not by DNS" if not_by_dns else ""
    return "\n".join([*lines, f"{terminal.bad if bad else terminal.ok} {summary}"])


def _is_bad(one: Mapping[str, object]) -> bool:
    return any(one[name] is False for name in _JUDGED)


def _cells(one: Mapping[str, object], terminal: Terminal) -> list[str]:
    answers = {True: "yes", False: "NO", None: "?"}
    sender = terminal.printable(one["sender"])
    key = f"{terminal.printable(one['selector'])} {one['algorithm']}"
    return [sender, key, *(answers[one[name]] for name in _JUDGED)]
