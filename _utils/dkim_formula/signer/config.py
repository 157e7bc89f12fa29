"""An opendkim.conf(5) that is there already: its options, what becomes of them, and its copy."""

import contextlib
import errno
import hashlib
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..errors import OpenDKIMError
from ..files import replace_file
from ..postfix.expansion import QUEUE
from ..settings.model import Settings
from ..settings.opendkim_options import OPTIONS, OWNED, spelling
from . import daemons, unit
from .daemons import Daemon
from .restart import previous_addresses

COPY = ".before-dkim-formula"
DPKG_QUERY = "/usr/bin/dpkg-query"

_LARGEST = 1_000_000  # octets
_DEPTH = 5  # of files that include files
_SETTINGS = "dkim:opendkim:settings"
# What the unit does in their place, so that nobody has to do anything.
_BY_THE_UNIT = (
    "UserID",
    "Background",
    "PidFile",
    "AutoRestart",
    "AutoRestartCount",
    "AutoRestartRate",
)
# Options of a daemon with one key, and what takes their place.
_INSTEAD = {
    "KeyFile": "import the key by: salt-call dkim.import_key {domain} {selector} {value}",
    "Selector": "set dkim:domains:{domain}:selector to {value}",
    "Domain": "name it in dkim:domains",
    "SubDomains": "set dkim:domains:{domain}:subdomains to true, or dkim:defaults:subdomains",
    "KeyTable": "import its keys by: salt-call dkim.import_tables source=opendkim",
    "SigningTable": "dkim.import_tables source=opendkim reads it; docs/moving.md",
    "Socket": "main.cf follows to the formula's socket; dkim:lookup:socket_directory moves it",
    "SignatureAlgorithm": "set dkim:defaults:algorithm",
    "ChangeRootDirectory": "the unit's sandbox takes its place; dkim:opendkim:sandbox",
    "Include": "give its options in dkim:opendkim:settings",
}
# Options that name the one key of a file; where the file has none, a person has to.
_NAMING = ("Domain", "Selector")
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_UNKNOWN = {"domain": "DOMAIN", "selector": "SELECTOR"}
_SECRET = re.compile(r"://|passw|secret", re.IGNORECASE)
# In a data set's name, user:password@host, and the one option that is a password: opendkim(8),
# opendkim.conf(5).
_PASSWORDS = (
    re.compile(r"(://[^:/@\s]*):\S*@"),
    re.compile(r"^(\s*LDAPBindPassword\s+)\S.*$", re.IGNORECASE | re.MULTILINE),
)
_LEFT_OUT = "LEFT-OUT"


@dataclass(frozen=True)
class Option:
    """One line of an opendkim.conf(5); ``name`` is in the manual's spelling where it is known."""

    name: str
    value: str
    path: str
    line: int


def parse(text: str, path: str) -> list[Option]:
    """Return the options of a file: a name, white space, a value; ``#`` begins a comment."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#", 1)[0].split(None, 1)
        if words:
            value = " ".join(words[1].split()) if len(words) > 1 else ""
            found.append(Option(spelling(words[0]) or words[0], value, path, number))
    return found


def differing(settings: Settings, daemon: Daemon) -> list[str]:
    """
    Return the names of the options that the daemon's file has otherwise than the settings have
    them, or not at all, or too many; no value, since one made by hand may hold a password.
    """
    wanted = daemons.options(settings, daemon)
    there: dict[str, str] = {}
    found = []
    for option in parse(_text(daemon.config_file), daemon.config_file):
        if option.name in there or option.name not in wanted:
            found.append(option.name)
        there[option.name] = option.value
    found += [name for name, value in wanted.items() if there.get(name) != " ".join(value.split())]
    return list(dict.fromkeys(found))


def options(path: str, depth: int = _DEPTH) -> list[Option]:
    """Return the options of a file and of those that it includes; none where it can't be read."""
    found = []
    for option in parse(_text(path), path):
        found.append(option)
        if option.name == "Include" and depth > 0:
            found += options(option.value, depth - 1)
    return found


def is_formulas(path: str) -> bool:
    """Return whether the formula has written a file."""
    return _text(path).startswith(daemons.HEADER)


def is_sites_own(path: str) -> bool:
    """Return whether a file is there that neither the formula nor the package has written."""
    text = _text(path)
    return bool(text) and not text.startswith(daemons.HEADER) and not _is_packaged(path, text)


def dropped(settings: Settings, daemon: Daemon) -> list[str]:
    """
    Return what becomes of each option of a file of the site's that differs in the formula's, a line
    each: its place, its value where it can't be secret, and the setting that keeps it.
    """
    if not is_sites_own(daemon.config_file):
        return []
    new = daemons.options(settings, daemon)
    lines = []
    by_unit = []
    found = [*options(daemon.config_file)]
    named = {one.name.lower(): one.value for one in found if one.name in _NAMING}
    names = {**_UNKNOWN, **{name: one for name, one in named.items() if _NAME.fullmatch(one)}}
    for option in found:
        if option.name in _BY_THE_UNIT:
            by_unit.append(option.name)
        elif option.value != new.get(option.name):
            lines.append(
                f"{option.path}, line {option.line}: {_fate(option, new, settings, names)}"
            )
    if by_unit:
        listed = ", ".join(by_unit)
        lines.append(
            f"{daemon.config_file}: {listed}: the unit decides this; nothing is to be done"
        )
    if lines:
        lines.append(f"{daemon.config_file}: the file of today is kept as {copy_wanted(daemon)}")
    return lines


