"""The domains whose first key has to wait for its record because of what an import found."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from ..keys import refusals
from ..text import listed
from .key_table import Refusal


def that_wait(
    refused: Iterable[Refusal], signed_as: Mapping[str, str], others: Collection[str]
) -> dict[str, str]:
    """
    Return the domains with the reason for the history.

    refused
        The keys and lines that are not imported. The first one of a domain counts.
    signed_as
        The domains that are signed as another domain today, each with that domain.
    others
        The domains whose first key need not wait.
    """
    reasons = {name: f"{refusals.SIGNED_AS}: {signer}" for name, signer in signed_as.items()}
    for one in refused:
        if one.domain and not reasons.get(one.domain, "").startswith(refusals.REFUSED):
            reasons[one.domain] = f"{refusals.REFUSED}: {one.entry}: {one.reason}"
    return {name: reason for name, reason in reasons.items() if name not in others}


def notes(reasons: Mapping[str, str]) -> Iterator[str]:
    """Yield sentences about the domains of :func:`that_wait`."""
    signed_as = []
    for domain, reason in reasons.items():
        if reason.startswith(refusals.SIGNED_AS):
            signed_as.append(domain)
            continue
        yield (
            f"{domain}: its old key, or a line that names the key, is refused, so the first key "
            "that is made for it is pending until DNS shows its record"
        )
    if signed_as:
        yield (
            f"{listed(sorted(signed_as))}: signed as another domain today; unless the pillar has "
            "alias_of, the first key that is made for each is pending until DNS shows its record"
        )
