"""Records as lines that paste into a zone file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..records import Record, render

_FIELDS = ("name", "type", "ttl", "value", "purpose", "domain", "selector")


def zone_lines(records: Iterable[Mapping[str, object]]) -> str:
    """
    Return the lines of ``format=bind``.

    records
        As ``dkim.records`` returns them, with ``zone`` where their names are relative to one.
    """
    absolute, by_zone = [], {}
    for plain in records:
        zone = plain.get("zone")
        if zone is None:
            absolute.append(_record(plain))
        else:
            name = zone if plain["name"] == "@" else f"{plain['name']}.{zone}"
            by_zone.setdefault(zone, []).append(_record({**plain, "name": name}))
    texts = [render(absolute, "bind")] if absolute else []
    texts += [render(found, "bind", relative=True, zones=[zone]) for zone, found in by_zone.items()]
    return "\n".join(texts)


def records(data: Sequence[Mapping[str, object]]) -> str:
    """Draw ``dkim.records``: zone lines and nothing else, so that a redirection is a zone file."""
    return zone_lines(data) if data else "; no records"


def _record(plain: Mapping[str, object]) -> Record:
    return Record(**{field: plain[field] for field in _FIELDS})
