"""The screen of ``dkim.notify``: the message, and its recipients."""

from __future__ import annotations

from collections.abc import Mapping

from ..text import counted
from .terminal import Terminal


def notify(done: Mapping[str, object], terminal: Terminal) -> str:
    """Draw ``dkim.notify``: problems, recipients, and the text of the message."""
    lines = [line for one in done["problems"] for line in terminal.marked(terminal.bad, one)]
    mark = terminal.ok if done["notified"] else terminal.unknown
    lines += [line for one in done["notes"] for line in terminal.marked(mark, one)]
    if not lines:
        waits = f"{counted(done['waiting'], 'record')} still to publish"
        lines = terminal.marked(terminal.ok, f"No new message: {waits}")
    if done["text"]:
        # Lines are not wrapped, so that a person can paste them.
        text = str(done["text"]).rstrip("\n").split("\n")
        lines += ["", *(terminal.printable(line.replace("\t", "  ")) for line in text)]
    return "\n".join(lines)
