"""What a site's tables come to, as pillar ``dkim:domains``."""

from collections.abc import Mapping

from ..keys import ALGORITHMS
from ..settings.model import Domain, Settings


def key_settings(selectors: Mapping[str, str]) -> dict[str, object]:
    """Selector and algorithm as ``dkim:domains`` has them."""
    algorithms = [algorithm for algorithm in ALGORITHMS if algorithm in selectors]
    if len(algorithms) == 1:
        return {"selector": selectors[algorithms[0]], "algorithm": algorithms[0]}
    return {"selector": {name: selectors[name] for name in algorithms}, "algorithm": algorithms}


def lacking(
    settings: Settings, wanted: Mapping[str, dict[str, object]]
) -> dict[str, dict[str, object]]:
    """
    What the pillar lacks of the settings that a site's tables come to.

    wanted
        By domain, in the words of ``dkim:domains``.
    """
    found = {}
    for name, given in wanted.items():
        domain = settings.domains.get(name)
        if domain is not None:
            missing = _difference(domain, given)
        elif settings.every_hosted is not None:
            # Any active key satisfies '*', whatever its selector.
            missing = {k: v for k, v in given.items() if k not in ("selector", "algorithm")}
        else:
            missing = given
        if missing or (domain is None and settings.every_hosted is None):
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
