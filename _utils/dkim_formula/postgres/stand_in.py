"""
Messages about a superuser's account that does the work of the writer's role.

The work continues, so that mail stays signed. The caller collects the messages and shows them.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar

_collected: ContextVar[list[str] | None] = ContextVar("dkim_formula_stand_in", default=None)

REMEDY = "run salt-call state.apply dkim.database"


def report(text: str) -> None:
    """Add a message to the innermost collection, once."""
    messages = _collected.get()
    if messages is not None and text not in messages:
        messages.append(text)


@contextlib.contextmanager
def collected() -> Iterator[list[str]]:
    """Collect the messages of all sessions that are opened in the context, each once."""
    messages: list[str] = []
    token = _collected.set(messages)
    try:
        yield messages
    finally:
        _collected.reset(token)


def noted(function: Callable[..., Mapping]) -> Callable[..., Mapping]:
    """Decorate a function: put the messages before the ``notes`` that it returns."""

    @functools.wraps(function)
    def call(*args, **kwargs) -> Mapping:
        with collected() as messages:
            found = function(*args, **kwargs)
        return {**found, "notes": [*messages, *found.get("notes", ())]} if messages else found

    return call
