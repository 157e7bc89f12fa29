"""An existing opendkim.conf(5): its options, the changes that the formula makes, and its copy."""

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
_DEPTH = 5  # levels of files that include files
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
# A password in a data set's name, user:password@host, and the only option that is a password:
# opendkim(8), opendkim.conf(5).
_PASSWORDS = (
    re.compile(r"(://[^:/@\s]*):\S*@"),
    re.compile(r"^(\s*LDAPBindPassword\s+)\S.*$", re.IGNORECASE | re.MULTILINE),
)
_LEFT_OUT = "LEFT-OUT"


@dataclass(frozen=True)
class Option:
    """A line of an opendkim.conf(5); a known ``name`` is in the manual's spelling."""

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
    Return the names of options that differ between the daemon's file and the settings.

    Missing, surplus and duplicate options count too. Values are left out, because a value set by
    hand may contain a password.
    """
    desired = daemons.options(settings, daemon)
    present: dict[str, str] = {}
    found = []
    for option in parse(_text(daemon.config_file), daemon.config_file):
        if option.name in present or option.name not in desired:
            found.append(option.name)
        present[option.name] = option.value
    found += [
        name for name, value in desired.items() if present.get(name) != " ".join(value.split())
    ]
    return list(dict.fromkeys(found))


def options(path: str, depth: int = _DEPTH) -> list[Option]:
    """Return the options of a file and of files that it includes; none if it can't be read."""
    found = []
    for option in parse(_text(path), path):
        found.append(option)
        if option.name == "Include" and depth > 0:
            found += options(option.value, depth - 1)
    return found


def is_managed(path: str) -> bool:
    """Return whether the formula wrote a file."""
    return _text(path).startswith(daemons.HEADER)


def is_custom(path: str) -> bool:
    """Return whether a file exists that neither the formula nor the package wrote."""
    text = _text(path)
    return bool(text) and not text.startswith(daemons.HEADER) and not _is_packaged(path, text)


def changed_options(settings: Settings, daemon: Daemon) -> list[str]:
    """
    Return a line for each option of a custom file that the formula's file changes.

    A line has the option's location, its value unless that may be secret, and the setting that
    keeps the option.
    """
    if not is_custom(daemon.config_file):
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
            change = _change(option, new, settings, names)
            lines.append(f"{option.path}, line {option.line}: {change}")
    if by_unit:
        listed = ", ".join(by_unit)
        lines.append(
            f"{daemon.config_file}: {listed}: the unit decides this; you need not do anything"
        )
    if lines:
        lines.append(f"{daemon.config_file}: the present file is kept as {copy_path(daemon)}")
    return lines


def moved_from(found: Sequence[Daemon], lookup: Mapping[str, object]) -> dict[str, list[str]]:
    """
    Return the former addresses of each daemon, by its milter.

    They come from the daemon's file, the copies of that file, and the command lines of its unit.
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


def copy_path(daemon: Daemon) -> str:
    """Return the path for the copy of a custom file, or an empty string."""
    path = daemon.config_file
    if not is_custom(path):
        return ""
    text = _without_passwords(_text(path))
    present = copies(path)
    same = next((copy for copy in present if _text(copy) == text), None)
    return same or f"{path}{COPY}{f'.{len(present) + 1}' if present else ''}"


def lacks_copy(path: str, copy: str) -> bool:
    """Return whether a file exists and its copy is missing."""
    return os.path.isfile(path) and not os.path.lexists(copy)


def save_copy(path: str, copy: str) -> None:
    """
    Copy a file so that only root can read the copy (mode 0400).

    Passwords are left out: a secret should be in as few files as possible, and the role that used
    this password loses it. An existing copy is left as it is.

    Raises OpenDKIMError if the copy can't be written. The copy is written in one step, because the
    next run would take a partial file for the copy.
    """
    try:
        if os.path.lexists(copy):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        replace_file(copy, _without_passwords(_text(path)), 0o400)
    except OSError as error:
        raise OpenDKIMError(
            f"{path}: can't be copied to {copy}: {error.strerror}; make room there, and run again"
        ) from None


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


def _without_passwords(text: str) -> str:
    in_name, option = _PASSWORDS
    return option.sub(rf"\g<1>{_LEFT_OUT}", in_name.sub(rf"\g<1>:{_LEFT_OUT}@", text))


def copies(path: str) -> list[str]:
    """Return the copies that the formula made of a file, in the order of their names."""
    folder, name = os.path.split(path)
    with contextlib.suppress(OSError):
        found = [one for one in os.listdir(folder) if one.startswith(f"{name}{COPY}")]
        return [os.path.join(folder, one) for one in sorted(found)]
    return []


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read(_LARGEST)
    except (OSError, ValueError):  # ValueError: the text is not a valid path
        return ""


def _is_packaged(path: str, text: str) -> bool:
    """Return whether a file is a package's unchanged file: dpkg knows its digest."""
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
