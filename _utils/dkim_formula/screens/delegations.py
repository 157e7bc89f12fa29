"""The screen of ``dkim.delegations``: the CNAMEs that customers have to add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from ..dns.verdict import OK
from ..text import counted
from . import words
from .terminal import Terminal

Delegated = Mapping[str, object]

# The number of drawn CNAMEs that are not ok, at most.
_MOST = 100
# CNAMEs that are ok are drawn only if there are at most this many CNAMEs; else they are counted.
_FEW = 10


def delegations(found: Mapping[str, object], terminal: Terminal, now: datetime) -> str:
    """Draw ``dkim.delegations``: the CNAMEs that are not ok by domain, and a summary."""
    every: Sequence[Delegated] = found["delegations"]
    if not every:
        return "No domain has a delegation"
    wrong = [one for one in every if one["state"] != OK]
    domains = dict.fromkeys(str(one["domain"]) for one in wrong)
    lines: list[str] = []
    last = None
    for one in every if len(every) <= _FEW else wrong[:_MOST]:
        if one["domain"] != last:
            last = one["domain"]
            lines += ["", terminal.paint(words.domain(str(last), terminal), "bold")]
        lines += _one(one, terminal, now)
    if len(wrong) > _MOST:
        lines.append(f"{len(wrong) - _MOST:,} more CNAMEs are not ok")
    if domains:
        lines += ["", "The instruction for a customer:"]
        command = f"salt-call dkim.delegations {next(iter(domains))} format=text"
        lines += [f"    {terminal.paint(terminal.printable(command), 'bold')}", ""]
    elif lines:
        lines.append("")
    kinds = [f"{number:,} {state}" for state, number in sorted(found["counts"].items())]
    mark = terminal.bad if wrong else terminal.ok
    summary = f"{mark} {counted(len(every), 'CNAME')}: {', '.join(kinds)}"
    return "\n".join([*lines, summary]).lstrip("\n")


def _one(one: Delegated, terminal: Terminal, now: datetime) -> list[str]:
    text = f"{one['name']} CNAME: {one['state']}"
    if one["state"] == OK:
        since = words.when(one["since"], now)
        return terminal.marked(terminal.ok, f"{text}, first observed {since}" if since else text)
    lines = terminal.marked(terminal.bad, text)
    lines += terminal.wrapped(f"desired: {one['target']}", 4, 6)
    lines += terminal.wrapped(one["detail"], 4, 6) if one["detail"] else []
    if one["last_ok"]:
        lines += terminal.wrapped(f"it was ok {words.when(one['last_ok'], now)}", 4, 6)
    return lines
