"""
The keys of rspamd's module dkim_signing: a folder of key files, maps, sections for domains.

The choice of the key that signs follows the module (lua_dkim_tools.lua, prepare_dkim_signing, 3.4).
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from ..record_names import key_name
from . import rspamd_paths, ucl
from .held import Held
from .registered_domains import RegisteredDomains
from .rspamd_config import HEADER, Configuration, configuration

_MAP = re.compile(r"(?:(?:fallback\+)?file://)?(/[^\s\"]+)")
_DOMAIN_OPTIONS = (
    "use_domain_custom",
    "use_domain_sign_inbound",
    "use_domain_sign_local",
    "use_domain_sign_networks",
)
_LISTED = 20


@dataclass(frozen=True)
class KeyFile:
    """A key file that rspamd looks for: domain and selector, and the path."""

    domain: str
    selector: str
    path: str


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
        The domains that may send mail. They show which part of a file name is the domain and which
        the selector, and they have a key each if the paths of the key files have no domain.
    """
    found = configuration(config)
    for name, value in (("selector_map", selector_map), ("path_map", path_map)):
        if value is not None:
            found.settings.values[name] = value
    if folder is not None:
        found.settings.values["path"] = rspamd_paths.moved(found.template, folder)
    held = Held(is_on=found.is_on)
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
    _Reader(held, found, domains).read()
    return held


def has_key(found: Configuration) -> bool:
    """Return whether a key file exists that signs mail of every domain."""
    template = found.template
    return (
        found.uses_files
        and not found.settings.is_off("try_fallback")
        and not rspamd_paths.has_variable(template, "domain")
        and os.path.isfile(rspamd_paths.filled(template, "", found.selector))
    )


