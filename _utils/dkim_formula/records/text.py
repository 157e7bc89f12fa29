"""Records as text, for a zone file, for a provider's web form and for programs."""

import json
from collections.abc import Callable, Iterable, Sequence

from ..errors import InvalidValue
from . import nsupdate, octodns
from .layout import Layout
from .presentation import rdata_lines
from .record import Record


def bind(records: Sequence[Record], layout: Layout) -> str:
    """
    Return lines for a zone file (RFC 1035, section 5.1), with long texts split into strings.

    Readers join the strings of one record without a separator: RFC 6376, section 3.6.2.2. Relative
    names follow an ``$ORIGIN`` line for each zone.
    """
    if not layout.relative:
        return "".join(_zone_lines(record, f"{record.name}.") for record in records)
    return "\n".join(
        f"$ORIGIN {zone}.\n"
        + "".join(_zone_lines(record, layout.name(record)) for record in in_zone)
        for zone, in_zone in layout.by_zone(records).items()
    )


def oneline(records: Sequence[Record], layout: Layout) -> str:
    """Return a line for each record, for web forms: name, type and whole value, with tabs."""
    return "".join(f"{layout.name(record)}\t{record.type}\t{record.value}\n" for record in records)


def as_json(records: Sequence[Record], layout: Layout) -> str:
    """Return a JSON array of the records, each from :meth:`Layout.to_dict`."""
    return json.dumps([layout.to_dict(record) for record in records], indent=2) + "\n"


FORMATS: dict[str, Callable[[Sequence[Record], Layout], str]] = {
    "bind": bind,
    "oneline": oneline,
    "nsupdate": nsupdate.script,
    "octodns": octodns.source,
    "json": as_json,
}


def render(
    records: Iterable[Record],
    format_: str,
    *,
    relative: bool = False,
    zones: Iterable[str] = (),
    where: str = "format",
) -> str:
    """
    Return the records in one of :data:`FORMATS`.

    relative
        Whether names are relative to their zone. ``nsupdate`` has only absolute names, and
        ``octodns`` only relative names.
    zones
        Names of known zones. A record outside these zones is assumed to be in its domain's own.

    Raises :class:`InvalidValue` for another format.
    """
    if not isinstance(format_, str) or format_ not in FORMATS:
        raise InvalidValue(where, format_, "is not a format", f"use one of {', '.join(FORMATS)}")
    return FORMATS[format_](list(records), Layout(relative, tuple(zones)))


def _zone_lines(record: Record, name: str) -> str:
    head = f"{name} {record.ttl} IN {record.type}"
    parts = rdata_lines(record)
    if len(parts) == 1:
        return f"{head} {parts[0]}\n"
    body = "".join(f"\n\t{part}" for part in parts)
    return f"{head} ({body} )\n"
