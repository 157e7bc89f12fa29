"""The tables of domains of well-known mail set-ups (pillar ``dkim:database:preset``)."""

from __future__ import annotations

from dataclasses import dataclass

from .model import HostedTable


@dataclass(frozen=True)
class Preset:
    """
    Where one program keeps its domains.

    domains, aliases
        Its table of domains, and that of alias domains, which have keys of their own.
    signature
        Columns that tell its table of domains from another program's of the same name, each with
        its type, or '' for any.
    """

    domains: HostedTable
    aliases: HostedTable | None = None
    signature: tuple[tuple[str, str], ...] = ()


_ON, _OFF = ("1",), ("0",)

# Measured with PostfixAdmin 3.3.13 and 4.0.5, iRedMail 1.8.1, Modoboa 2.12.0 and vexim2; ISPmail
# after its guide. A flag is boolean in one and smallint in another: '1' and '0' fit both.
PRESETS = {
    "howto": Preset(HostedTable(table="domains", name="domain")),
    # An alias domain is a row of `domain` too, and counts once.
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
    # The row 'admin' of its super-user has no type.
    "vexim": Preset(
        HostedTable(table="domains", name="domain", only=(("enabled", _ON), ("type", ("local",)))),
        HostedTable(table="domainalias", name="alias"),
        (("enabled", "smallint"), ("type", "")),
    ),
}

# Set-ups that are described by hand, so that their tables can be told with what to type.
BY_HAND = {
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