def moved_from(found: Sequence[Daemon], lookup: Mapping[str, object]) -> dict[str, list[str]]:
    """
    Return the addresses that each daemon had before, by its milter: those of its file, of the
    copies of that file, and of the command lines of its unit.
    """
    queue = str(lookup.get("postfix_chroot", QUEUE))
    result = {}
    for daemon in found:
        texts = [_text(path) for path in [daemon.config_file, *copies(daemon.config_file)]]
        texts += [f"Socket {socket}" for socket in unit.sockets(daemon.service)]
        every = [
            address for text in texts for address in previous_addresses(text, queue, daemon.socket)
        ]
        result[daemon.milter] = list(dict.fromkeys(every))
    return result


def copy_wanted(daemon: Daemon) -> str:
    """Return the path that the site's own file is to be kept at, or an empty string."""
    path = daemon.config_file
    if not is_sites_own(path):
        return ""
    text = _without_passwords(_text(path))
    kept = copies(path)
    same = next((copy for copy in kept if _text(copy) == text), None)
    return same or f"{path}{COPY}{f'.{len(kept) + 1}' if kept else ''}"


def lacks_copy(path: str, copy: str) -> bool:
    """Return whether a file is there and its copy is not."""
    return os.path.isfile(path) and not os.path.lexists(copy)


def keep(path: str, copy: str) -> None:
    """
    Copy a file for root alone, mode 0400. A password in it is left out: a secret stands in as few
    files as can be, and the role that had this one loses it. A copy that is there stays.

    Raises OpenDKIMError where the copy can't be written. It is there whole or not at all: the next
    run would take a part for the copy.
    """
    try:
        if os.path.lexists(copy):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        replace_file(copy, _without_passwords(_text(path)), 0o400)
    except OSError as error:
        raise OpenDKIMError(
            f"{path}: can't be copied to {copy}: {error.strerror}; make room there, and run again"
        ) from None


def _fate(
    option: Option, new: Mapping[str, str], settings: Settings, names: Mapping[str, str]
) -> str:
    name = option.name
    what = f"{name} {_shown(option)}".strip()
    if name in _INSTEAD:
        return f"{what}: goes; {_INSTEAD[name].format(value=_shown(option), **names)}"
    if name in settings.opendkim.settings:
        return f"{what}: {_SETTINGS}:{name} of the pillar takes its place"
    if name in OWNED:
        return f"{what}: goes; {OWNED[name]}"
    if name not in OPTIONS:
        return f"{what}: goes; Debian's opendkim does not know it"
    becomes = f"becomes {new[name]}" if name in new else "goes"
    return f"{what}: {becomes}; to keep it, set {_SETTINGS}:{name} to {_in_pillar(option)}"


def _in_pillar(option: Option) -> str:
    if not option.value or option.value != _shown(option):
        return "the value that it has"
    if OPTIONS[option.name] == "dataset" and not re.match(r"[a-z]+:|/", option.value):
        return f"[{', '.join(repr(one.strip()) for one in option.value.split(','))}]"
    return repr(option.value)


def _shown(option: Option) -> str:
    if _SECRET.search(f"{option.name} {option.value}"):
        return "(not shown: it may hold a password)"
    return "".join(one if one.isprintable() else "?" for one in option.value)[:200]


def _without_passwords(text: str) -> str:
    in_name, option = _PASSWORDS
    return option.sub(rf"\g<1>{_LEFT_OUT}", in_name.sub(rf"\g<1>:{_LEFT_OUT}@", text))


def copies(path: str) -> list[str]:
    """Return the copies of a file that the formula has kept, in the order of their names."""
    folder, name = os.path.split(path)
    with contextlib.suppress(OSError):
        found = [one for one in os.listdir(folder) if one.startswith(f"{name}{COPY}")]
        return [os.path.join(folder, one) for one in sorted(found)]
    return []


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read(_LARGEST)
    except (OSError, ValueError):  # ValueError: no path can have this text
        return ""


def _is_packaged(path: str, text: str) -> bool:
    """Return whether a package brought the file just as it is: dpkg knows its digest."""
    data = text.encode("utf-8", "surrogateescape")
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return any(line == f"{path} {digest}" for line in _conffiles())


def _conffiles() -> Iterator[str]:
    command = [DPKG_QUERY, "--show", "--showformat=${Conffiles}\n", "opendkim"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return
    yield from (line.strip() for line in done.stdout.splitlines())
