"""
What is said where another account, a superuser, stands in for the writer at the daily work.

The work goes on, so that mail is signed, and never in silence: whoever calls it collects the
sentences and shows them.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar

_collected: ContextVar[list[str] | None] = ContextVar("dkim_formula_stand_in", default=None)

REMEDY = "run salt-call state.apply dkim.database"


def say(text: str) -> None:
    """Hand a sentence to the innermost of those that collect."""
    said = _collected.get()
    if said is not None and text not in said:
        said.append(text)


@contextlib.contextmanager
def collected() -> Iterator[list[str]]:
    """The sentences of all sessions that are opened meanwhile, each once."""
    said: list[str] = []
    token = _collected.set(said)
    try:
        yield said
    finally:
        _collected.reset(token)


def noted(function: Callable[..., Mapping]) -> Callable[..., Mapping]:
    """Have a function's return carry them among its ``notes``, as the first of these."""

    @functools.wraps(function)
    def call(*args, **kwargs) -> Mapping:
        with collected() as said:
            found = function(*args, **kwargs)
        return {**found, "notes": [*said, *found.get("notes", ())]} if said else found

    return call
