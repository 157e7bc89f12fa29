"""
The keys of rspamd's module dkim_signing: a folder of key files, maps, sections for domains.

Which key signs is told as the module does it (lua_dkim_tools.lua, prepare_dkim_signing, 3.4).
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
# Later ones lie over earlier ones.
_FILES = (f"modules.d/{_MODULE}.conf", f"local.d/{_MODULE}.conf", f"override.d/{_MODULE}.conf")
_MAP = re.compile(r"(?:(?:fallback\+)?file://)?(/[^\s\"]+)")
_VARIABLE = re.compile(r"\$\{?(domain|selector)\}?")
_SWITCHES = ("use_redis", "use_vault", "use_http_headers")


@dataclass(frozen=True)
class Signer:
    """A key that rspamd looks for: whose it is, and where it is written so."""

    domain: str
    selector: str
    path: str
    place: str


@dataclass
class Configuration:
    """The module's settings, all files laid over one another."""

    folder: str
    settings: ucl.Section
    problems: list[tuple[str, str]] = field(default_factory=list)

    @property
    def is_on(self) -> bool:
        """Whether the module signs where it finds a key."""
        return not self.settings.is_off("enabled")

    @property
    def has_keys_elsewhere(self) -> str:
        """The option that has the module take keys from somewhere else than files, or ''."""
        used = (one for one in _SWITCHES if one in self.settings.values)
        return next((one for one in used if not self.settings.is_off(one)), "")

    def expanded(self, text: str) -> str:
        """A path with rspamd's variables replaced."""
        known = {"LOCAL_CONFDIR": self.folder, "CONFDIR": self.folder, "DBDIR": _DATA}
        for name, value in known.items():
            text = text.replace(f"${{{name}}}", value).replace(f"${name}", value)
        return text


def configuration(folder: str | None) -> Configuration:
    """
    Return the module's settings.

    folder
        rspamd's own, :data:`CONFIGURATION` by default. A file that is missing is an empty one.

    Raises InvalidValue for a folder that is missing.
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
            found.problems.append((path, f"line {error}: is not understood, nor the file"))
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
        The folder of its configuration.
    folder, selector_map, path_map
        In place of what its configuration says: the folder of the keys, and the maps' files.
    domains
        Known ones, which tell where a file's name goes on with the selector.
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
    elsewhere = found.has_keys_elsewhere
    if elsewhere:
        held.refuse(
            f"{elsewhere} ({found.folder})",
            "has rspamd take keys from elsewhere; write each to a file and use dkim.import_key",
        )
    if "key_table" in found.settings.values:
        held.refuse(
            f"key_table ({found.folder})",
            "is a table as OpenDKIM has it; give it to dkim.import_tables as key_table",
        )
    _add_keys(held, found, template, domains)
    return held


def _add_keys(held: Held, found: Configuration, template: str, domains: Collection[str]) -> None:
    files = list(_files(template, domains))
    signing = list(_signers(held, found, template, files))
    own = {signer.domain for signer in signing}
    is_for_subdomains = not found.settings.is_off("use_esld")
    lines = []
    for signer in signing:
        name = key_name(signer.selector, signer.domain)
        if name in held.entries or not held.add(
            name, signer.domain, signer.selector, signer.path, signer.place
        ):
            continue
        if not is_for_subdomains:
            lines.append((signer.domain, name, signer.place))
        elif not _has_parent(signer.domain, own):
            # use_esld: mail of a subdomain is signed by the domain that is registered (measured).
            lines.append((signer.domain, name, signer.place))
            lines.append((f".{signer.domain}", name, signer.place))
    for signer in files:
        name = key_name(signer.selector, signer.domain)
        if name not in held.entries:
            held.add(name, signer.domain, signer.selector, signer.path, signer.place)
    held.sign_with_all(*lines)
    if is_for_subdomains and lines:
        held.notes.append(
            "rspamd signs mail of a domain's subdomains with the domain's key (use_esld); set "
            "dkim:defaults:subdomains to true to go on so for all of them"
        )


def _signers(
    held: Held, found: Configuration, template: str, files: Iterable[Signer]
) -> Iterator[Signer]:
    """The keys that rspamd signs with; ``files`` are those of its folder."""
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
            held.refuse(f"{domain} ({found.folder})", "is no domain that a key can be for")
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
            yield Signer(domain, selector, path, path)


def _of_section(section: ucl.Section) -> Iterator[tuple[str | None, str | None]]:
    if section.text("selector") or section.text("path"):
        yield section.text("selector"), section.text("path")
    several = section.values.get("selectors")
    for one in several if isinstance(several, list) else (several,):
        if isinstance(one, ucl.Section):
            yield one.text("selector"), one.text("path")


def _map(held: Held, found: Configuration, name: str) -> dict[str, str]:
    """A map's content: a value for each domain."""
    given = found.settings.values.get(name)
    if given is None:
        return {}
    if isinstance(given, ucl.Section):
        return {key.lower(): value for key, value in given.values.items() if isinstance(value, str)}
    if isinstance(given, list):
        return _map_rows(held, [str(one) for one in given], name)
    place = _MAP.fullmatch(found.expanded(str(given)))
    if place is None:
        held.refuse(f"{name} ({found.folder})", f"{given} is no file; give {name}=/FILE")
        return {}
    try:
        with open(place[1], encoding="utf-8", errors="replace") as stream:
            return _map_rows(held, stream.read().split("\n"), place[1])
    except OSError as error:
        held.refuse(f"{name} ({place[1]})", f"can't be read: {error.strerror}")
        return {}


def _map_rows(held: Held, rows: list[str], place: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        words = row.partition("#")[0].replace('"', " ").split()
        if not words:
            continue
        if len(words) != 2:
            held.refuse(f"{place}, line {number}", "is not DOMAIN VALUE")
            continue
        # Of a double the last one counts (measured, 3.4, which warns of it in its log).
        found[words[0].lower()] = words[1]
    return found


def _filled(template: str, domain: str, selector: str) -> str:
    values = {"domain": domain, "selector": selector}
    return _VARIABLE.sub(lambda found: values[found[1]], template)


def _files(template: str, domains: Collection[str]) -> Iterator[Signer]:
    """The files of the keys' folder whose names fit the template."""
    folder, base = os.path.split(template)
    if "$" in folder or set(_VARIABLE.findall(base)) != {"domain", "selector"}:
        return
    names: list[str] = []
    with contextlib.suppress(OSError):
        names = sorted(os.listdir(folder))
    for name in names:
        fit = _fit(base, name, domains)
        if fit:
            yield Signer(*fit, os.path.join(folder, name), os.path.join(folder, name))


def _fit(base: str, name: str, domains: Collection[str]) -> tuple[str, str] | None:
    """Domain and selector in a file's name: a known domain, or else a selector without a dot."""
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
    """The template as an expression with a group for each variable."""
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
