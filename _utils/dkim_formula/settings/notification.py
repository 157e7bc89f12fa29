"""``dkim:dns:notify``: notification about records that a person must publish."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import InvalidValue
from ..names import email_address
from .duration import duration
from .validation import Notes, absolute_path, read_section, text

WHERE = "dkim:dns:notify"

# An account of this machine. Postfix's aliases(5) may forward its mail.
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_.-]{0,31}")
_DAY = 86400


@dataclass(frozen=True)
class Notify:
    """Notification about records that a person must publish (pillar ``dkim:dns:notify``)."""

    to: tuple[str, ...] = ("root",)
    sender: str | None = None  # default: sendmail(1)'s own for root
    command: str | None = None  # the path of a program to call instead of mail
    every: int | None = 7 * _DAY  # seconds until a reminder of a mail


def recipient(value: object, where: str) -> str:
    """Return a mail address, or the name of an account of this machine."""
    given = text(value, where)
    return given if _ACCOUNT.fullmatch(given) else email_address(value, where)


def recipients(value: object, where: str) -> tuple[str, ...]:
    """Return one recipient or several, each once."""
    given = value if isinstance(value, (list, tuple)) else [value]
    if not given:
        raise InvalidValue(where, [], "is empty", "give an address or leave the key out")
    return tuple(dict.fromkeys(recipient(one, where) for one in given))


def reminder_interval(value: object, where: str) -> int | None:
    """Return the seconds from a mail to its reminder; None for ``false``."""
    return None if value is False else duration(3600, 365 * _DAY)(value, where)


_NOTIFY = {
    "to": recipients,
    "from": recipient,
    "command": absolute_path,
    "every": reminder_interval,
}


def read_notify(value: object, notes: Notes) -> Notify | None:
    """Return the section's settings; None for ``false``. Wrong values are noted."""
    if value is False:
        return None
    read = read_section({} if value is True else value, WHERE, _NOTIFY, notes)
    if "from" in read:
        read["sender"] = read.pop("from")
    if isinstance(value, Mapping) and "command" in read and {"to", "sender"} & read.keys():
        notes.problem(
            f"{WHERE}:command: is set together with to or from, but a command sends no mail; "
            "remove one of them"
        )
    return Notify(**read)