class _Reader:
    """The choice of the keys that sign, and of the domains whose mail each key signs."""

    def __init__(self, held: Held, found: Configuration, domains: Collection[str]):
        self.held = held
        self.found = found
        self.settings = found.settings
        self.domains = domains
        self.registered = RegisteredDomains(domains)
        self.uses_registered = not found.settings.is_off("use_esld")
        self.is_fallback = not found.settings.is_off("try_fallback")
        self.selectors: dict[str, str] = {}
        self.paths: dict[str, str] = {}

    def read(self) -> None:
        held, template = self.held, self.found.template
        self.selectors = _map(held, self.found, "selector_map")
        self.paths = _map(held, self.found, "path_map")
        matches: list[rspamd_paths.Match] = []
        if template.startswith("/"):
            matches = list(rspamd_paths.files(template, self.domains))
        else:
            held.refuse(
                f"path ({self.found.folder})",
                f"{template} is no absolute path; give the keys' folder as folder=",
            )
        sections = self.settings.section("domain").values
        own = {*sections, *self.selectors, *self.paths, *(match.domain for match in matches)}
        self.registered.known |= own
        signing = list(self._signing_keys(matches)) if self.found.uses_files else []
        self._sign(signing)
        self._keep_unused(matches, {file.path for file in signing})
        if template.startswith("/") and not matches and self.found.uses_files:
            self._note_missing(template)
        self._note_domains()
        if held.entries and not held.is_on:
            held.notes.append(
                "enabled = false: rspamd signs no mail with these keys today; see that their "
                "records are in DNS"
            )

    def _signing_keys(self, matches: Iterable[rspamd_paths.Match]) -> Iterator[KeyFile]:
        """Yield the keys that rspamd signs with; ``matches`` are the files of its template."""
        sections = self.settings.section("domain").values
        named = dict.fromkeys((*sections, *self.selectors, *self.paths))
        for domain in self._candidates(matches):
            named.setdefault(domain)
        for domain in named:
            if not rspamd_paths.is_domain(domain):
                self.held.refuse(
                    f"{domain} ({self.found.folder})", "is not a domain that can have a key"
                )
                continue
            if domain != domain.lower():
                self.held.refuse(
                    f"{domain} ({self.found.folder})",
                    "never matches: rspamd finds a section by its name in lower case",
                )
                continue
            if self.found.fixed_domain and domain != self._as_signed(self.found.fixed_domain):
                continue
            yield from self._keys_of(domain, sections.get(domain))

    def _candidates(self, matches: Iterable[rspamd_paths.Match]) -> Iterator[str]:
        """Yield the domains that rspamd may sign for without settings of their own."""
        if self.found.fixed_domain:
            yield self._as_signed(self.found.fixed_domain)
        elif rspamd_paths.has_variable(self.found.template, "domain"):
            yield from (match.domain for match in matches)
        else:
            yield from (self._as_signed(domain) for domain in sorted(self.domains))

    def _as_signed(self, domain: str) -> str:
        """Return the domain as which rspamd signs mail of a domain."""
        return self.registered.of(domain) if self.uses_registered else domain

    def _keys_of(self, domain: str, section: object) -> Iterator[KeyFile]:
        given = list(_of_section(section)) if isinstance(section, ucl.Section) else []
        is_default = not given and domain not in self.selectors and domain not in self.paths
        for own_selector, own_path in given or [(None, None)]:
            selector = own_selector or self.selectors.get(domain) or self.found.selector
            template = self.found.expanded(own_path or self.paths.get(domain) or "")
            path = rspamd_paths.filled(template or self.found.template, domain, selector)
            if is_default and not (self.is_fallback and os.path.exists(path)):
                continue
            yield KeyFile(domain, selector, path)

    def _sign(self, signing: Iterable[KeyFile]) -> None:
        held, lines = self.held, []
        # rspamd passes over a file that is missing, so a file that exists comes first.
        for file in sorted(signing, key=lambda one: not os.path.isfile(one.path)):
            name = key_name(file.selector, file.domain)
            present = held.entries.get(name)
            if present is not None:
                if present.location != file.path:
                    held.refuse(
                        f"{name} ({file.path})",
                        f"has the selector of {present.location}, which is imported first",
                    )
                continue
            if not held.add(name, file.domain, file.selector, file.path, file.path):
                continue
            if self.found.fixed_domain:
                lines.append(("*", name, file.path))
            elif not self.uses_registered:
                lines.append((file.domain, name, file.path))
            elif self._as_signed(file.domain) == file.domain:
                # use_esld: the registered domain signs mail of its subdomains (measured).
                lines.append((file.domain, name, file.path))
                lines.append((f".{file.domain}", name, file.path))
        held.sign_with_all(*lines)
        if self.uses_registered and lines and not self.found.fixed_domain:
            held.notes.append(
                "rspamd signs mail of a domain's subdomains with the domain's key (use_esld); set "
                "dkim:defaults:subdomains to true to keep this for all domains"
            )

    def _keep_unused(self, matches: Iterable[rspamd_paths.Match], used: Collection[str]) -> None:
        unclear = []
        for match in matches:
            if match.path in used:
                continue
            if not match.domain or not match.selector:
                unclear.append(match.path)
                continue
            name = key_name(match.selector, match.domain)
            if name not in self.held.entries:
                self.held.add(name, match.domain, match.selector, match.path, match.path)
        if unclear:
            self.held.notes.append(
                "no known domain signs with these key files, and their paths do not show whose "
                f"they are: {_listed(unclear)}; if DNS has the record, use dkim.import_key"
            )

    def _note_missing(self, template: str) -> None:
        if "path" in self.settings.values or not self.held.entries:
            self.held.notes.append(
                f"no key file is found at {template} (selector {self.found.selector}); if rspamd's "
                "keys are in another folder, give it as folder="
            )

    def _note_domains(self) -> None:
        """Note the options by which rspamd signs as another domain than that of From:."""
        use_domain = (self.settings.text("use_domain") or HEADER).lower()
        given = {"use_domain": use_domain} if use_domain != HEADER else {}
        given |= {
            name: "its function" if name == "use_domain_custom" else self.settings.text(name) or ""
            for name in _DOMAIN_OPTIONS
            if name in self.settings.values
        }
        self.held.notes += [
            f"{name} = {value}: rspamd does not always sign as the domain of From:, as the formula "
            "does; set alias_of for domains that are to sign as another domain"
            for name, value in given.items()
            if value.lower() != HEADER
        ]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")


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
