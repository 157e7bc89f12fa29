"""The keys of an OpenDKIM by its configuration file: tables, or one key for some domains."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..errors import InvalidValue
from ..record_names import key_name
from ..signer import config as opendkim_config
from . import data_set
from .held import Held

CONFIGURATION = "/etc/opendkim.conf"


@dataclass(frozen=True)
class Found:
    """Either the names of the two tables, or what a daemon without tables holds."""

    key_table: str | None = None
    signing_table: str | None = None
    held: Held | None = None


def read(config: str | None) -> Found:
    """
    Return where an OpenDKIM has its keys.

    config
        Its configuration file; by default Debian's, or the copy of it that the formula keeps where
        the file is the formula's own by now.

    Raises InvalidValue where the file is missing or names no key.
    """
    path = config or _before_the_formula()
    if not os.path.isfile(path):
        raise InvalidValue("config", path, "is no file", "give the daemon's opendkim.conf")
    # OpenDKIM takes the last of a double (config.c).
    options = {option.name: option.value for option in opendkim_config.options(path)}
    if options.get("KeyTable"):
        return Found(options["KeyTable"], options.get("SigningTable"))
    if not options.get("KeyFile"):
        raise InvalidValue(
            "config", path, "has neither KeyTable nor KeyFile", "give key_table and signing_table"
        )
    return Found(held=_one_key(options, path))


def _before_the_formula() -> str:
    if not opendkim_config.is_formulas(CONFIGURATION):
        return CONFIGURATION
    copies = opendkim_config.copies(CONFIGURATION)
    if not copies:
        raise InvalidValue(
            "config",
            CONFIGURATION,
            "is the formula's own, and no copy of a former one is there",
            "give the former file as config=",
        )
    return copies[-1]


def _one_key(options: dict[str, str], path: str) -> Held:
    held = Held()
    # The domains are a data set of names; of a file only the first word of a line counts.
    domains = data_set.read(options.get("Domain", ""), "Domain", _no_query)
    selector, material = options.get("Selector", ""), options["KeyFile"]
    lines = []
    for row in domains.rows:
        place = f"{path}, Domain"
        name = key_name(selector, row.key)
        if "*" in row.key:
            held.refuse(f"{name} ({place})", "is a pattern; use dkim.import_key for each domain")
        elif held.add(name, row.key, selector, material, place):
            lines.append((row.key, name, place))
            if options.get("SubDomains", "").lower() in ("yes", "true", "1"):
                lines.append((f".{row.key}", name, place))
    held.sign(*lines)
    return held


def _no_query(dsn: object, where: str) -> list[tuple[str, list[str]]]:
    raise InvalidValue(where, data_set.DSN, "is not read", "use dkim.import_key for each domain")
