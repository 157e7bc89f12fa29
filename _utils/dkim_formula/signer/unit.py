"""The files that systemd reads for a unit, and settings that override the formula's."""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from . import unit_needs

# systemd.unit(5), «UNIT FILE LOAD PATH». Earlier folders take precedence.
FOLDERS = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
)
DROP_IN = "dkim-formula.conf"
FIRST_LINE = "# Managed by the dkim formula"

_RESTARTS = ("always", "on-failure")
_NO = ("no", "false", "off", "0", "")
# Variables of libpq that do not affect where and how the daemon logs in.
_HARMLESS_VARIABLES = ("PGAPPNAME", "PGCLIENTENCODING", "PGCONNECT_TIMEOUT", "PGTZ")

_NO_SECRETS = (
    *("User", "Group", "Type", "Restart", "DynamicUser", "InaccessiblePaths", "ReadOnlyPaths"),
    *("ReadWritePaths", "TemporaryFileSystem", "PrivateNetwork", "NetworkNamespacePath"),
    *("RestrictAddressFamilies", "SystemCallFilter", "IPAddressDeny"),
)

# The consequences of settings for the daemon.
_DIFFERENT_START = "the daemon would not start as the formula sets it up, so its socket is missing"
_WRONG_ACCOUNT = (
    "PostgreSQL's peer authentication would refuse the daemon, which would restart for ever"
)
_CLOSED = "Postfix could not connect to the daemon's socket"
_HIDDEN = "the daemon would not see its socket's directory, its files, or PostgreSQL's socket"
_NO_SOCKET = "the daemon could not make its socket, or not connect to PostgreSQL's"
_NO_DATABASE = "the daemon could not reach the database's host, or not by each address"
_LOGIN = "the daemon would log in to the database in another way, or not at all"
_STAYS_DOWN = "the daemon would stay down after a crash"
_NO_START = "systemd would not start the daemon if the condition does not hold"


@dataclass(frozen=True)
class Needs:
    """
    The requirements of a daemon for its unit.

    user
        The account that the daemon has to run as.
    environment
        The variables that the formula's file sets.
    writes
        The directories that the daemon writes to, with its socket's.
    reads
        Other files and sockets that the daemon has to reach.
    by_network
        Whether the daemon reaches the database over the network.
    """

    user: str
    environment: Mapping[str, str]
    writes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    by_network: bool = False


@dataclass(frozen=True)
class Setting:
    """An assignment in a unit file."""

    path: str
    line: int
    section: str
    name: str
    value: str


@dataclass(frozen=True)
class Conflict:
    """
    Settings of one file that override the formula's.

    consequence
        The consequence for the daemon, as text.
    fatal
        Whether the daemon would not sign after its next start.
    """

    path: str
    settings: tuple[Setting, ...]
    consequence: str
    fatal: bool


def settings(text: str, path: str) -> list[Setting]:
    """Return the assignments of a unit file. Source: systemd.syntax(7)."""
    found, section, continued, first = [], "", "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if continued and line.lstrip().startswith(("#", ";")):
            continue
        first = first if continued else number
        whole = continued + line.strip()
        if whole.startswith(("#", ";")):
            continued = ""
            continue
        if whole.endswith("\\"):
            continued = whole[:-1] + " "
            continue
        continued = ""
        if whole.startswith("[") and whole.endswith("]"):
            section = whole[1:-1]
        elif "=" in whole:
            name, _, value = whole.partition("=")
            found.append(Setting(path, first, section, name.strip(), value.strip()))
    return found


def files(service: str, root: str = "") -> tuple[list[str], list[str]]:
    """
    Return the unit files of a service, and its drop-ins.

    The first unit file is the one that systemd uses. The drop-ins have systemd's order: by file
    name, whatever their folder. Source: systemd.unit(5).

    root
        A prefix for each folder.
    """
    folders = [f"{root}{folder}" for folder in FOLDERS]
    fragments = [f"{folder}/{service}.service" for folder in folders]
    drop_ins: dict[str, str] = {}
    # The most specific folder counts: «foo-bar.service.d», then «foo-.service.d», «service.d».
    for name in _drop_in_folders(service):
        for folder in folders:
            for entry in _listed(f"{folder}/{name}"):
                drop_ins.setdefault(entry, f"{folder}/{name}/{entry}")
    return (
        _without_duplicates(path for path in fragments if os.path.isfile(path)),
        [drop_ins[name] for name in sorted(drop_ins)],
    )


