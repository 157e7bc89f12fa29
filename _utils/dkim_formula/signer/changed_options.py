"""The options of an opendkim.conf(5) made by hand that the formula's file changes or removes."""

import re
from collections.abc import Callable, Mapping

from .. import names
from ..errors import InvalidValue
from ..settings.model import Settings
from ..settings.opendkim import SETTINGS
from ..settings.opendkim_options import OPTIONS, OWNED
from ..text import as_argument, as_yaml_string
from . import config_copy, config_options, kept_options
from .daemons import Daemon
from .existing_config import Option, is_custom, options

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
    "Domain": "name it in dkim:domains",
    "SubDomains": "set dkim:domains:{domain}:subdomains to true, or dkim:defaults:subdomains",
    "KeyTable": "import its keys by: salt-call dkim.import_tables source=opendkim",
    "SigningTable": "dkim.import_tables source=opendkim reads it; docs/moving.md",
    "Socket": "main.cf follows to the formula's socket; dkim:lookup:socket_directory sets its path",
    "SignatureAlgorithm": "set dkim:defaults:algorithm",
    "ChangeRootDirectory": "the unit's sandbox replaces it; see dkim:opendkim:sandbox",
    "Include": "give its options in dkim:opendkim:settings",
}
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
    texts = {one.name: one.value for one in found}
    for option in found:
        if option.name in _BY_THE_UNIT:
            by_unit.append(option.name)
        elif _differs(option, new):
            change = _change(option, new, settings, texts)
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


def _differs(option: Option, new: Mapping[str, str]) -> bool:
    name = option.name
    return kept_options.meaning(name, option.value) != kept_options.meaning(name, new.get(name))


def _change(
    option: Option, new: Mapping[str, str], settings: Settings, texts: Mapping[str, str]
) -> str:
    name = option.name
    what = f"{name} {_shown(option)}".strip()
    if name in (*_INSTEAD, "KeyFile", "Selector"):
        return f"{what}: is removed; {_instead(option, texts)}"
    if name in settings.opendkim.settings:
        return f"{what}: {SETTINGS}:{name} of the pillar takes its place"
    if name in OWNED:
        return f"{what}: is removed; {OWNED[name]}"
    if name not in OPTIONS:
        return f"{what}: is removed; Debian's opendkim does not know it"
    becomes = f"becomes {new[name]}" if name in new else "is removed"
    return f"{what}: {becomes}; {_keeping(option, settings, {**texts, name: option.value})}"


def _instead(option: Option, texts: Mapping[str, str]) -> str:
    domain = _named("DOMAIN", names.mail_domain, texts.get("Domain", ""))
    if option.name == "KeyFile":
        return f"import the key by: {_import(option, domain, texts)}"
    if option.name == "Selector":
        return _for_selector(option.value, domain)
    return _INSTEAD[option.name].format(domain=domain)


def _keeping(option: Option, settings: Settings, texts: Mapping[str, str]) -> str:
    """Return the settings that keep an option, or why the pillar can't have the option's value."""
    is_shown = option.value == _shown(option)
    try:
        kept = kept_options.keeping(option.name, texts, settings)
    except InvalidValue as error:
        return str(error) if is_shown else f"{SETTINGS}:{option.name} can't have its value"
    if not is_shown:
        return f"to keep it, set {SETTINGS}:{option.name} to its present value"
    pairs = (f"{SETTINGS}:{name} to {kept_options.as_pillar(kept[name])}" for name in kept)
    return f"to keep it, set {' and '.join(pairs)}"


def _named(unknown: str, check: Callable[[object, str], str], text: str) -> str:
    """Return a checked name, or the word that stands for a name that a person has to give."""
    try:
        return check(text, unknown)
    except InvalidValue:
        return unknown


def _import(option: Option, domain: str, texts: Mapping[str, str]) -> str:
    selector = _named("SELECTOR", names.served_selector, texts.get("Selector", ""))
    path = option.value
    given = path if path.startswith("/") and path == _shown(option) else "PATH"
    return f"salt-call dkim.import_key {' '.join(map(as_argument, (domain, selector, given)))}"


def _for_selector(text: str, domain: str) -> str:
    if _named("", names.selector, text) == text:
        plain = as_yaml_string(text) if as_argument(text) != text or text.isdigit() else text
        return f"set dkim:domains:{domain}:selector to {plain}"
    if _named("", names.served_selector, text) == text:
        return "dkim.import_key keeps it for the imported key; the pillar can't name it"
    return "give the imported key a selector of letters, digits and hyphens"


def _shown(option: Option) -> str:
    if _SECRET.search(f"{option.name} {option.value}"):
        return "(not shown: it may hold a password)"
    return "".join(one if one.isprintable() else "?" for one in option.value)[:200]
