"""One record of DNS, as a value."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Record:
    """
    A record that DNS should hold.

    name
        The owner name, absolute, without a trailing dot.
    type
        The record's type, ``TXT``.
    ttl
        Seconds.
    value
        The whole text, not split into strings.
    purpose
        ``dkim``, ``dmarc`` or ``dmarc-report``.
    domain
        The mail domain that it is for; the name may stand in another zone (``dmarc-report``).
    selector
        The key's; None where the record is for no key.
    """

    name: str
    type: str
    ttl: int
    value: str
    purpose: str
    domain: str
    selector: str | None = None

    def as_plain(self) -> dict[str, str | int | None]:
        """The fields as a dict, for Salt's return and for JSON."""
        return asdict(self)
