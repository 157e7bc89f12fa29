"""One record of DNS, as a value."""

from collections.abc import Iterable
from dataclasses import dataclass

# A record of these stands in somebody else's zone: it is shown and checked, never published.
BY_HAND = ("delegation", "dmarc-report")

_PLAIN = ("name", "type", "ttl", "value", "purpose", "domain", "selector")


@dataclass(frozen=True)
class Record:
    """
    A record that DNS should hold.

    name
        The owner name, absolute, without a trailing dot.
    type
        The record's type, ``TXT`` or ``CNAME``.
    ttl
        Seconds.
    value
        The whole text, not split into strings; of a CNAME the name that it points to.
    purpose
        ``dkim``, ``dmarc``, ``dmarc-report``, ``spf``, ``tls-rpt``, ``mta-sts`` or ``delegation``.
    domain
        The mail domain that it is for; the name may stand in another zone (``dmarc-report``).
    selector
        The key's; None where the record is for no key.
    zone
        The zone that the name stands in, where that is known not to be the domain's.
    replaces
        Values that stood there before and are ours beyond doubt, as this one is.
    """

    name: str
    type: str
    ttl: int
    value: str
    purpose: str
    domain: str
    selector: str | None = None
    zone: str | None = None
    replaces: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, str | int | None]:
        """What a person or a program publishes by, for Salt's return and for JSON."""
        return {field: getattr(self, field) for field in _PLAIN}

    def zone_among(self, zones: Iterable[str] = ()) -> str:
        """
        The zone that the record most likely stands in: the longest of ``zones`` that it is in,
        else the one that it brings, else the domain. Only DNS knows for sure.
        """
        return innermost_zone(self.name, zones) or self.zone or self.domain


def is_inside(name: str, zone: str) -> bool:
    """Whether a name is a zone's own or below it; both lower-case, without a trailing dot."""
    return name == zone or name.endswith(f".{zone}")


def innermost_zone(name: str, zones: Iterable[str]) -> str | None:
    """Return the longest of the zones that a name is in; None where it is in none of them."""
    return max((zone for zone in zones if is_inside(name, zone)), key=len, default=None)


def relative_to(name: str, zone: str) -> str:
    """A name as the zone's file writes it: ``@`` is the zone itself (RFC 1035, section 5.1)."""
    return "@" if name == zone else name.removesuffix(f".{zone}")
