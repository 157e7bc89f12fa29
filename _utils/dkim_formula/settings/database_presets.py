"""The tables of domains of well-known mail set-ups (pillar ``dkim:database:preset``)."""

from __future__ import annotations

from dataclasses import dataclass

from .model import HostedTable


@dataclass(frozen=True)
class Preset:
    """
    The tables in which one program keeps its domains.

    domains, aliases
        The table of domains, and the table of alias domains, which have keys of their own.
    signature
        Columns that distinguish the table of domains from another program's table of the same name.
        Each has its type, or '' for any type.
    """

    domains: HostedTable
    aliases: HostedTable | None = None
    signature: tuple[tuple[str, str], ...] = ()


_ON, _OFF = ("1",), ("0",)

# Measured with PostfixAdmin 3.3.13 and 4.0.5, iRedMail 1.8.1, Modoboa 2.12.0 and vexim2. ISPmail is
# from its guide. A flag is boolean in one program and smallint in another: '1' and '0' fit both.
PRESETS = {
    "howto": Preset(HostedTable(table="domains", name="domain")),
    # An alias domain also has a row in `domain`. It counts once.
    "postfixadmin": Preset(
        HostedTable(table="domain", name="domain", only=(("active", _ON), ("backupmx", _OFF))),
        HostedTable(table="alias_domain", name="alias_domain", only=(("active", _ON),)),
        (("active", "boolean"), ("backupmx", "boolean")),
    ),
    "iredmail": Preset(
        HostedTable(table="domain", name="domain", only=(("active", _ON), ("backupmx", _OFF))),
        HostedTable(table="alias_domain", name="alias_domain", only=(("active", _ON),)),
        (("active", "smallint"), ("backupmx", "smallint")),
    ),
    "modoboa": Preset(
        HostedTable(
            table="admin_domain", name="name", only=(("enabled", _ON), ("type", ("domain",)))
        ),
        HostedTable(table="admin_domainalias", name="name", only=(("enabled", _ON),)),
        (("enabled", "boolean"), ("type", "")),
    ),
    "ispmail": Preset(HostedTable(table="virtual_domains", name="name")),
    # The row 'admin' of the super-user has no type.
    "vexim": Preset(
        HostedTable(table="domains", name="domain", only=(("enabled", _ON), ("type", ("local",)))),
        HostedTable(table="domainalias", name="alias"),
        (("enabled", "smallint"), ("type", "")),
    ),
}

# Set-ups that a pillar describes without a preset. A message for their tables says what to type.
WITHOUT_PRESET = {
    # PostfixAdmin's flags, and no table of alias domains.
    "ViMbAdmin": Preset(
        HostedTable(table="domain", name="domain", only=(("active", _ON), ("backupmx", _OFF))),
        signature=(("id", "bigint"), ("active", "boolean"), ("backupmx", "boolean")),
    ),
    # Alias domains are rows of the same table.
    "vmm": Preset(
        HostedTable(table="domain_name", name="domainname"),
        signature=(("gid", "bigint"), ("is_primary", "boolean")),
    ),
}
