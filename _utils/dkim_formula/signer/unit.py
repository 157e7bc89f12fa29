"""The files that systemd reads for a unit, and settings in them that win over the formula's."""

import itertools
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from . import sandbox

# systemd.unit(5), «UNIT FILE LOAD PATH», the first counts most.
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
OUR_DROP_IN = "dkim-formula.conf"
OUR_FIRST_LINE = "# Managed by the dkim formula"

_RESTARTS = ("always", "on-failure")
_NO = ("no", "false", "off", "0", "")
# What of libpq's environment changes nothing about where and how the daemon logs in.
_HARMLESS_VARIABLES = ("PGAPPNAME", "PGCLIENTENCODING", "PGCONNECT_TIMEOUT", "PGTZ")

_NO_SECRETS = (
    *("User", "Group", "Type", "Restart", "DynamicUser", "InaccessiblePaths", "ReadOnlyPaths"),
    *("ReadWritePaths", "TemporaryFileSystem", "PrivateNetwork", "NetworkNamespacePath"),
    *("RestrictAddressFamilies", "SystemCallFilter", "IPAddressDeny"),
)

# What becomes of the daemon, and so of mail, by each setting.
_ELSEWHERE = "the daemon would not start as the formula has it, so that its socket is missing"
_SOMEBODY_ELSE = (
    "PostgreSQL's peer authentication would refuse the daemon, which would restart for ever"
)
_CLOSED = "Postfix would not get at the daemon's socket"
_HIDDEN = "the daemon would not see its socket's directory, its files, or PostgreSQL's socket"
_NO_SOCKET = "the daemon could not make its socket, or not get at PostgreSQL's"
_NO_DATABASE = "the daemon would have no way, or not each way, to the database's host"
_LOGIN = "the daemon would log in at the database in another way, or not at all"
_STAYS_DOWN = "the daemon would stay down after a crash"
_NO_START = "systemd would not start the daemon where the condition does not hold"


@dataclass(frozen=True)
class Needs:
    """
    What a daemon needs of its unit.

    user
        The account that the daemon has to have.
    environment
        The variables that the formula's file sets.
    writes
        The directories that the daemon writes to, its socket's among them.
    reads
        Other files and sockets that the daemon has to reach.
    by_network
        Whether the database is reached over the network.
    """

    user: str
    environment: Mapping[str, str]
    writes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    by_network: bool = False


@dataclass(frozen=True)
class Setting:
    """One assignment in a unit file."""

    path: str
    line: int
    section: str
    name: str
    value: str


@dataclass(frozen=True)
class Conflict:
    """
    Settings of one file that win over the formula's.

    fatal
        Whether the daemon would not sign after its next start.
    """

    path: str
    settings: tuple[Setting, ...]
    fate: str
    fatal: bool


def settings(text: str, path: str) -> list[Setting]:
    """Return the assignments of a unit file. Source: systemd.syntax(7)."""
    found, section, held, first = [], "", "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if held and line.lstrip().startswith(("#", ";")):
            continue
        first = first if held else number
        whole = held + line.strip()
        if whole.startswith(("#", ";")):
            held = ""
            continue
        if whole.endswith("\\"):
            held = whole[:-1] + " "
            continue
        held = ""
        if whole.startswith("[") and whole.endswith("]"):
            section = whole[1:-1]
        elif "=" in whole:
            name, _, value = whole.partition("=")
            found.append(Setting(path, first, section, name.strip(), value.strip()))
    return found


def files(service: str, root: str = "") -> tuple[list[str], list[str]]:
    """
    Return the unit files of a service, the one that counts first, and its drop-ins in the order in
    which systemd reads them: by file name, whatever their folder. Source: systemd.unit(5).

    root
        What stands before each folder.
    """
    folders = [f"{root}{folder}" for folder in FOLDERS]
    fragments = [f"{folder}/{service}.service" for folder in folders]
    drop_ins: dict[str, str] = {}
    # The most particular of the names counts: «foo-bar.service.d», «foo-.service.d», «service.d».
    for name in _drop_in_folders(service):
        for folder in folders:
            for entry in _listed(f"{folder}/{name}"):
                drop_ins.setdefault(entry, f"{folder}/{name}/{entry}")
    return (
        _without_doubles(path for path in fragments if os.path.isfile(path)),
        [drop_ins[name] for name in sorted(drop_ins)],
    )


