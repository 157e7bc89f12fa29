"""A script for nsupdate(1) that overwrites only records of the formula."""

from collections.abc import Sequence
from dataclasses import replace

from .layout import Layout
from .presentation import rdata_lines
from .record import Record


def script(records: Sequence[Record], layout: Layout) -> str:
    """
    Return an update for each record, with its prerequisites (RFC 2136, section 2.4).

    A record is added if the name has no record of its type. It replaces a record that has exactly
    an earlier value of the formula. For any other record at the name the server refuses that one
    update (YXRRSET, NXRRSET, YXDOMAIN) and keeps the record, also if its value is already right.

    The script names the zone if ``layout`` knows it. Otherwise nsupdate finds the zone. A "zone"
    line is valid for all later updates, past "send", until the next one (nsupdate 9.18, measured).
    Updates without a "zone" line therefore come first.
    """
    zones = [(record, _zone(record, layout)) for record in records]
    in_order = sorted(zones, key=lambda pair: pair[1] is not None)
    return "".join(_update(record, zone) for record, zone in in_order)


def _zone(record: Record, layout: Layout) -> str | None:
    """Return the zone that a record is in, if it is known for certain; else None."""
    zone = layout.zone(record)
    if zone in layout.zones or (record.zone == zone and record.purpose == "dkim"):
        return zone
    return None


def _update(record: Record, zone: str | None) -> str:
    head = "" if zone is None else f"zone {zone}.\n"
    added = f"update add {record.name}. {record.ttl} {record.type} {_rdata(record)}\nsend\n"
    parts = [f"; {record.purpose} of {record.domain}\n", head, _prerequisite(record), added]
    for old in record.replaces:
        before = f"{record.name}. {record.type} {_rdata(replace(record, value=old))}"
        parts += [head, f"prereq yxrrset {before}\n", f"update delete {before}\n", added]
    return "".join(parts)


def _prerequisite(record: Record) -> str:
    if record.type == "CNAME":
        # RFC 1034, section 3.6.2: a CNAME is the only record at its name.
        return f"prereq nxdomain {record.name}.\n"
    return f"prereq nxrrset {record.name}. {record.type}\n"


def _rdata(record: Record) -> str:
    return " ".join(rdata_lines(record))