def conflicts(
    service: str, needs: Needs, command: str, main: bool, root: str = ""
) -> list[Conflict]:
    """
    Return the settings of other unit files that override the formula's.

    service
        The daemon's service, without ``.service``.
    needs
        The requirements of the daemon.
    command
        The daemon's command line.
    main
        True if the unit is the package's and the formula adds a drop-in; False if the unit is the
        formula's own.
    """
    fragments, drop_ins = files(service, root)
    result = []
    if main:
        before = fragments[:1] + [path for path in drop_ins if _name(path) < DROP_IN]
        after = [path for path in drop_ins if _name(path) > DROP_IN]
    else:
        before, after = [], drop_ins
        result += _unmanaged_unit(fragments)
    for path in [*before, *after]:
        found = _without(_read(path), command)
        result += _conflicts(path, found, path in after, needs)
    return result


def messages(found: Iterable[Conflict], service: str) -> Iterator[str]:
    """Yield a message for each conflict: the file, its lines, the consequence, and the remedy."""
    for conflict in found:
        lines = ", ".join(
            f"line {one.line} ({one.name}={_shown(one)})" for one in conflict.settings
        )
        where = f"{conflict.path}, {lines}" if lines else conflict.path
        yield (
            f"{where}: overrides the formula's unit of {service}: {conflict.consequence}, and mail "
            "would leave unsigned or wait, by the milter's default action; remove "
            f"{'these lines' if lines else 'the file'} and run systemctl daemon-reload. Set the "
            "options of a command line in dkim:opendkim:settings"
        )


def sockets(service: str, root: str = "") -> list[str]:
    """Return the sockets that unit files give the daemon on its command line (``-p``)."""
    fragments, drop_ins = files(service, root)
    found = []
    for path in [*fragments, *drop_ins]:
        for one in _read(path):
            if one.name == "ExecStart":
                found += _option(one.value, "-p")
    return _without_duplicates(found)


def _without(found: list[Setting], command: str) -> list[Setting]:
    """Return the settings without a command line that is the formula's own."""
    commands = [one for one in found if one.name == "ExecStart" and one.value]
    if [unit_needs.words(one.value) for one in commands] != [unit_needs.words(command)]:
        return found
    return [one for one in found if one.name != "ExecStart"]


def _conflicts(
    path: str, found: Sequence[Setting], after: bool, needs: Needs
) -> Iterator[Conflict]:
    grouped: dict[tuple[str, bool], list[Setting]] = {}
    families = [one for one in found if one.name == "RestrictAddressFamilies"] if after else []
    if unit_needs.closes_sockets([one.value for one in families]):
        yield Conflict(path, tuple(families), _NO_SOCKET, True)
    for one in found:
        effect = _effect(one, after, needs)
        if effect is not None:
            grouped.setdefault(effect, []).append(one)
    for (consequence, fatal), those in grouped.items():
        yield Conflict(path, tuple(those), consequence, fatal)


def _effect(one: Setting, after: bool, needs: Needs) -> tuple[str, bool] | None:
    """Return the consequence of a setting and whether it is fatal; None if it is harmless."""
    name = "Condition" if one.name.startswith(("Condition", "Assert")) else one.name
    rule = _RULES.get((one.section, name))
    if rule is None or not (after or rule.anywhere) or rule.harmless(one.value, needs):
        return None
    return rule.consequence, rule.fatal


@dataclass(frozen=True)
class _Rule:
    """
    The consequence of a setting for the daemon.

    harmless
        A function that returns whether a value is harmless for the daemon's needs.
    anywhere
        Whether the setting counts in any file, because the formula's file does not set it.
    """

    consequence: str
    harmless: Callable[[str, Needs], bool]
    fatal: bool = True
    anywhere: bool = False


def _changes_login(value: str, environment: Mapping[str, str]) -> Iterator[bool]:
    if not value and environment:
        yield True
    for word in unit_needs.words(value):
        name, _, text = word.partition("=")
        if name.startswith("PG") and name not in _HARMLESS_VARIABLES:
            yield environment.get(name) != text


def _unmanaged_unit(fragments: Sequence[str]) -> Iterator[Conflict]:
    """Yield a conflict for a unit that has the name of the formula's, but is not managed."""
    for path in fragments[:1]:
        with open(path, encoding="utf-8", errors="replace") as stream:
            if not stream.readline().startswith(FIRST_LINE):
                consequence = "this unit is not the formula's, and would be replaced"
                yield Conflict(path, (), consequence, True)


def _read(path: str) -> list[Setting]:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return settings(stream.read(), path)
    except OSError:
        return []


