"""Selectors that no key of a domain ever had."""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timezone

from ..errors import InvalidValue
from ..names import MAX_LABEL
from ..names import selector as checked_selector

FIELDS = ("selector", "algorithm", "n")
# strftime(3)'s codes that give digits in every locale.
CODES = "YymdHMSjGVu"
_CODE = re.compile(r"%(.?)")
# A number after a name that was used: -2 to -9999 need this much room.
_ROOM = 5


def check_scheme(value: object, where: str) -> str:
    """
    A scheme for selectors: text with ``{selector}``, ``{algorithm}``, ``{n}`` and strftime codes.

    Raises InvalidValue for a field or a code that is none, and where the result is no selector
    (RFC 6376, section 3.1).
    """
    expected = (
        f"use {', '.join('{' + name + '}' for name in FIELDS)} and "
        f"{' '.join('%' + code for code in CODES)}, as in '{{selector}}-%Y%m%d'"
    )
    if not isinstance(value, str) or not value:
        raise InvalidValue(where, value, "is not a scheme for selectors", expected)
    try:
        parts = [*string.Formatter().parse(value)]
    except ValueError as error:
        raise InvalidValue(where, value, f"is malformed ({error})", expected) from None
    for _, name, specification, conversion in parts:
        if name is not None and (name not in FIELDS or specification or conversion):
            raise InvalidValue(where, value, f"has the unknown field {{{name}}}", expected)
    for code in _CODE.findall(value):
        if code not in CODES or not code:
            raise InvalidValue(where, value, f"has the unknown code %{code}", expected)
    check_result(value, "s", where)
    return value


def check_result(scheme: str, selector: str, where: str) -> None:
    """
    Raises InvalidValue where a scheme makes no selector of a key's own, or leaves no room for the
    number of a second one.
    """
    made = _filled(scheme, selector, "ed25519", datetime(2026, 12, 31, tzinfo=timezone.utc), 1)
    try:
        checked_selector(made, where)
    except InvalidValue as error:
        raise InvalidValue(
            where, scheme, f"makes {made!r} of the selector {selector!r}, which {error.problem}"
        ) from None
    last = len(made.rpartition(".")[2])
    if last + _ROOM > MAX_LABEL:
        raise InvalidValue(
            where,
            scheme,
            f"makes a label of {last} characters of the selector {selector!r}",
            f"leave {_ROOM} of {MAX_LABEL} for a number; give a shorter scheme or selector",
        )


def fresh(scheme: str, selector: str, algorithm: str, now: datetime, used: Collection[str]) -> str:
    """
    The first selector of a scheme that is not used.

    selector
        The one that the settings have for the key.
    now
        For the codes; they are UTC's.
    used
        Every selector that the domain ever had, also those of keys that are gone: somebody may
        still have the old record, or mail that it is needed for (RFC 6376, section 3.1).

    Raises InvalidValue where the scheme makes none of this selector.
    """
    made = next(name for name in _names(scheme, selector, algorithm, now) if name not in used)
    return checked_selector(made, "dkim:rotation:selector")


def free(selectors: Iterable[str], taken: Collection[str]) -> str | None:
    """
    The first selector of a delegation that no key of the domain has at present; None for none.

    Here alone a selector comes back: each has a CNAME that somebody else has to add by hand, so
    there are few for ever. The key that had it before is gone, which takes its record's having
    been empty or absent everywhere; nothing that it signed is verified any more.
    """
    return next((name for name in selectors if name not in taken), None)


def _names(scheme: str, selector: str, algorithm: str, now: datetime) -> Iterator[str]:
    if "{n}" in scheme:
        for number in itertools.count(1):
            yield _filled(scheme, selector, algorithm, now, number)
    base = _filled(scheme, selector, algorithm, now, 1)
    yield base
    for number in itertools.count(2):
        yield f"{base}-{number}"


def _filled(scheme: str, selector: str, algorithm: str, now: datetime, number: int) -> str:
    dated = _CODE.sub(lambda code: now.astimezone(timezone.utc).strftime(code.group()), scheme)
    return dated.format(selector=selector, algorithm=algorithm, n=number).lower()