def conflicts(
    service: str, needs: Needs, command: str, main: bool, root: str = ""
) -> list[Conflict]:
    """
    Return what of a site's own unit files wins over the formula's.

    service
        The daemon's, without ``.service``.
    command
        The command line that it has.
    main
        Whether the package brings the unit and the formula a drop-in of it; else the unit is the
        formula's own.
    """
    fragments, drop_ins = files(service, root)
    result = []
    if main:
        before = fragments[:1] + [path for path in drop_ins if _name(path) < OUR_DROP_IN]
        after = [path for path in drop_ins if _name(path) > OUR_DROP_IN]
    else:
        before, after = [], drop_ins
        result += _taken(fragments)
    for path in [*before, *after]:
        found = _without(_read(path), command)
        result += _conflicts(path, found, path in after, needs)
    return result


def in_words(found: Iterable[Conflict], service: str) -> Iterator[str]:
    """Yield a line for each: the file, its lines, what becomes of mail, and what to do."""
    for conflict in found:
        lines = ", ".join(
            f"line {one.line} ({one.name}={_shown(one)})" for one in conflict.settings
        )
        where = f"{conflict.path}, {lines}" if lines else conflict.path
        yield (
            f"{where}: wins over the formula's unit of {service}: {conflict.fate}, and mail would "
            "leave unsigned or wait, by the milter's default action; remove "
            f"{'these lines' if lines else 'the file'} and run systemctl daemon-reload. What a "
            "command line had belongs into dkim:opendkim:settings"
        )


def sockets(service: str, root: str = "") -> list[str]:
    """Return the sockets that unit files give the daemon on its command line (``-p``)."""
    fragments, drop_ins = files(service, root)
    found = []
    for path in [*fragments, *drop_ins]:
        for one in _read(path):
            if one.name == "ExecStart":
                found += _option(one.value, "-p")
    return _without_doubles(found)


def _without(found: list[Setting], command: str) -> list[Setting]:
    """Leave out a command line that is the formula's own."""
    commands = [one for one in found if one.name == "ExecStart" and one.value]
    if [_words(one.value) for one in commands] != [_words(command)]:
        return found
    return [one for one in found if one.name != "ExecStart"]


def _conflicts(
    path: str, found: Sequence[Setting], after: bool, needs: Needs
) -> Iterator[Conflict]:
    grouped: dict[tuple[str, bool], list[Setting]] = {}
    families = [one for one in found if one.name == "RestrictAddressFamilies"] if after else []
    if sandbox.closes_sockets([one.value for one in families]):
        yield Conflict(path, tuple(families), _NO_SOCKET, True)
    for one in found:
        judged = _judge(one, after, needs)
        if judged is not None:
            grouped.setdefault(judged, []).append(one)
    for (fate, fatal), those in grouped.items():
        yield Conflict(path, tuple(those), fate, fatal)


def _judge(one: Setting, after: bool, needs: Needs) -> tuple[str, bool] | None:
    """Return what a setting does, and whether it is fatal; None where it does no harm."""
    name = "Condition" if one.name.startswith(("Condition", "Assert")) else one.name
    rule = _RULES.get((one.section, name))
    if rule is None or not (after or rule.anywhere) or rule.harmless(one.value, needs):
        return None
    return rule.fate, rule.fatal


@dataclass(frozen=True)
class _Rule:
    """
    What becomes of the daemon by a setting.

    harmless
        Whether a value does no harm, by what the daemon needs.
    anywhere
        Whether the formula's file does not set it, so that it counts in whatever file it stands.
    """

    fate: str
    harmless: Callable[[str, Needs], bool]
    fatal: bool = True
    anywhere: bool = False


def _spoils(value: str, environment: Mapping[str, str]) -> Iterator[bool]:
    if not value and environment:
        yield True
    for word in _words(value):
        name, _, text = word.partition("=")
        if name.startswith("PG") and name not in _HARMLESS_VARIABLES:
            yield environment.get(name) != text


def _taken(fragments: Sequence[str]) -> Iterator[Conflict]:
    """Yield a unit of the site's that has the name of the formula's own one."""
    for path in fragments[:1]:
        with open(path, encoding="utf-8", errors="replace") as stream:
            if not stream.readline().startswith(OUR_FIRST_LINE):
                fate = "this unit is not the formula's, and would be replaced"
                yield Conflict(path, (), fate, True)


def _read(path: str) -> list[Setting]:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return settings(stream.read(), path)
    except OSError:
        return []


