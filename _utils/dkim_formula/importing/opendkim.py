"""The keys of an OpenDKIM daemon, from its configuration: two tables, or one key for domains."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ..errors import InvalidValue
from ..record_names import key_name
from ..signer import config_copy, existing_config
from . import data_set
from .held import Held

CONFIGURATION = "/etc/opendkim.conf"

# The first octets that switch an option on (config.c).
_ON = ("T", "t", "Y", "y", "1")
# Options that name keys in a way that is not read, with the reason.
_NOT_READ = {
    "SetupPolicyScript": "chooses keys in Lua",
    "KeyFileEd25519": "is dkimpy-milter's",
    "KeyTableEd25519": "is dkimpy-milter's",
}


@dataclass(frozen=True)
class Found:
    """
    The names of the two tables, or the key of a daemon without tables.

    all_sign
        Whether all lines of a ``refile:`` that match a sender sign (MultipleSignatures).
    is_on
        Whether the daemon signs mail.
    refused, notes
        Options that are not read, with the reason; sentences for the person who runs the import.
    """

    key_table: str | None = None
    signing_table: str | None = None
    held: Held | None = None
    all_sign: bool = False
    is_on: bool = True
    refused: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read(config: str | None) -> Found:
    """
    Return the tables or the key that an OpenDKIM's configuration names.

    config
        The configuration file; by default Debian's path. If the formula has replaced that file, the
        default is the formula's backup copy.

    Raises InvalidValue if the file is missing or names no key.
    """
    path = config or _before_the_formula()
    if not os.path.isfile(path):
        raise InvalidValue("config", path, "is no file", "give the daemon's opendkim.conf")
    # If an option is given twice, OpenDKIM takes the last value (config.c).
    options = {option.name: option.value for option in existing_config.options(path)}
    refused = [
        (f"{name} ({path})", f"{reason}, which is not read; import its keys with dkim.import_key")
        for name, reason in _NOT_READ.items()
        if options.get(name)
    ]
    is_on = "s" in options.get("Mode", "sv")
    notes = list(_notes(options, path, is_on))
    if options.get("KeyTable"):
        all_sign = _is_on(options, "MultipleSignatures")
        signing_table = options.get("SigningTable")
        return Found(options["KeyTable"], signing_table, None, all_sign, is_on, refused, notes)
    if options.get("KeyFile"):
        held = _one_key(options, path)
        return Found(held=held, is_on=is_on, refused=refused, notes=notes)
    if refused:
        return Found(held=Held(), is_on=is_on, refused=refused, notes=notes)
    raise InvalidValue(
        "config", path, "has neither KeyTable nor KeyFile", "give key_table and signing_table"
    )


def _notes(options: Mapping[str, str], path: str, is_on: bool) -> Iterator[str]:
    if not is_on:
        yield (
            f"Mode {options['Mode']} ({path}): OpenDKIM signs no mail with these keys today; see "
            "that their records are in DNS"
        )
    if options.get("SigningTable") and _is_on(options, "MultipleSignatures"):
        yield (
            f"MultipleSignatures ({path}): OpenDKIM signs with the key of each line that matches a "
            "sender; only the key of the first pattern is imported as active"
        )


def _is_on(options: Mapping[str, str], name: str) -> bool:
    return options.get(name, "")[:1] in _ON


def _before_the_formula() -> str:
    if not existing_config.is_managed(CONFIGURATION):
        return CONFIGURATION
    copies = config_copy.copies(CONFIGURATION)
    if not copies:
        raise InvalidValue(
            "config",
            CONFIGURATION,
            "is the formula's own, and the copy of the former file is missing",
            "give the former file as config=",
        )
    return copies[-1]


def _one_key(options: dict[str, str], path: str) -> Held:
    held = Held()
    # Domain is a data set of names. In a file only the first word of a line counts.
    domains = data_set.read(options.get("Domain", ""), "Domain", _no_query)
    selector, key_or_path = options.get("Selector", ""), options["KeyFile"]
    lines = []
    for row in domains.rows:
        location = f"{path}, Domain"
        name = key_name(selector, row.key)
        if "*" in row.key:
            held.refuse(f"{name} ({location})", "is a pattern; use dkim.import_key for each domain")
        elif held.add(name, row.key, selector, key_or_path, location):
            lines.append((row.key, name, location))
            if _is_on(options, "SubDomains"):
                lines.append((f".{row.key}", name, location))
    held.sign(*lines)
    return held


def _no_query(dsn: object, where: str) -> list[tuple[str, list[str]]]:
    raise InvalidValue(where, data_set.DSN, "is not read", "use dkim.import_key for each domain")
