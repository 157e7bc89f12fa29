"""One DNS record as a value."""

from collections.abc import Iterable
from dataclasses import dataclass

# Purposes of records in other operators' zones. The formula shows and checks these records, but
# never publishes them.
MANUAL_PURPOSES = ("delegation", "dmarc-report")

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
        The whole text, not split into strings. For a CNAME record, the name of its target.
    purpose
        ``dkim``, ``dmarc``, ``dmarc-report``, ``spf``, ``tls-rpt``, ``mta-sts`` or ``delegation``.
    domain
        The mail domain of the record. The name may be in another zone (``dmarc-report``).
    selector
        The key's selector; None if the record is for no key.
    zone
        The zone of the name, if it is known to differ from the domain.
    replaces
        Earlier values at the name that the formula certainly published.
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
        """Return the fields that publication needs, for Salt's return and for JSON."""
        return {field: getattr(self, field) for field in _PLAIN}

    def zone_among(self, zones: Iterable[str] = ()) -> str:
        """
        Return the zone that the record is most likely in. Only DNS has the certain answer.

        It is the longest of ``zones`` that has the name in it, else ``zone``, else the domain.
        """
        return innermost_zone(self.name, zones) or self.zone or self.domain


def is_inside(name: str, zone: str) -> bool:
    """Return whether a name is in a zone; both are lower-case and without a trailing dot."""
    return name == zone or name.endswith(f".{zone}")


def innermost_zone(name: str, zones: Iterable[str]) -> str | None:
    """Return the longest of the zones that a name is in; None for none."""
    return max((zone for zone in zones if is_inside(name, zone)), key=len, default=None)


def relative_to(name: str, zone: str) -> str:
    """Return a name as in a zone file: ``@`` is the zone itself (RFC 1035, section 5.1)."""
    return "@" if name == zone else name.removesuffix(f".{zone}")
