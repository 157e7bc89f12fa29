"""A script for nsupdate(1) that never overwrites what is not ours."""

from collections.abc import Sequence
from dataclasses import replace

from .layout import Layout
from .presentation import rdata_lines
from .record import Record


def script(records: Sequence[Record], layout: Layout) -> str:
    """
    An update for each record, with its prerequisites (RFC 2136, section 2.4): it is added where
    no record of its type is at the name, and takes the place of one that is exactly an earlier
    value of ours. Anything else that is there makes the server refuse that one update (YXRRSET,
    NXRRSET, YXDOMAIN) and stays; so does a record that is right already.

    The zone is named where ``layout`` knows it; else nsupdate finds it. A "zone" line holds for all
    updates that follow, past "send", until the next one (nsupdate 9.18, measured), so the updates
    without one come first.
    """
    zones = [(record, _zone(record, layout)) for record in records]
    in_order = sorted(zones, key=lambda pair: pair[1] is not None)
    return "".join(_update(record, zone) for record, zone in in_order)


def _zone(record: Record, layout: Layout) -> str | None:
    """The zone that a record is in, where that is known and no guess."""
    zone = layout.zone(record)
    if zone in layout.zones or (record.zone == zone and record.purpose == "dkim"):
        return zone
    return None


def _update(record: Record, zone: str | None) -> str:
    head = "" if zone is None else f"zone {zone}.\n"
    added = f"update add {record.name}. {record.ttl} {record.type} {_rdata(record)}\nsend\n"
    parts = [f"; {record.purpose} of {record.domain}\n", head, _nothing_there(record), added]
    for old in record.replaces:
        before = f"{record.name}. {record.type} {_rdata(replace(record, value=old))}"
        parts += [head, f"prereq yxrrset {before}\n", f"update delete {before}\n", added]
    return "".join(parts)


def _nothing_there(record: Record) -> str:
    if record.type == "CNAME":
        # RFC 1034, section 3.6.2: a CNAME stands alone at its name.
        return f"prereq nxdomain {record.name}.\n"
    return f"prereq nxrrset {record.name}. {record.type}\n"


def _rdata(record: Record) -> str:
    return " ".join(rdata_lines(record))
