"""What a site's tables come to, as pillar ``dkim:domains``."""

from collections.abc import Collection, Mapping

from ..errors import InvalidValue
from ..names import selector
from ..private_key import ALGORITHMS
from ..settings.model import Domain, Settings


def key_settings(selectors: Mapping[str, str]) -> dict[str, object]:
    """
    Selector and algorithm as ``dkim:domains`` has them.

    A selector that the pillar does not take for a new key (``mail_2020``) is left out: an active
    key satisfies, whatever its selector.
    """
    algorithms = [algorithm for algorithm in ALGORITHMS if algorithm in selectors]
    named = {name: selectors[name] for name in algorithms if _is_taken(selectors[name])}
    if len(algorithms) == 1:
        (algorithm,) = algorithms
        given = {"selector": named[algorithm]} if named else {}
        return {**given, "algorithm": algorithm}
    return {**({"selector": named} if named else {}), "algorithm": algorithms}


def _is_taken(text: str) -> bool:
    try:
        return selector(text) == text
    except InvalidValue:
        return False


def lacking(
    settings: Settings, wanted: Mapping[str, dict[str, object]], hosted: Collection[str]
) -> dict[str, dict[str, object]]:
    """
    What the pillar lacks of the settings that a site's tables come to.

    wanted
        By domain, in the words of ``dkim:domains``.
    hosted
        The domains that ``'*'`` means.
    """
    found = {}
    for name, given in wanted.items():
        domain = settings.domains.get(name)
        is_chosen = settings.every_hosted is not None and name in hosted
        if domain is not None:
            missing = _difference(domain, given)
        elif is_chosen:
            # Any active key satisfies '*', whatever its selector.
            wider = {k: v for k, v in given.items() if k not in ("selector", "algorithm")}
            missing = _difference(settings.every_hosted, wider)
        else:
            missing = given
        if missing or (domain is None and not is_chosen):
            found[name] = missing
    return found


def _difference(domain: Domain, given: Mapping[str, object]) -> dict[str, object]:
    there = key_settings({plan.algorithm: plan.selector for plan in domain.keys} or {"rsa": ""})
    plans = {
        address.address: key_settings({plan.algorithm: plan.selector for plan in address.keys})
        for address in domain.addresses
    }
    different = {key: value for key, value in given.items() if there.get(key) != value}
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
