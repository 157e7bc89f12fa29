"""The options of an opendkim.conf(5) made by hand that the formula's file changes or removes."""

import re
from collections.abc import Mapping

from ..settings.model import Settings
from ..settings.opendkim_options import OPTIONS, OWNED
from . import config_copy, config_options
from .daemons import Daemon
from .existing_config import Option, is_custom, options

_SETTINGS = "dkim:opendkim:settings"
# Options that the unit replaces. An administrator has nothing to do for them.
_BY_THE_UNIT = (
    "UserID",
    "Background",
    "PidFile",
    "AutoRestart",
    "AutoRestartCount",
    "AutoRestartRate",
)
# Options that the formula removes, and what replaces each.
_INSTEAD = {
    "KeyFile": "import the key by: salt-call dkim.import_key {domain} {selector} {value}",
    "Selector": "set dkim:domains:{domain}:selector to {value}",
    "Domain": "name it in dkim:domains",
    "SubDomains": "set dkim:domains:{domain}:subdomains to true, or dkim:defaults:subdomains",
    "KeyTable": "import its keys by: salt-call dkim.import_tables source=opendkim",
    "SigningTable": "dkim.import_tables source=opendkim reads it; docs/moving.md",
    "Socket": "main.cf follows to the formula's socket; dkim:lookup:socket_directory sets its path",
    "SignatureAlgorithm": "set dkim:defaults:algorithm",
    "ChangeRootDirectory": "the unit's sandbox replaces it; see dkim:opendkim:sandbox",
    "Include": "give its options in dkim:opendkim:settings",
}
# Options that name the only key of a file. If they are missing, a person has to name the key.
_NAMING = ("Domain", "Selector")
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_UNKNOWN = {"domain": "DOMAIN", "selector": "SELECTOR"}
_SECRET = re.compile(r"://|passw|secret", re.IGNORECASE)


def changed_options(settings: Settings, daemon: Daemon) -> list[str]:
    """
    Return a line for each option of a custom file that the formula's file changes.

    A line has the option's location, its value unless that may be secret, and the setting that
    keeps the option.
    """
    if not is_custom(daemon.config_file):
        return []
    new = config_options.options(settings, daemon)
    lines = []
    by_unit = []
    found = [*options(daemon.config_file)]
    named = {one.name.lower(): one.value for one in found if one.name in _NAMING}
    names = {**_UNKNOWN, **{name: one for name, one in named.items() if _NAME.fullmatch(one)}}
    for option in found:
        if option.name in _BY_THE_UNIT:
            by_unit.append(option.name)
        elif option.value != new.get(option.name):
            change = _change(option, new, settings, names)
            lines.append(f"{option.path}, line {option.line}: {change}")
    if by_unit:
        listed = ", ".join(by_unit)
        lines.append(
            f"{daemon.config_file}: {listed}: the unit decides this; you need not do anything"
        )
    if lines:
        lines.append(
            f"{daemon.config_file}: the present file is kept as {config_copy.copy_path(daemon)}"
        )
    return lines


def _change(
    option: Option, new: Mapping[str, str], settings: Settings, names: Mapping[str, str]
) -> str:
    name = option.name
    what = f"{name} {_shown(option)}".strip()
    if name in _INSTEAD:
        return f"{what}: is removed; {_INSTEAD[name].format(value=_shown(option), **names)}"
    if name in settings.opendkim.settings:
        return f"{what}: {_SETTINGS}:{name} of the pillar takes its place"
    if name in OWNED:
        return f"{what}: is removed; {OWNED[name]}"
    if name not in OPTIONS:
        return f"{what}: is removed; Debian's opendkim does not know it"
    becomes = f"becomes {new[name]}" if name in new else "is removed"
    return f"{what}: {becomes}; to keep it, set {_SETTINGS}:{name} to {_in_pillar(option)}"


def _in_pillar(option: Option) -> str:
    if not option.value or option.value != _shown(option):
        return "its present value"
    if OPTIONS[option.name] == "dataset" and not re.match(r"[a-z]+:|/", option.value):
        return f"[{', '.join(repr(one.strip()) for one in option.value.split(','))}]"
    return repr(option.value)


def _shown(option: Option) -> str:
    if _SECRET.search(f"{option.name} {option.value}"):
        return "(not shown: it may hold a password)"
    return "".join(one if one.isprintable() else "?" for one in option.value)[:200]
