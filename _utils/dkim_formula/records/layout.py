"""How names are written in a text of records."""

from collections.abc import Iterable
from dataclasses import dataclass

from .record import Record, relative_to


@dataclass(frozen=True)
class Layout:
    """
    relative
        Write names relative to their zone.
    zones
        Names of zones that are known, see :meth:`Record.zone_among`.
    """

    relative: bool = False
    zones: tuple[str, ...] = ()

    def name(self, record: Record) -> str:
        """The owner name, absolute without a trailing dot, or relative."""
        return relative_to(record.name, self.zone(record)) if self.relative else record.name

    def zone(self, record: Record) -> str:
        """The zone that a record is taken to be in."""
        return record.zone_among(self.zones)

    def by_zone(self, records: Iterable[Record]) -> dict[str, list[Record]]:
        """The records by zone, both in the order that they came in."""
        found: dict[str, list[Record]] = {}
        for record in records:
            found.setdefault(self.zone(record), []).append(record)
        return found

    def to_dict(self, record: Record) -> dict[str, str | int | None]:
        """The record's fields; where names are relative, with the ``zone`` that they are so to."""
        plain = record.to_dict()
        if self.relative:
            plain |= {"name": self.name(record), "zone": self.zone(record)}
        return plain
