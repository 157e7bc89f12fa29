"""New selectors, which no key of a domain ever had."""

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
# The codes of strftime(3) that give digits in every locale.
CODES = "YymdHMSjGVu"
_CODE = re.compile(r"%(.?)")
# The longest number after a used name: -2 to -9999 take up to five characters.
_ROOM = 5


def check_scheme(value: object, where: str) -> str:
    """
    Return a scheme: text with ``{selector}``, ``{algorithm}``, ``{n}`` and strftime codes.

    Raises InvalidValue for an unknown field or code, and if the result is no selector (RFC 6376,
    section 3.1).
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
    Check that a scheme makes a valid new selector of a key's own selector.

    Raises InvalidValue if it does not, or if it leaves no room for the number of a second one.
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


def unused_selector(
    scheme: str, selector: str, algorithm: str, now: datetime, used: Collection[str]
) -> str:
    """
    Return the first selector of a scheme that no key of the domain ever had.

    selector
        The key's selector in the settings.
    now
        The time for the codes, which are in UTC.
    used
        Every selector that the domain ever had, also those of keys that are gone. A cache may still
        hold an old record, and mail may still need it (RFC 6376, section 3.1).

    Raises InvalidValue if the scheme makes no valid selector.
    """
    made = next(name for name in _names(scheme, selector, algorithm, now) if name not in used)
    return checked_selector(made, "dkim:rotation:selector")


def free_selector(selectors: Iterable[str], taken: Collection[str]) -> str | None:
    """
    Return the first selector of a delegation that no key of the domain has now; None for none.

    Only a delegation reuses selectors: another operator must add a CNAME for each by hand, so their
    number is fixed. The key that had the selector before is gone. A key is gone only after its
    record was empty or missing everywhere, so nothing that the key signed is verified any more.
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
