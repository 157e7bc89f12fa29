"""Recognition of known mail set-ups (``settings.database_presets``) by their tables."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..settings.database_presets import PRESETS, WITHOUT_PRESET, Preset
from ..settings.model import Database, HostedTable
from .catalog import columns, relation_kind

if TYPE_CHECKING:
    import psycopg2.extensions as pg


def flags(cursor: pg.cursor, table: HostedTable) -> HostedTable:
    """
    Return the table with the conditions on flags of the program that makes such a table.

    The program is known by the names of the table and of its columns. A domain that is switched
    off, or whose mail this host only relays as a backup MX, sends no mail here.
    """
    present = columns(cursor, table.schema, table.table)
    for preset in PRESETS.values():
        known = preset.domains
        if (known.table, known.name) != (table.table, table.name) or not known.only:
            continue
        kinds = dict(preset.signature)
        read = tuple(one for one in known.only if _fits(present.get(one[0]), kinds[one[0]]))
        if read:
            return replace(table, only=read)
    return table


def problem(cursor: pg.cursor, database: Database) -> str:
    """
    Return what is wrong with the pillar's choice of the table of domains; '' for nothing.

    The choice is wrong if the database lacks the tables that the pillar names, and has those of
    another known program. The text names that program and what to set.
    """
    found = _recognised(cursor)
    if database.described:
        table = database.domains
        if relation_kind(cursor, table.schema, table.table) is not None:
            return ""
        wrong = f"domains:table: there is no table {table.schema}.{table.table}"
    elif database.assumed:
        # Without a preset the formula assumes the howto's table of domains.
        if "howto" in found:
            return ""
        wrong = "preset: missing"
    else:
        if database.preset in found or _has_howto_keys(cursor, database):
            return ""
        wrong = f"preset: {database.preset!r}"
    if found:
        whose, remedy = " and ".join(found), f"preset: {' or '.join(found)}, or domains"
    else:
        by_hand = [name for name, known in WITHOUT_PRESET.items() if _has_tables(cursor, known)]
        if not by_hand:
            return ""
        whose = by_hand[0]
        remedy = f"domains: {_in_pillar(WITHOUT_PRESET[whose].domains)}, no preset"
    return f"dkim:database:{wrong}, and the database has the tables of {whose}; set {remedy}"


def _recognised(cursor: pg.cursor) -> list[str]:
    """Return the presets whose tables the database has."""
    found = [name for name, known in PRESETS.items() if _has_tables(cursor, known)]
    # vexim's table of domains has the same name as the howto's.
    return [name for name in found if name != "howto" or "vexim" not in found]


def _has_howto_keys(cursor: pg.cursor, database: Database) -> bool:
    """Return whether the preset is the howto's, and the table of keys has the howto's column."""
    return database.preset == "howto" and "domain_id" in columns(cursor, database.schema, "dkim")


def conditions(table: HostedTable) -> str:
    """Return which rows count, in the pillar's notation."""
    return ", ".join(
        f"{column}: {' or '.join('null' if one is None else one for one in values)}"
        for column, values in table.only
    )


def _in_pillar(table: HostedTable) -> str:
    """Return the table in the pillar's notation."""
    only = f", only: {{{conditions(table)}}}" if table.only else ""
    return f"{{table: {table.table}, name: {table.name}{only}}}"


def advice(cursor: pg.cursor, database: Database) -> list[str]:
    """Return advice on flags that are read because the program is known."""
    table = database.domains
    if database.only_given:
        return []
    read = flags(cursor, table).only
    if not read:
        return []
    counted = conditions(replace(table, only=read))
    return [
        f"dkim:database:domains:only: missing, and {table.schema}.{table.table} has flags of a "
        f"known program, so only rows with {counted} count; set only, or preset, to say so "
        "(only: {} counts every row)"
    ]


def _has_tables(cursor: pg.cursor, preset: Preset) -> bool:
    domains, aliases = preset.domains, preset.aliases
    present = columns(cursor, domains.schema, domains.table)
    if domains.name not in present:
        return False
    if not all(_fits(present.get(column), kind) for column, kind in preset.signature):
        return False
    return aliases is None or aliases.name in columns(cursor, aliases.schema, aliases.table)


def _fits(kind: str | None, expected: str) -> bool:
    return kind is not None and expected in ("", kind)
