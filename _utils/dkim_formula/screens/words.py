"""Times, numbers and names as words on a screen."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone

from ..names import u_labels
from ..text import counted
from .terminal import Terminal

_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60))
# A screen shows a command for each of at most so many domains, else one command for all domains.
_FEW = 3
_LETTERS = {"d": "day", "h": "hour", "m": "minute", "s": "second"}


def when(time: str | None, now: datetime) -> str:
    """Return an ISO 8601 time as ``in 12 days``, ``now`` or ``3 hours ago``; '' for none."""
    parsed = parsed_time(time)
    if parsed is None:
        return ""
    seconds = int((parsed - now).total_seconds())
    distance = _distance(abs(seconds))
    if not distance:
        return "now"
    return f"in {distance}" if seconds > 0 else f"{distance} ago"


def lasting(since: str | None, now: datetime) -> str:
    """Return the time since an ISO 8601 time as ``for 3 hours``; '' for none."""
    parsed = parsed_time(since)
    if parsed is None:
        return ""
    return f"for {_distance(int((now - parsed).total_seconds())) or 'less than a minute'}"


def _distance(seconds: int) -> str:
    unit = next((one for one in _UNITS if seconds >= one[1]), None)
    return counted(seconds // unit[1], unit[0]) if unit else ""


def parsed_time(time: str | None) -> datetime | None:
    """Return an ISO 8601 time, which is in UTC without a zone; None for no time."""
    if not time:
        return None
    parsed = datetime.fromisoformat(time)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)


def span(age: str) -> str:
    """Return ``12d`` as ``12 days``."""
    return counted(int(age[:-1]), _LETTERS[age[-1]]) if age else ""


def algorithm(key: Mapping[str, object]) -> str:
    """Return ``rsa 2048`` or ``ed25519``."""
    return f"rsa {key['bits']}" if key["algorithm"] == "rsa" and key["bits"] else key["algorithm"]


def domain(name: str, terminal: Terminal) -> str:
    """Return a domain, after its form with U-labels if it has any (RFC 5890, 2.3.2.1)."""
    shown = terminal.printable(name) if name else "(no name)"
    readable = u_labels(name) if terminal.utf8 else name
    return shown if readable == name else f"{readable} ({shown})"


def commands(function: str, domains: Iterable[str], terminal: Terminal) -> list[str]:
    """Return lines with the command for each domain, or for all domains if there are many."""
    names = list(dict.fromkeys(domains))
    words = [f" {shlex.quote(name)}" for name in names] if len(names) <= _FEW else [""]
    return [
        f"    {terminal.paint(terminal.printable(f'salt-call dkim.{function}{word}'), 'bold')}"
        for word in words
    ]