def _drop_in_folders(service: str) -> list[str]:
    # systemd.unit(5): «foo-bar-baz.service» also has «foo-bar-.service.d» and «foo-.service.d».
    parts = service.split("-")
    shorter = ["-".join(parts[:count]) + "-" for count in range(len(parts) - 1, 0, -1)]
    return [f"{name}.service.d" for name in [service, *shorter]] + ["service.d"]


def _listed(folder: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.endswith(".conf")]
    except OSError:
        return []


def _without_duplicates(paths: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(paths))


def _option(command: str, name: str) -> list[str]:
    words = unit_needs.words(command)
    following = itertools.pairwise(words)
    joined = [word[len(name) :] for word in words if word.startswith(name) and word != name]
    return [after for word, after in following if word == name] + joined


def _shown(one: Setting) -> str:
    # A command line or a variable may contain a password.
    return one.value if one.name in _NO_SECRETS else "…"


def _name(path: str) -> str:
    return os.path.basename(path)


def _shows_all(value: str, needs: Needs) -> bool:
    return not unit_needs.covers(value, (*needs.writes, *needs.reads))


def _lets_write(value: str, needs: Needs) -> bool:
    # Paths below are still writable by the formula's ReadWritePaths=. For one path the stricter
    # setting counts: systemd.exec(5).
    return not set(unit_needs.paths(value)) & set(needs.writes)


def _lets_out(value: str, needs: Needs) -> bool:
    return not needs.by_network or value.lower() in _NO


def _calls(value: str, _: Needs) -> bool:
    return not unit_needs.denies_sockets(value)


def _off(value: str, _: Needs) -> bool:
    return value.lower() in _NO


def _empty(value: str, _: Needs) -> bool:
    return not value


_LIMIT = _Rule(_STAYS_DOWN, lambda value, _: value in ("0", "0s", "infinity", ""), fatal=False)
_RULES = {
    ("Unit", "Condition"): _Rule(_NO_START, _empty, fatal=False),
    ("Unit", "RefuseManualStart"): _Rule(_DIFFERENT_START, _off, anywhere=True),
    ("Unit", "RefuseManualStop"): _Rule(_DIFFERENT_START, _off, anywhere=True),
    ("Unit", "StartLimitIntervalSec"): _LIMIT,
    ("Unit", "StartLimitInterval"): _LIMIT,
    ("Service", "RootDirectory"): _Rule(_DIFFERENT_START, _empty, anywhere=True),
    ("Service", "RootImage"): _Rule(_DIFFERENT_START, _empty, anywhere=True),
    ("Service", "ExecCondition"): _Rule(_DIFFERENT_START, _empty, anywhere=True),
    ("Service", "DynamicUser"): _Rule(_WRONG_ACCOUNT, _off, anywhere=True),
    ("Service", "ExecStart"): _Rule(_DIFFERENT_START, lambda *_: False),
    ("Service", "Type"): _Rule(_DIFFERENT_START, lambda value, _: value in ("simple", "exec")),
    ("Service", "User"): _Rule(_WRONG_ACCOUNT, lambda value, needs: value == needs.user),
    ("Service", "Group"): _Rule(_CLOSED, lambda value, needs: value == needs.user),
    ("Service", "Restart"): _Rule(_STAYS_DOWN, lambda value, _: value in _RESTARTS, fatal=False),
    ("Service", "Environment"): _Rule(
        _LOGIN, lambda value, needs: not any(_changes_login(value, needs.environment))
    ),
    ("Service", "UnsetEnvironment"): _Rule(
        _LOGIN, lambda value, needs: not set(unit_needs.words(value)) & set(needs.environment)
    ),
    # Settings of the sandbox that hide the socket, files or the database from the daemon.
    ("Service", "InaccessiblePaths"): _Rule(_HIDDEN, _shows_all, anywhere=True),
    ("Service", "TemporaryFileSystem"): _Rule(_HIDDEN, _shows_all, anywhere=True),
    ("Service", "ReadOnlyPaths"): _Rule(_NO_SOCKET, _lets_write, anywhere=True),
    ("Service", "ReadWritePaths"): _Rule(_NO_SOCKET, lambda value, _: bool(value)),
    ("Service", "PrivateNetwork"): _Rule(_NO_DATABASE, _lets_out, anywhere=True),
    ("Service", "NetworkNamespacePath"): _Rule(_NO_DATABASE, _lets_out, anywhere=True),
    ("Service", "IPAddressDeny"): _Rule(_NO_DATABASE, _lets_out, fatal=False, anywhere=True),
    ("Service", "SystemCallFilter"): _Rule(_NO_SOCKET, _calls, anywhere=True),
}
