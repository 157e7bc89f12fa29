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

    The zone is named where ``layout`` knows it; else nsupdate finds it.
    """
    return "".join(_update(record, layout) for record in records)


def _update(record: Record, layout: Layout) -> str:
    zones = [zone for zone in layout.zones if zone == layout.zone(record)] or (
        [record.zone] if record.zone and record.purpose == "dkim" else []
    )
    head = "".join(f"zone {zone}.\n" for zone in zones)
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
