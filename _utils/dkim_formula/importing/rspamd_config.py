"""The settings of rspamd's module dkim_signing, merged from the files of the configuration."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..errors import InvalidValue
from . import ucl

CONFIGURATION = "/etc/rspamd"
_DATA = "/var/lib/rspamd"  # DBDIR of Debian's package
# The module's own defaults (dkim_signing.lua).
_PATH = "$DBDIR/dkim/$domain.$selector.key"
_SELECTOR = "dkim"
_MODULE = "dkim_signing"
# Later files override earlier ones (modules.d/dkim_signing.conf; measured with configdump).
_FILES = (
    f"modules.d/{_MODULE}.conf",
    f"local.d/{_MODULE}.conf",
    f"$DBDIR/dynamic/{_MODULE}.conf",
    f"override.d/{_MODULE}.conf",
)
# Other files of the configuration, which may have the section too.
_MAIN_FILES = (
    "rspamd.conf",
    "rspamd.conf.local",
    "rspamd.conf.local.override",
    "rspamd.conf.override",
)
_SECTION = re.compile(rf"^\s*\"?{_MODULE}\b", re.MULTILINE)
_SWITCHES = ("use_redis", "use_vault", "use_http_headers", "sign_condition")
# Where the signing domain comes from (get_dkim_domain); any other value is the domain itself.
HEADER = "header"
_OTHER_DOMAINS = ("envelope", "auth", "recipient")


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

    @property
    def uses_files(self) -> bool:
        """Whether the module signs with key files that its settings name."""
        if {"signing_table", "key_table"} <= self.settings.values.keys():
            return False
        source = self.other_key_source
        falls_back = source == "use_http_headers" and self.settings.is_on("allow_headers_fallback")
        return not source or falls_back

    @property
    def fixed_domain(self) -> str:
        """The domain as which all mail is signed, or ''."""
        given = (self.settings.text("use_domain") or HEADER).lower()
        return "" if given in (HEADER, *_OTHER_DOMAINS) else given

    @property
    def template(self) -> str:
        """The template of the key files."""
        return self.expanded(self.settings.text("path") or _PATH)

    @property
    def selector(self) -> str:
        """The selector of domains without one of their own."""
        return self.settings.text("selector") or _SELECTOR

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
        path = os.path.join(home, found.expanded(name))
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
        found.problems += [
            (path, f"{macro}: is not read; write its content into this file")
            for macro in section.all_macros()
            # The packaged file includes the other files.
            if name != _FILES[0] or f"/{_MODULE}.conf" not in macro
        ]
        found.settings.merge(section)
    found.problems += _unread_sections(home)
    return found


def _unread_sections(home: str) -> Iterator[tuple[str, str]]:
    """Yield the files that have a section of the module, but that this reader does not merge."""
    folder = os.path.join(home, "modules.d")
    others = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    modules = [f"modules.d/{name}" for name in others if name.endswith(".conf")]
    for name in (*_MAIN_FILES, *modules):
        path = os.path.join(home, name)
        if name == _FILES[0] or not os.path.isfile(path):
            continue
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                has_section = _SECTION.search(stream.read()) is not None
        except OSError as error:
            yield path, f"can't be read: {error.strerror}"
            continue
        if has_section:
            yield (
                path,
                f"its section {_MODULE} is not read; move the options to local.d/{_MODULE}.conf",
            )
