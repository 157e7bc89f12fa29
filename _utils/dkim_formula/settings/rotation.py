"""``dkim:rotation``: the life cycle of keys."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import InvalidValue
from .duration import duration, in_words
from .model import Dns, Domain, Fleet, Rotation
from .selector_naming import check_result, check_scheme
from .validation import Notes, absolute_path, boolean, read_section

WHERE = "dkim:rotation"

DAY = 86400
_LONGEST = 3650 * DAY

# RFC 5321, section 4.5.4.1: a message may wait in a queue for four to five days. A receiver needs
# the old key's record to verify the message afterwards.
_SHORTEST_RETIREMENT = 5 * DAY
# The default spread is the time between two rotations, divided by this number.
_SPREAD = 6


def schedule(value: object, where: str) -> int | None:
    """Return the interval at which Salt calls ``dkim.advance``; None for ``false``."""
    if value is False:
        return None
    if value is True:
        raise InvalidValue(where, value, "does not say how often", "give a time such as 1h")
    return duration(1, _LONGEST)(value, where)


_ROTATION = {
    "every": duration(1, _LONGEST),
    "spread": duration(0, _LONGEST),
    "retire_for": duration(1, _LONGEST),
    "revoke_for": duration(0, _LONGEST),
    "margin": duration(0, 7 * DAY),
    "together": boolean,
    "first_key_waits": boolean,
    "standby": boolean,
    "selector": check_scheme,
    "automatic": boolean,
    "schedule": schedule,
    "publish_private": absolute_path,
}


def read_rotation(
    value: object, dns: Dns, fleet: Fleet, domains: Iterable[Domain], notes: Notes
) -> Rotation:
    """
    Return the section's settings. A wrong value is noted and replaced by its default.

    dns, fleet
        If the formula publishes records, here or on the fleet's publisher, due rotations start
        automatically.
    domains
        Every domain of the pillar, and the templates. The scheme must fit their selectors.
    """
    read = read_section(value, WHERE, _ROTATION, notes)
    every = read.get("every", Rotation.every)
    read.setdefault("spread", every // _SPREAD)
    read.setdefault("automatic", dns.publish != "none" or bool(fleet.publisher))
    if read["spread"] > every:
        notes.problem(
            InvalidValue(
                f"{WHERE}:spread",
                in_words(read["spread"]),
                "is more than dkim:rotation:every",
                f"use {in_words(every)} at most",
            )
        )
        read["spread"] = every // _SPREAD
    rotation = Rotation(**read)
    _check_selectors(rotation.selector, "selector" in read, domains, notes)
    if rotation.retire_for < _SHORTEST_RETIREMENT:
        notes.advise(
            f"{WHERE}:retire_for",
            f"{in_words(rotation.retire_for)} is less than the time that a message may wait in a "
            f"queue ({in_words(_SHORTEST_RETIREMENT)}, RFC 5321, section 4.5.4.1); Postfix's own "
            "limits are used instead if they are longer and can be read here",
        )
    return rotation


def _check_selectors(scheme: str, is_given: bool, domains: Iterable[Domain], notes: Notes) -> None:
    plans = {
        plan.selector
        for domain in domains
        if domain.delegation is None
        for plan in (*domain.keys, *(key for one in domain.addresses for key in one.keys))
    }
    where = f"{WHERE}:selector"
    for selector in sorted(plans):
        try:
            check_result(scheme, selector, where)
        except InvalidValue as error:
            if is_given:
                notes.problem(error)
            else:
                notes.advise(where, f"its default {str(error).removeprefix(f'{where}: ')}")
