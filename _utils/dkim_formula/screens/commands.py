"""The screen of each function of ``dkim``, for the outputter and ``format=text``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from ..calls import typed
from .changes import (
    delete,
    forget_replica,
    generate,
    generate_missing,
    policy_file,
    publish,
    rotation,
)
from .check_dns import check_dns
from .delegations import delegations
from .doctor import advice, advice_of, check, doctor, health, left_out
from .fleet import fleet
from .importing import export_key, import_tables, report, written
from .notify import notify
from .selftest import selftest
from .status import list_keys, status
from .terminal import Terminal, has_utf8
from .zone_lines import records

__all__ = [
    "RUNNER_SCREENS",
    "SCREENS",
    "TEST_AT",
    "Asked",
    "Terminal",
    "advice",
    "advice_of",
    "as_text",
    "asked",
    "draw",
    "has_utf8",
    "left_out",
]

# The position of the argument ``test`` of each function, since callers may pass it by position.
TEST_AT = {
    "activate": 3,
    "advance": 1,
    "forget_replica": 1,
    "generate_missing": 0,
    "import_tables": 3,
    "notify": 0,
    "publish": 2,
    "report": 2,
    "retire": 3,
    "revoke": 4,
    "rotate": 4,
    "rotate_due": 0,
}


@dataclass(frozen=True)
class Asked:
    """The arguments of a function call that its screen needs, and its return does not contain."""

    test: bool = False
    every: bool = False
    verbose: bool = False
    problem: bool = False


def asked(function: str, given: Sequence[object], named: Mapping[str, object]) -> Asked:
    """
    Return the arguments of a call that its screen needs.

    given, named
        The arguments by position and by name.
    """
    position = TEST_AT.get(function, len(given))
    test = named.get("test", given[position] if position < len(given) else False)
    others = [named.get(name) is True for name in ("all", "verbose", "problem")]
    return Asked(test is True, *others)


def _rotation(data, one: Asked, terminal: Terminal, now: datetime) -> str:
    return rotation(data, terminal, now, one.test)


def _text(data, one: Asked, terminal: Terminal, now: datetime) -> str:
    return str(data)


# Every function of ``dkim`` has a screen (tests/unit/screens/test_commands.py).
SCREENS: dict[str, Callable[[object, Asked, Terminal, datetime], str]] = {
    "activate": _rotation,
    "advance": _rotation,
    "check": lambda data, one, terminal, now: check(data, terminal),
    "check_dns": lambda data, one, terminal, now: check_dns(data, terminal),
    "delegations": lambda data, one, terminal, now: delegations(data, terminal, now),
    "delete": lambda data, one, terminal, now: delete(data, terminal),
    "doctor": lambda data, one, terminal, now: doctor(data, terminal, now, one.verbose),
    "export_key": lambda data, one, terminal, now: export_key(data, terminal),
    "forget_replica": lambda data, one, terminal, now: forget_replica(data, terminal, one.test),
    "generate": lambda data, one, terminal, now: generate(data, terminal),
    "generate_missing": lambda data, one, terminal, now: generate_missing(data, terminal, one.test),
    "health": lambda data, one, terminal, now: health(data, terminal, now),
    "import_key": lambda data, one, terminal, now: generate(data, terminal),
    "import_tables": lambda data, one, terminal, now: import_tables(data, terminal, one.test),
    "list_keys": lambda data, one, terminal, now: list_keys(data, terminal, now),
    "metrics": _text,
    "mta_sts_policy": lambda data, one, terminal, now: policy_file(data, terminal),
    "notify": lambda data, one, terminal, now: notify(data, terminal),
    "public_key": _text,
    "publish": lambda data, one, terminal, now: publish(data, terminal, one.test),
    "records": lambda data, one, terminal, now: records(data),
    "report": lambda data, one, terminal, now: report(data, terminal, one.test),
    "retire": _rotation,
    "revoke": _rotation,
    "rotate": _rotation,
    "rotate_due": _rotation,
    "selftest": lambda data, one, terminal, now: selftest(data, terminal),
    "status": lambda data, one, terminal, now: status(data, terminal, now, one.every, one.problem),
    "write_metrics": lambda data, one, terminal, now: written(data, terminal),
}


# The functions of the runner.
RUNNER_SCREENS: dict[str, Callable[[object, Asked, Terminal, datetime], str]] = {
    "fleet": lambda data, one, terminal, now: fleet(data, terminal, now),
}


def draw(function: str, data: object, one: Asked, terminal: Terminal, now: datetime) -> str:
    """
    Return the screen of a function's return, with its commands as a person types them here. A
    return that is a text is its own screen.

    function
        A function in :data:`SCREENS` or :data:`RUNNER_SCREENS`.
    now
        The time, in UTC.

    Raises KeyError, TypeError or AttributeError for data of another form.
    """
    if isinstance(data, str):
        return typed(data.rstrip("\n"))
    screen = {**SCREENS, **RUNNER_SCREENS}[function]
    return typed(screen(data, one, terminal, now))


def as_text(function: str, data: object, **asked_for: bool) -> str:
    """
    Return a function's screen as text for ``format=text``: without colours and line breaks.

    asked_for
        The fields of :class:`Asked`.
    """
    now = datetime.now(timezone.utc)
    return draw(function, data, Asked(**asked_for), Terminal(width=None), now)
