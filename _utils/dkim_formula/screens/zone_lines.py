"""Records as lines for a zone file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..records import Record, render

_FIELDS = ("name", "type", "ttl", "value", "purpose", "domain", "selector")


def zone_lines(records: Iterable[Mapping[str, object]]) -> str:
    """
    Return records as the lines of ``format=bind``.

    records
        The records as ``dkim.records`` returns them. Names in records with ``zone`` are relative.
    """
    absolute, by_zone = [], {}
    for data in records:
        zone = data.get("zone")
        if zone is None:
            absolute.append(_record(data))
        else:
            name = zone if data["name"] == "@" else f"{data['name']}.{zone}"
            by_zone.setdefault(zone, []).append(_record({**data, "name": name}))
    texts = [render(absolute, "bind")] if absolute else []
    texts += [render(found, "bind", relative=True, zones=[zone]) for zone, found in by_zone.items()]
    return "\n".join(texts)


def records(data: Sequence[Mapping[str, object]]) -> str:
    """Draw ``dkim.records``: only zone lines, so that a redirection writes a zone file."""
    return zone_lines(data) if data else "; no records"


def _record(data: Mapping[str, object]) -> Record:
    return Record(**{field: data[field] for field in _FIELDS})
