"""Recognition of the mail set-ups that ``settings.presets`` describes, by their tables."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..settings.model import Database, HostedTable
from ..settings.presets import BY_HAND, PRESETS, Preset
from .catalog import columns, relation_kind

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


def problem(cursor: pg.cursor, database: Database) -> str:
    """
    Name the program whose tables the database has, and what to set, where the pillar means no
    table of domains that is there, or another program's; '' where nothing is wrong.
    """
    found = _recognised(cursor)
    if database.described:
        table = database.domains
        if relation_kind(cursor, table.schema, table.table) is not None:
            return ""
        wrong = f"domains:table: there is no table {table.schema}.{table.table}"
    elif database.assumed:
        # A table of the howto's name, and no other program's, is what the pillar means.
        if "howto" in found:
            return ""
        wrong = "preset: missing"
    else:
        if database.preset in found or _has_howtos_keys(cursor, database):
            return ""
        wrong = f"preset: {database.preset!r}"
    if found:
        whose, remedy = " and ".join(found), f"preset: {' or '.join(found)}, or domains"
    else:
        by_hand = [name for name, known in BY_HAND.items() if _is_there(cursor, known)]
        if not by_hand:
            return ""
        whose, remedy = by_hand[0], f"domains: {_written(BY_HAND[by_hand[0]].domains)}, no preset"
    return f"dkim:database:{wrong}, and the database has the tables of {whose}; set {remedy}"


def _recognised(cursor: pg.cursor) -> list[str]:
    """The presets whose tables the database has."""
    found = [name for name, known in PRESETS.items() if _is_there(cursor, known)]
    # vexim's table of domains has the howto's name.
    return [name for name in found if name != "howto" or "vexim" not in found]


def _has_howtos_keys(cursor: pg.cursor, database: Database) -> bool:
    """Whether keys have to be adopted with the howto's preset, whose the domains may be."""
    return database.preset == "howto" and "domain_id" in columns(cursor, database.schema, "dkim")


def conditions(table: HostedTable) -> str:
    """The rows that count, as the pillar has them."""
    return ", ".join(
        f"{column}: {' or '.join('null' if one is None else one for one in values)}"
        for column, values in table.only
    )


def _written(table: HostedTable) -> str:
    """The table as the pillar has it."""
    only = f", only: {{{conditions(table)}}}" if table.only else ""
    return f"{{table: {table.table}, name: {table.name}{only}}}"


def advice(cursor: pg.cursor, database: Database) -> list[str]:
    """What is said of flags that are read because the program is known."""
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


def _is_there(cursor: pg.cursor, preset: Preset) -> bool:
    domains, aliases = preset.domains, preset.aliases
    there = columns(cursor, domains.schema, domains.table)
    if domains.name not in there:
        return False
    if not all(_fits(there.get(column), kind) for column, kind in preset.signature):
        return False
    return aliases is None or aliases.name in columns(cursor, aliases.schema, aliases.table)


def _fits(kind: str | None, wanted: str) -> bool:
    return kind is not None and wanted in ("", kind)