def _drop_in_folders(service: str) -> list[str]:
    # systemd.unit(5): «foo-bar-baz.service» has also «foo-bar-.service.d» and «foo-.service.d».
    parts = service.split("-")
    shorter = ["-".join(parts[:count]) + "-" for count in range(len(parts) - 1, 0, -1)]
    return [f"{name}.service.d" for name in [service, *shorter]] + ["service.d"]


def _listed(folder: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.endswith(".conf")]
    except OSError:
        return []


def _without_doubles(paths: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(paths))


def _words(value: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError:  # a quotation mark that is not closed
        return value.split()


def _option(command: str, name: str) -> list[str]:
    words = _words(command)
    following = itertools.pairwise(words)
    joined = [word[len(name) :] for word in words if word.startswith(name) and word != name]
    return [after for word, after in following if word == name] + joined


def _shown(one: Setting) -> str:
    # A command line or a variable may hold a password.
    return one.value if one.name in _NO_SECRETS else "…"


def _name(path: str) -> str:
    return os.path.basename(path)


def _shows_all(value: str, needs: Needs) -> bool:
    return not sandbox.covers(value, (*needs.writes, *needs.reads))


def _lets_write(value: str, needs: Needs) -> bool:
    # What is within is writable still by the formula's ReadWritePaths=; of one path the stricter
    # setting counts: systemd.exec(5).
    return not set(sandbox.paths(value)) & set(needs.writes)


def _lets_out(value: str, needs: Needs) -> bool:
    return not needs.by_network or value.lower() in _NO


def _calls(value: str, _: Needs) -> bool:
    return not sandbox.denies_sockets(value)


def _off(value: str, _: Needs) -> bool:
    return value.lower() in _NO


def _empty(value: str, _: Needs) -> bool:
    return not value


_LIMIT = _Rule(_STAYS_DOWN, lambda value, _: value in ("0", "0s", "infinity", ""), fatal=False)
_RULES = {
    ("Unit", "Condition"): _Rule(_NO_START, _empty, fatal=False),
    ("Unit", "RefuseManualStart"): _Rule(_ELSEWHERE, _off, anywhere=True),
    ("Unit", "RefuseManualStop"): _Rule(_ELSEWHERE, _off, anywhere=True),
    ("Unit", "StartLimitIntervalSec"): _LIMIT,
    ("Unit", "StartLimitInterval"): _LIMIT,
    ("Service", "RootDirectory"): _Rule(_ELSEWHERE, _empty, anywhere=True),
    ("Service", "RootImage"): _Rule(_ELSEWHERE, _empty, anywhere=True),
    ("Service", "ExecCondition"): _Rule(_ELSEWHERE, _empty, anywhere=True),
    ("Service", "DynamicUser"): _Rule(_SOMEBODY_ELSE, _off, anywhere=True),
    ("Service", "ExecStart"): _Rule(_ELSEWHERE, lambda *_: False),
    ("Service", "Type"): _Rule(_ELSEWHERE, lambda value, _: value in ("simple", "exec")),
    ("Service", "User"): _Rule(_SOMEBODY_ELSE, lambda value, needs: value == needs.user),
    ("Service", "Group"): _Rule(_CLOSED, lambda value, needs: value == needs.user),
    ("Service", "Restart"): _Rule(_STAYS_DOWN, lambda value, _: value in _RESTARTS, fatal=False),
    ("Service", "Environment"): _Rule(
        _LOGIN, lambda value, needs: not any(_spoils(value, needs.environment))
    ),
    ("Service", "UnsetEnvironment"): _Rule(
        _LOGIN, lambda value, needs: not set(_words(value)) & set(needs.environment)
    ),
    # The sandbox: what hides the daemon's socket, its files or the database from it.
    ("Service", "InaccessiblePaths"): _Rule(_HIDDEN, _shows_all, anywhere=True),
    ("Service", "TemporaryFileSystem"): _Rule(_HIDDEN, _shows_all, anywhere=True),
    ("Service", "ReadOnlyPaths"): _Rule(_NO_SOCKET, _lets_write, anywhere=True),
    ("Service", "ReadWritePaths"): _Rule(_NO_SOCKET, lambda value, _: bool(value)),
    ("Service", "PrivateNetwork"): _Rule(_NO_DATABASE, _lets_out, anywhere=True),
    ("Service", "NetworkNamespacePath"): _Rule(_NO_DATABASE, _lets_out, anywhere=True),
    ("Service", "IPAddressDeny"): _Rule(_NO_DATABASE, _lets_out, fatal=False, anywhere=True),
    ("Service", "SystemCallFilter"): _Rule(_NO_SOCKET, _calls, anywhere=True),
}
