"""The ``delegation`` of a domain: CNAME records point to key records in the formula's zone."""

from collections.abc import Iterable, Mapping

from .. import names
from ..errors import InvalidValue
from ..record_names import key_name
from .dns import zone_name
from .model import Delegation, KeyPlan
from .validation import Notes, is_not, read_section, shown, unquoted

# Ends the second selector of a key. While one key signs, the record of the next one is visible.
_NEXT = "-2"


def selectors(value: object, where: str) -> tuple[str, ...]:
    """Return the selectors that have a CNAME, each once."""
    if not isinstance(value, (list, tuple)) or not value:
        raise InvalidValue(where, shown(value), "is not a list", "give two selectors or more")
    return tuple(dict.fromkeys(names.selector(shown(one), where) for one in value))


_DELEGATION = {"zone": zone_name, "selectors": selectors}


def read_delegation(value: object, where: str, notes: Notes) -> Delegation | None:
    """
    Return the delegation of a section, or of a zone's name alone; None for ``false`` or a problem.

    The selectors are those of the pillar. :func:`completed` adds the missing ones.
    """
    if value is False:
        return None
    given = value
    if isinstance(value, str):
        given = {"zone": notes.attempt(unquoted(zone_name), value, where)}
        if given["zone"] is None:
            return None
    if not isinstance(given, Mapping):
        notes.problem(is_not(value, where, "a delegation", "name a zone, or false"))
        return None
    read = read_section(given, where, _DELEGATION, notes)
    if given.get("zone") is None:
        notes.problem(f"{where}:zone: is missing; name a zone of yours for the key records")
    return Delegation(**read) if "zone" in read else None


def completed(
    delegation: Delegation, plans: Iterable[KeyPlan], domain: str, where: str
) -> Delegation:
    """
    Return the delegation with every selector that may be used.

    These are the selectors of the keys, and the pillar's selectors. If the pillar has none, each
    key gets a second selector, so that a rotation has one to move to.

    Raises InvalidValue if there is no selector to rotate to, or a record's name is too long.
    """
    desired = [plan.selector for plan in plans]
    others = delegation.selectors or tuple(f"{own}{_NEXT}" for own in desired)
    chosen = tuple(dict.fromkeys((*desired, *others)))
    if len(chosen) <= len(desired):
        raise InvalidValue(
            f"{where}:selectors",
            list(chosen),
            "leaves no selector to rotate to",
            "give one more than the domain has keys, or leave the list out",
        )
    if f"{delegation.zone}.".endswith(f".{domain}.") or delegation.zone == domain:
        raise InvalidValue(
            f"{where}:zone",
            delegation.zone,
            f"is {domain} itself or below it",
            "name a zone of your own, or leave the delegation out",
        )
    longest = len(key_name(max(chosen, key=len), f"{domain}.{delegation.zone}"))
    if longest > names.MAX_NAME:
        raise InvalidValue(
            f"{where}:zone",
            delegation.zone,
            f"makes names of {longest} characters for {domain}",
            f"a name has {names.MAX_NAME} at most; use a shorter zone",
        )
    return Delegation(delegation.zone, chosen)
