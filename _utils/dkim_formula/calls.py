"""
The command by which a person calls a function on this machine.

The texts of the library say ``salt-call``. ``bin/highstate`` may have installed Salt outside PATH,
and its minion has a configuration of its own. So the option ``dkim_call`` of that configuration
names the command that calls a function there.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar

OPTION = "dkim_call"
SALT_CALL = "salt-call"

# A call with its function. The program's name in a path or in prose is no call.
_CALL = re.compile(r"(?<!/)salt-call(?=(?:\s+--?[a-z]\S*)*\s+[a-z_]+\.[a-z_]+)")

_command: ContextVar[str] = ContextVar("dkim_formula_call", default=SALT_CALL)


@contextlib.contextmanager
def made_by(command: str | None) -> Iterator[None]:
    """
    Let :func:`typed` write this command.

    command
        The value of the minion's option ``dkim_call``; None for ``salt-call``.
    """
    token = _command.set(command or SALT_CALL)
    try:
        yield
    finally:
        _command.reset(token)


def typed(text: str, form: Callable[[str], str] = str) -> str:
    """
    Return a text for people, with its calls as a person types them on this machine. The command
    takes the options of ``salt-call`` at the same place.

    form
        The form of the command in the text, such as ``html.escape``.
    """
    command = _command.get()
    if command == SALT_CALL:
        return text
    shown = form(command)
    return _CALL.sub(lambda _: shown, text)
