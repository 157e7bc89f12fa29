"""The ``delegation`` of a domain: its key records stand in a zone of ours, found by CNAME."""

from collections.abc import Iterable, Mapping

from .. import names
from ..errors import InvalidValue
from ..record_names import key_name
from .dns import zone_name
from .model import Delegation, KeyPlan
from .validation import Notes, is_not, read_section, shown, unquoted

# The second selector of a key: while one key signs, the next one's record is seen by the world.
_NEXT = "-2"


def selectors(value: object, where: str) -> tuple[str, ...]:
    """The selectors that have a CNAME, each once."""
    if not isinstance(value, (list, tuple)) or not value:
        raise InvalidValue(where, shown(value), "is not a list", "give two selectors or more")
    return tuple(dict.fromkeys(names.selector(shown(one), where) for one in value))


_DELEGATION = {"zone": zone_name, "selectors": selectors}


def read_delegation(value: object, where: str, notes: Notes) -> Delegation | None:
    """
    The section, or the name of the zone alone; None where the value is ``false``, or wrong. The
    selectors are those that are given: :func:`completed` fills them in.
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
        notes.problem(f"{where}:zone: is not there; name the zone of yours that takes the keys")
    return Delegation(**read) if "zone" in read else None


def completed(
    delegation: Delegation, plans: Iterable[KeyPlan], domain: str, where: str
) -> Delegation:
    """
    The delegation with every selector that may be used: each key's own, and those given, or a
    second one for each key, so that a rotation has where to go.

    Raises InvalidValue where there is no selector to rotate to, or a record's name has no room.
    """
    wanted = [plan.selector for plan in plans]
    others = delegation.selectors or tuple(f"{own}{_NEXT}" for own in wanted)
    chosen = tuple(dict.fromkeys((*wanted, *others)))
    if len(chosen) <= len(wanted):
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
