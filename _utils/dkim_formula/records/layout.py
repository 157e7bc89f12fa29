"""The form of names in a text of records."""

from collections.abc import Iterable
from dataclasses import dataclass

from .record import Record, relative_to


@dataclass(frozen=True)
class Layout:
    """
    The form of names.

    relative
        Whether names are relative to their zone.
    zones
        Names of known zones, see :meth:`Record.zone_among`.
    """

    relative: bool = False
    zones: tuple[str, ...] = ()

    def name(self, record: Record) -> str:
        """Return the owner name, absolute without a trailing dot or relative."""
        return relative_to(record.name, self.zone(record)) if self.relative else record.name

    def zone(self, record: Record) -> str:
        """Return the zone that a record is assumed to be in."""
        return record.zone_among(self.zones)

    def by_zone(self, records: Iterable[Record]) -> dict[str, list[Record]]:
        """Return the records by zone, both in the order of the argument."""
        found: dict[str, list[Record]] = {}
        for record in records:
            found.setdefault(self.zone(record), []).append(record)
        return found

    def to_dict(self, record: Record) -> dict[str, str | int | None]:
        """Return the record's fields, with its ``zone`` if names are relative."""
        plain = record.to_dict()
        if self.relative:
            plain |= {"name": self.name(record), "zone": self.zone(record)}
        return plain
