"""
The keys of rspamd's module dkim_signing: a folder of key files, maps, sections for domains.

The choice of the key that signs follows the module (lua_dkim_tools.lua, prepare_dkim_signing, 3.4).
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from ..errors import InvalidValue
from ..names import mail_domain
from ..record_names import key_name
from . import ucl
from .held import Held

CONFIGURATION = "/etc/rspamd"
_DATA = "/var/lib/rspamd"  # DBDIR of Debian's package
# The module's own defaults (dkim_signing.lua).
_PATH = "$DBDIR/dkim/$domain.$selector.key"
_SELECTOR = "dkim"
_MODULE = "dkim_signing"
# Later files override earlier ones.
_FILES = (f"modules.d/{_MODULE}.conf", f"local.d/{_MODULE}.conf", f"override.d/{_MODULE}.conf")
_MAP = re.compile(r"(?:(?:fallback\+)?file://)?(/[^\s\"]+)")
_VARIABLE = re.compile(r"\$\{?(domain|selector)\}?")
_SWITCHES = ("use_redis", "use_vault", "use_http_headers")


@dataclass(frozen=True)
class KeyFile:
    """A key file that rspamd looks for: domain and selector, and the path."""

    domain: str
    selector: str
    path: str
    location: str


@dataclass
class Configuration:
    """The module's settings, merged from all its files."""

    folder: str
    settings: ucl.Section
    problems: list[tuple[str, str]] = field(default_factory=list)

    @property
    def is_on(self) -> bool:
        """Whether the module is enabled and signs with the keys that it finds."""
        return not self.settings.is_off("enabled")

    @property
    def other_key_source(self) -> str:
        """The option that has the module take keys from a source other than files, or ''."""
        used = (one for one in _SWITCHES if one in self.settings.values)
        return next((one for one in used if not self.settings.is_off(one)), "")

    def expanded(self, text: str) -> str:
        """Return a path with rspamd's variables replaced."""
        known = {"LOCAL_CONFDIR": self.folder, "CONFDIR": self.folder, "DBDIR": _DATA}
        for name, value in known.items():
            text = text.replace(f"${{{name}}}", value).replace(f"${name}", value)
        return text


def configuration(folder: str | None) -> Configuration:
    """
    Return the module's settings.

    folder
        rspamd's configuration folder, :data:`CONFIGURATION` by default. A missing file counts as
        empty.

    Raises InvalidValue if the folder is missing.
    """
    home = folder or CONFIGURATION
    if folder is not None and not os.path.isdir(home):
        raise InvalidValue("config", home, "is no folder", "give rspamd's, as /etc/rspamd")
    found = Configuration(home, ucl.Section())
    for name in _FILES:
        path = os.path.join(home, name)
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                section = ucl.parse(stream.read())
        except FileNotFoundError:
            continue
        except OSError as error:
            found.problems.append((path, f"can't be read: {error.strerror}"))
            continue
        except ucl.NotUnderstood as error:
            found.problems.append((path, f"line {error}: can't be parsed, so the file is ignored"))
            continue
        if name == _FILES[0]:
            section = section.section(_MODULE)
        else:
            found.problems += [(path, f"{macro}: is not read") for macro in section.macros]
        found.settings.merge(section)
    return found


def read(
    config: str | None,
    folder: str | None = None,
    selector_map: str | None = None,
    path_map: str | None = None,
    domains: Collection[str] = (),
) -> Held:
    """
    Return the keys of rspamd.

    config
        The folder of rspamd's configuration.
    folder, selector_map, path_map
        The folder of the keys and the files of the maps, instead of the configured ones.
    domains
        Known domains. They show which part of a file name is the domain and which the selector.
    """
    found = configuration(config)
    for name, value in (("selector_map", selector_map), ("path_map", path_map)):
        if value is not None:
            found.settings.values[name] = value
    template = found.expanded(found.settings.text("path") or _PATH)
    if folder is not None:
        template = os.path.join(folder, os.path.basename(template))
    held = Held()
    for entry, reason in found.problems:
        held.refuse(entry, reason)
    option = found.other_key_source
    if option:
        held.refuse(
            f"{option} ({found.folder})",
            "has rspamd read keys from a source other than files; write each to a file and use "
            "dkim.import_key",
        )
    if "key_table" in found.settings.values:
        held.refuse(
            f"key_table ({found.folder})",
            "is a table in OpenDKIM's form; give it to dkim.import_tables as key_table",
        )
    _add_keys(held, found, template, domains)
    return held


def _add_keys(held: Held, found: Configuration, template: str, domains: Collection[str]) -> None:
    files = list(_files(template, domains))
    signing = list(_signing_keys(held, found, template, files))
    own = {file.domain for file in signing}
    is_for_subdomains = not found.settings.is_off("use_esld")
    lines = []
    for file in signing:
        name = key_name(file.selector, file.domain)
        if name in held.entries or not held.add(
            name, file.domain, file.selector, file.path, file.location
        ):
            continue
        if not is_for_subdomains:
            lines.append((file.domain, name, file.location))
        elif not _has_parent(file.domain, own):
            # use_esld: the registered domain signs mail of its subdomains (measured).
            lines.append((file.domain, name, file.location))
            lines.append((f".{file.domain}", name, file.location))
    for file in files:
        name = key_name(file.selector, file.domain)
        if name not in held.entries:
            held.add(name, file.domain, file.selector, file.path, file.location)
    held.sign_with_all(*lines)
    if is_for_subdomains and lines:
        held.notes.append(
            "rspamd signs mail of a domain's subdomains with the domain's key (use_esld); set "
            "dkim:defaults:subdomains to true to keep this for all domains"
        )


