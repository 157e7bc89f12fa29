"""The screen of ``dkim.delegations``: which customer has which CNAME to add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..dns.delegations import RIGHT
from ..text import counted
from . import words
from .terminal import Terminal

Delegated = Mapping[str, object]

# So many CNAMEs that are not right are drawn.
_MOST = 100


def delegations(found: Mapping[str, object], terminal: Terminal) -> str:
    """Draw ``dkim.delegations``: what is not right by domain, the right ones counted."""
    every: Sequence[Delegated] = found["delegations"]
    if not every:
        return "No domain has a delegation"
    wrong = [one for one in every if one["state"] != RIGHT]
    domains = dict.fromkeys(str(one["domain"]) for one in wrong)
    lines: list[str] = []
    last = None
    for one in wrong[:_MOST]:
        if one["domain"] != last:
            last = one["domain"]
            lines += ["", terminal.paint(words.domain(str(last), terminal), "bold")]
        lines += _one(one, terminal)
    if len(wrong) > _MOST:
        lines.append(f"{len(wrong) - _MOST:,} more CNAMEs are not right")
    if domains:
        lines += ["", "The instruction for a customer:"]
        command = f"salt-call dkim.delegations {next(iter(domains))} format=text"
        lines += [f"    {terminal.paint(terminal.printable(command), 'bold')}", ""]
    kinds = [f"{number:,} {state}" for state, number in sorted(found["counts"].items())]
    mark = terminal.bad if wrong else terminal.ok
    said = f"{mark} {counted(len(every), 'CNAME')}: {', '.join(kinds)}"
    return "\n".join([*lines, said]).lstrip("\n")


def _one(one: Delegated, terminal: Terminal) -> list[str]:
    lines = terminal.marked(terminal.bad, f"{one['name']} CNAME: {one['state']}")
    lines += terminal.wrapped(f"desired: {one['target']}", 4, 6)
    return lines + (terminal.wrapped(one["detail"], 4, 6) if one["detail"] else [])
