"""Recognition of the mail set-ups that ``settings.presets`` describes, by their tables."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..settings.model import Database, HostedTable
from ..settings.presets import PRESETS, Preset
from .catalog import columns

if TYPE_CHECKING:
    import psycopg2.extensions as pg


def flags(cursor: pg.cursor, table: HostedTable) -> HostedTable:
    """
    The table with the flags of the program that makes a table of that name with such columns: a
    domain that is switched off, or is a backup MX, sends no mail here.
    """
    there = columns(cursor, table.schema, table.table)
    for preset in PRESETS.values():
        known = preset.domains
        if (known.table, known.name) != (table.table, table.name) or not known.only:
            continue
        kinds = dict(preset.signature)
        read = tuple(one for one in known.only if _fits(there.get(one[0]), kinds[one[0]]))
        if read:
            return replace(table, only=read)
    return table


def recognised(cursor: pg.cursor, database: Database) -> list[str]:
    """The presets whose tables the database has, where the pillar names no table."""
    if not database.assumed:
        return []
    others = [name for name, preset in PRESETS.items() if name != "howto"]
    found = [name for name in others if _is_there(cursor, PRESETS[name])]
    # A table of the howto's name, and no other program's, is what the pillar means.
    is_howto = _is_there(cursor, PRESETS["howto"]) and "vexim" not in found
    return [] if is_howto else found


def advice(cursor: pg.cursor, database: Database) -> list[str]:
    """What is said of flags that are read because the program is known."""
    table = database.domains
    if database.only_given:
        return []
    read = flags(cursor, table).only
    if not read:
        return []
    listed = ", ".join(f"{column}: {' or '.join(map(str, values))}" for column, values in read)
    return [
        f"dkim:database:domains:only: missing, and {table.schema}.{table.table} has flags of a "
        f"known program, so only rows with {listed} count; set only, or preset, to say so "
        "(only: {} counts every row)"
    ]


def _is_there(cursor: pg.cursor, preset: Preset) -> bool:
    domains = preset.domains
    there = columns(cursor, domains.schema, domains.table)
    return domains.name in there and all(
        _fits(there.get(column), kind) for column, kind in preset.signature
    )


def _fits(kind: str | None, wanted: str) -> bool:
    return kind is not None and wanted in ("", kind)