def _signing_keys(
    held: Held, found: Configuration, template: str, files: Iterable[KeyFile]
) -> Iterator[KeyFile]:
    """Yield the keys that rspamd signs with; ``files`` are the key files of its folder."""
    settings = found.settings
    selectors = _map(held, found, "selector_map")
    paths = _map(held, found, "path_map")
    sections = settings.section("domain").values
    default = settings.text("selector") or _SELECTOR
    named = dict.fromkeys((*sections, *selectors, *paths))
    is_fallback = not settings.is_off("try_fallback")
    for file in files if is_fallback else ():
        named.setdefault(file.domain)
    for domain in named:
        if not _is_domain(domain):
            held.refuse(f"{domain} ({found.folder})", "is not a domain that can have a key")
            continue
        section = sections.get(domain)
        given = list(_of_section(section)) if isinstance(section, ucl.Section) else []
        for own_selector, own_path in given or [(None, None)]:
            selector = own_selector or selectors.get(domain) or default
            expanded = found.expanded(own_path or paths.get(domain) or template)
            path = _filled(expanded, domain, selector)
            is_default = not given and domain not in selectors and domain not in paths
            if is_default and not os.path.exists(path):
                continue
            yield KeyFile(domain, selector, path, path)


def _of_section(section: ucl.Section) -> Iterator[tuple[str | None, str | None]]:
    if section.text("selector") or section.text("path"):
        yield section.text("selector"), section.text("path")
    several = section.values.get("selectors")
    for one in several if isinstance(several, list) else (several,):
        if isinstance(one, ucl.Section):
            yield one.text("selector"), one.text("path")


def _map(held: Held, found: Configuration, name: str) -> dict[str, str]:
    """Return the value for each domain of a map."""
    given = found.settings.values.get(name)
    if given is None:
        return {}
    if isinstance(given, ucl.Section):
        return {key.lower(): value for key, value in given.values.items() if isinstance(value, str)}
    if isinstance(given, list):
        return _map_rows(held, [str(one) for one in given], name)
    match = _MAP.fullmatch(found.expanded(str(given)))
    if match is None:
        held.refuse(f"{name} ({found.folder})", f"{given} is no file; give {name}=/FILE")
        return {}
    path = match[1]
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return _map_rows(held, stream.read().split("\n"), path)
    except OSError as error:
        held.refuse(f"{name} ({path})", f"can't be read: {error.strerror}")
        return {}


def _map_rows(held: Held, rows: list[str], location: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        words = row.partition("#")[0].replace('"', " ").split()
        if not words:
            continue
        if len(words) != 2:
            held.refuse(f"{location}, line {number}", "is not DOMAIN VALUE")
            continue
        # The last row of a domain counts (measured, 3.4, which logs a warning).
        found[words[0].lower()] = words[1]
    return found


def _filled(template: str, domain: str, selector: str) -> str:
    values = {"domain": domain, "selector": selector}
    return _VARIABLE.sub(lambda found: values[found[1]], template)


def _files(template: str, domains: Collection[str]) -> Iterator[KeyFile]:
    """Yield the files of the keys' folder whose names match the template."""
    folder, base = os.path.split(template)
    if "$" in folder or set(_VARIABLE.findall(base)) != {"domain", "selector"}:
        return
    names: list[str] = []
    with contextlib.suppress(OSError):
        names = sorted(os.listdir(folder))
    for name in names:
        match = _match(base, name, domains)
        if match:
            yield KeyFile(*match, os.path.join(folder, name), os.path.join(folder, name))


def _match(base: str, name: str, domains: Collection[str]) -> tuple[str, str] | None:
    """
    Return the domain and the selector in a file's name, or None.

    A known domain is preferred. In the name of any other domain the selector has no dot.
    """
    labels = name.lower().split(".")
    size = len(labels)
    parts = (".".join(labels[i:j]) for i in range(size) for j in range(i + 1, size + 1))
    known = sorted({part for part in parts if part in domains}, key=len, reverse=True)
    for domain in [*map(re.escape, known), ".+"]:
        groups = {"domain": domain, "selector": "[^.]+" if domain == ".+" else ".+"}
        found = re.fullmatch(_pattern(base, groups), name, re.IGNORECASE)
        if found and _is_domain(found["domain"]):
            return found["domain"].lower(), found["selector"]
    return None


def _pattern(base: str, groups: dict[str, str]) -> str:
    """Return the template as a regular expression with a group for each variable."""
    pattern, seen = "", set()
    for number, part in enumerate(_VARIABLE.split(base)):
        if number % 2 == 0:
            pattern += re.escape(part)
        else:
            pattern += f"(?P={part})" if part in seen else f"(?P<{part}>{groups[part]})"
            seen.add(part)
    return pattern


def _has_parent(domain: str, domains: Collection[str]) -> bool:
    parent = domain.partition(".")[2]
    return bool(parent) and (parent in domains or _has_parent(parent, domains))


def _is_domain(text: str) -> bool:
    try:
        return mail_domain(text) == text.lower()
    except InvalidValue:
        return False
