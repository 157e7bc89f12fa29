"""
Source files for octoDNS's YamlProvider, with one document for each zone.

The YAML is written as JSON, which is part of YAML. Keys are in the natural order that octoDNS
requires.
"""

import json
import re
from collections.abc import Sequence

from .layout import Layout
from .record import Record, relative_to

_DIGITS = re.compile(r"([0-9]+)")


def source(records: Sequence[Record], layout: Layout) -> str:
    """
    Return each zone's records in the form of the file ``ZONE.yaml``.

    octoDNS requires one file for each zone. Each zone is a document here, which begins with a
    comment with its file's name, and with ``---``. Several records at one name are one entry with
    several values, if type and TTL are equal.
    """
    zones = layout.by_zone(records)
    documents = [f"# {zone}.yaml\n---\n{_document(zone, zones[zone])}" for zone in zones]
    return "".join(documents)


def _document(zone: str, records: Sequence[Record]) -> str:
    names: dict[str, list[Record]] = {}
    for record in records:
        name = relative_to(record.name, zone)
        names.setdefault("" if name == "@" else name, []).append(record)
    lines = [f"{json.dumps(name)}: {_entry(names[name])}\n" for name in sorted(names, key=_natural)]
    return "".join(lines)


def _entry(records: Sequence[Record]) -> str:
    first = records[0]
    entry: dict[str, object] = {"ttl": first.ttl, "type": first.type}
    values = list(dict.fromkeys(_value(record) for record in records))
    if len(values) == 1:
        entry["value"] = values[0]
    else:
        entry["values"] = values
    return json.dumps(entry)


def _value(record: Record) -> str:
    if record.type == "CNAME":
        return f"{record.value}."
    # YamlProvider's escaped_semicolons, true by default: ";" is written as "\;".
    return record.value.replace(";", "\\;")


def _natural(name: str) -> list[object]:
    # natsort compares numbers in a name as numbers. A name that starts with a number comes before
    # names that do not.
    return [int(part) if part.isdigit() else part for part in _DIGITS.split(name)]
