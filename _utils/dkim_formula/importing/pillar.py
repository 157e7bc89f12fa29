"""The settings of ``dkim:domains`` that correspond to a program's keys and tables."""

from collections.abc import Collection, Mapping

from ..errors import InvalidValue
from ..names import selector
from ..private_key import ALGORITHMS
from ..settings.model import Domain, Settings


def key_settings(selectors: Mapping[str, str]) -> dict[str, object]:
    """
    Return ``selector`` and ``algorithm`` in the form of ``dkim:domains``.

    A selector that the pillar refuses for new keys (``mail_2020``) is omitted: a domain with an
    active key needs no new key, whatever the selector.

    selectors
        The selector by algorithm.
    """
    algorithms = [algorithm for algorithm in ALGORITHMS if algorithm in selectors]
    named = {name: selectors[name] for name in algorithms if _is_valid_selector(selectors[name])}
    if len(algorithms) == 1:
        (algorithm,) = algorithms
        given = {"selector": named[algorithm]} if named else {}
        return {**given, "algorithm": algorithm}
    return {**({"selector": named} if named else {}), "algorithm": algorithms}


def _is_valid_selector(text: str) -> bool:
    try:
        return selector(text) == text
    except InvalidValue:
        return False


def missing_settings(
    settings: Settings, desired: Mapping[str, dict[str, object]], hosted: Collection[str]
) -> dict[str, dict[str, object]]:
    """
    Return the desired settings that the pillar lacks.

    desired
        The settings by domain, in the form of ``dkim:domains``.
    hosted
        The domains that ``'*'`` matches.
    """
    found = {}
    for name, given in desired.items():
        domain = settings.domains.get(name)
        is_chosen = settings.every_hosted is not None and name in hosted
        if domain is not None:
            missing = _difference(domain, given)
        elif is_chosen:
            # For '*' any active key is enough, whatever its selector.
            others = {k: v for k, v in given.items() if k not in ("selector", "algorithm")}
            missing = _difference(settings.every_hosted, others)
        else:
            missing = given
        if missing or (domain is None and not is_chosen):
            found[name] = missing
    return found


def _difference(domain: Domain, given: Mapping[str, object]) -> dict[str, object]:
    present = key_settings({plan.algorithm: plan.selector for plan in domain.keys} or {"rsa": ""})
    plans = {
        address.address: key_settings({plan.algorithm: plan.selector for plan in address.keys})
        for address in domain.addresses
    }
    different = {key: value for key, value in given.items() if present.get(key) != value}
    if domain.alias_of == given.get("alias_of"):
        different.pop("alias_of", None)
    if domain.subdomains:
        different.pop("subdomains", None)
    addresses = {
        address: value
        for address, value in given.get("addresses", {}).items()
        if plans.get(address) != value
    }
    different.pop("addresses", None)
    if addresses:
        different["addresses"] = addresses
    return different
