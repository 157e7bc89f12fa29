"""The desired keys of a domain and its addresses: selectors, algorithms, sizes."""

import re
from collections.abc import Mapping

from .. import names, private_key
from ..errors import InvalidValue
from ..record_names import key_record_name
from .inheritance import EVERY_HOSTED, Merged
from .model import Address, Domain, KeyPlan
from .validation import Check, Notes, choice, kind_of, read_section, shown, shown_key

DEFAULT_PLAN = KeyPlan()

_ALGORITHM = choice(*private_key.ALGORITHMS)
_NOT_IN_A_LABEL = re.compile(r"[^a-z0-9]+")


def algorithms(value: object, where: str) -> tuple[str, ...]:
    """Return one or several algorithms, without repetition, in the order of ``ALGORITHMS``."""
    given = value if isinstance(value, (list, tuple)) else [value]
    checked = [_ALGORITHM(algorithm, where) for algorithm in given]
    if not checked:
        raise InvalidValue(where, [], "is empty", f"use one of {', '.join(private_key.ALGORITHMS)}")
    if len(set(checked)) != len(checked):
        raise InvalidValue(where, given, "names an algorithm twice", "name each once")
    return tuple(algorithm for algorithm in private_key.ALGORITHMS if algorithm in checked)


def selectors(value: object, where: str) -> str | dict[str, str]:
    """Return a selector, or a mapping from algorithm to selector."""
    if not isinstance(value, Mapping):
        return names.selector(shown(value), where)
    return {
        _ALGORITHM(algorithm, where): names.selector(shown(selector), f"{where}:{algorithm}")
        for algorithm, selector in value.items()
    }


def bits(value: object, where: str) -> int:
    """Return the size of an RSA key, see :func:`dkim_formula.private_key.check_bits`."""
    return private_key.check_bits(shown(value), where)


KEY_CHECKS = {"selector": selectors, "algorithm": algorithms, "bits": bits}


def key_plans(name: str, merged: Merged, notes: Notes) -> tuple[KeyPlan, ...]:
    """Return the keys of a domain or an address, one for each algorithm."""
    pillar_key = merged.pillar_key("selector")
    desired = merged.get("algorithm", (DEFAULT_PLAN.algorithm,))
    chosen = merged.get("selector", DEFAULT_PLAN.selector)
    size = merged.get("bits", DEFAULT_PLAN.bits)
    plans = []
    for algorithm in desired:
        try:
            selector = _selector_for(algorithm, chosen, desired, pillar_key)
            if name != EVERY_HOSTED:
                key_record_name(selector, name)
        except InvalidValue as error:
            notes.problem(InvalidValue(pillar_key, chosen, f"can't be used for {name} ({error})"))
        else:
            plans.append(KeyPlan(algorithm, selector, size))
    _check_plans(plans, merged, notes)
    return tuple(plans) or (DEFAULT_PLAN,)


def _selector_for(
    algorithm: str, chosen: str | Mapping[str, str], desired: tuple[str, ...], where: str
) -> str:
    """Return the selector of one of a domain's keys. Two keys can't share a selector."""
    if isinstance(chosen, Mapping):
        if algorithm not in chosen:
            raise InvalidValue(where, chosen, f"has no selector for {algorithm}", "add one")
        return chosen[algorithm]
    if algorithm == desired[0]:
        return chosen
    return names.selector(f"{chosen}-{algorithm}", where)


def _check_plans(plans: list[KeyPlan], merged: Merged, notes: Notes) -> None:
    if len({plan.selector for plan in plans}) < len(plans):
        notes.problem(
            InvalidValue(
                merged.pillar_key("selector"),
                plans[0].selector,
                "is the selector of two keys",
                "each key has a record of its own; give each algorithm another selector",
            )
        )
    for plan in plans:
        if plan.algorithm == "rsa" and plan.bits < private_key.DEFAULT_BITS:
            notes.advise(
                merged.pillar_key("bits"),
                f"{plan.bits} is weak; RFC 8301, section 3.2, wants "
                f"{private_key.DEFAULT_BITS} or more",
            )
    if plans and all(plan.algorithm == "ed25519" for plan in plans):
        notes.advise(
            merged.pillar_key("algorithm"),
            "many verifiers don't know ed25519 and treat the mail as unsigned; use [rsa, ed25519]",
        )


def read_addresses(domain: Domain, merged: Merged, notes: Notes) -> tuple[Address, ...]:
    """Return the addresses with keys of their own. No two keys share a selector."""
    given = merged.own.get("addresses")
    where = f"{merged.where}:addresses"
    if given is None:
        return ()
    if not isinstance(given, Mapping):
        notes.problem(f"{where}: {kind_of(given)} is not addresses; give a mapping")
        return ()
    taken = {plan.selector: domain.name for plan in domain.keys}
    addresses: dict[str, Address] = {}
    for text, value in given.items():
        pillar_key = f"{where}:{shown_key(text)}"
        address = notes.attempt(_address_in(domain), text, pillar_key)
        if address is None:
            continue
        if address in addresses:
            notes.problem(InvalidValue(pillar_key, text, "is given twice", "give it once"))
            continue
        plans = _address_plans(address, value, merged, pillar_key, notes)
        for plan in plans:
            _check_taken(plan.selector, address, taken, pillar_key, notes)
        addresses[address] = Address(address, plans)
    return tuple(addresses.values())


def _address_in(domain: Domain) -> Check:
    def check(value: object, where: str) -> str:
        address = names.email_address(value, where)
        if address.rpartition("@")[2] != domain.name:
            raise InvalidValue(
                where, value, f"is not an address of {domain.name}", "give it under its own domain"
            )
        return address

    return check


def _address_plans(
    address: str, value: object, merged: Merged, where: str, notes: Notes
) -> tuple[KeyPlan, ...]:
    """Return an address's keys. Algorithm and size are inherited, the selector is not."""
    own = read_section(None if value is True else value, where, KEY_CHECKS, notes)
    if "selector" not in own:
        # The default selector is the local part.
        local = _NOT_IN_A_LABEL.sub("-", address.rpartition("@")[0].lower()).strip("-")
        own["selector"] = local[: names.MAX_LABEL].strip("-") or "address"
    inherited = {
        key: merged.get(key) for key in ("algorithm", "bits") if merged.get(key) is not None
    }
    name = address.rpartition("@")[2]
    return key_plans(name, Merged(own, inherited, where), notes)


def _check_taken(
    selector: str, address: str, taken: dict[str, str], where: str, notes: Notes
) -> None:
    if selector in taken:
        notes.problem(
            InvalidValue(
                f"{where}:selector",
                selector,
                f"is the selector of {taken[selector]}'s key already",
                "each key has a record of its own; give another selector",
            )
        )
    taken.setdefault(selector, address)
