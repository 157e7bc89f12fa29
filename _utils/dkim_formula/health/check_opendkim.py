"""Checks of OpenDKIM's services, sockets, units and files, and of Postfix's service."""

import grp
import os
import pwd
import stat
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

from ..signer import existing_config, passfile, restart
from ..signer.daemons import Daemon
from . import overrides
from .model import (
    NO_OPENDKIM,
    NO_POSTFIX,
    Finding,
    Host,
    Sample,
    applied,
    judged,
    right,
    unknown,
    wrong,
)

SYSTEMCTL = "/usr/bin/systemctl"
_PROPERTIES = (
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "NeedDaemonReload",
    "Restart",
    "User",
    "FragmentPath",
    "DropInPaths",
    "Result",
)


def services(host: Host) -> Iterator[Finding | Sample]:
    """Check that the daemons and Postfix run, without writing a log line."""
    for daemon in host.daemons:
        if host.has_opendkim:
            runs = host.runs(daemon.service)
            since = None if runs else host.stopped_at(daemon.service)
            yield from service(daemon.service, runs, applied("dkim.opendkim"), since=since)
        else:
            yield unknown("service", NO_OPENDKIM, subject=daemon.service)
    postfix = str(host.lookup["postfix_service"])
    if host.had_postfix:
        # Debian 12's unit "postfix" is active even if its instance does not run, and each
        # `postfix status` writes a line to the mail log (measured).
        start = f"systemctl start {postfix}" if host.has_postfix else applied("dkim.postfix")
        yield from service(postfix, postfix_runs(host.chroot), start, f"'{postfix}*'")
    else:
        yield unknown("service", NO_POSTFIX, subject=postfix)


def service(
    name: str, runs: bool, start: str, units: str | None = None, since: float | None = None
) -> Iterator[Finding | Sample]:
    """
    Yield the finding and the sample about a service.

    start
        The command that starts it.
    units
        The units with its log. Default: its own.
    since
        The time of its end, in seconds since the epoch, if it is known.
    """
    yield Sample("dkim_service_up", runs, {"service": name})
    if runs:
        yield right("service", f"{name} runs", name)
    else:
        remedy = f"{start}; why it does not run: journalctl -u {units or name} -n 50"
        yield wrong("service", f"the service {name} does not run", remedy, name, since=since)


def stopped_at(name: str) -> float | None:
    """
    Return when systemd's unit last ceased to be active, in seconds since the epoch, if it is known.
    Starts a process.
    """
    # Systemd prints other times in the zone and form of the machine: systemctl(1), --timestamp.
    command = [SYSTEMCTL, "show", f"{name}.service", "--property=ActiveExitTimestampMonotonic"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    value = done.stdout.strip().partition("=")[2]
    if not value.isdigit() or not int(value):
        return None
    return float(round(time.time() - time.monotonic() + int(value) / 1e6))


def postfix_runs(queue_directory: str) -> bool:
    """Return whether the process in the pid file of master(8) runs, and is a master process."""
    try:
        with open(f"{queue_directory}/pid/master.pid", encoding="ascii") as stream:
            number = int(stream.read(32))
        with open(f"/proc/{number}/comm", encoding="utf-8", errors="replace") as stream:
            return stream.read().strip() == "master"
    except (OSError, ValueError):
        return False


def sockets(host: Host) -> Iterator[Finding | Sample]:
    """Check that each socket belongs to its daemon, is open for its group, and answers."""
    for daemon in host.daemons:
        if not host.has_opendkim:
            yield unknown("socket", NO_OPENDKIM, subject=daemon.service)
            continue
        problems = _socket_problems(host, daemon)
        yield Sample("dkim_socket_up", not problems, {"socket": daemon.socket})
        remedy = f"{applied('dkim.opendkim')}; see journalctl -u {daemon.service} -n 50"
        yield judged("socket", problems, f"{daemon.socket} answers", remedy, daemon.service)


def _socket_problems(host: Host, daemon: Daemon) -> list[str]:
    path = daemon.socket
    # Any mode, since it follows dkim:opendkim:settings:UMask.
    found = list(differences(path, stat.S_ISSOCK, None, host.user, host.user))
    with suppress(FileNotFoundError):  # A starting daemon creates its socket anew.
        if not found and not restart.open_for_group(os.stat(path), host.user):
            return [f"{path} is closed to its group, which Postfix is in"]
    if not found and not restart.answers(path):
        return [f"no milter answers at {path}, so mail leaves unsigned or waits"]
    return found


def units(host: Host) -> Iterator[Finding]:
    """Check that each daemon and the watchdog starts at boot, with the formula's unit file."""
    if not host.has_opendkim:
        yield unknown("unit", NO_OPENDKIM)
    elif not host.systemd:
        yield unknown("unit", "systemd does not run this machine")
    else:
        for daemon in host.daemons:
            yield unit(host, daemon)
        yield _watchdog(host)


def unit(host: Host, daemon: Daemon) -> Finding:
    """Return the finding about a daemon's unit. :func:`services` checks whether it runs."""
    fatal, _ = overrides.unit_conflicts(host.settings, daemon)
    shown = show(daemon.service)
    problems = [*faults(shown, host.unit_file(daemon), host.user), *fatal]
    return _judged_unit(daemon.service, shown, problems, "starts at boot")


def _watchdog(host: Host) -> Finding:
    """Check the watchdog's unit. It ends a daemon that cannot use its database: docs/faults.md."""
    service = f"{host.lookup['opendkim_service']}-watchdog"
    shown = show(service)
    unit_file = f"/etc/systemd/system/{service}.service"
    problems = [*stopped(shown), *faults(shown, unit_file, host.user)]
    return _judged_unit(service, shown, problems, "runs, and starts at boot")


def _judged_unit(
    service: str, shown: dict[str, str], problems: Iterable[str], passed: str
) -> Finding:
    remedy = applied("dkim.opendkim")
    if shown["LoadState"] == "masked":
        remedy = f"systemctl unmask {service} && {remedy}"
        return wrong("unit", f"{service} is masked", remedy, service)
    return judged("unit", problems, f"{service} {passed}", remedy, service)


def stopped(shown: dict[str, str]) -> Iterator[str]:
    """Yield a problem if a unit does not run, by its properties."""
    if shown["ActiveState"] != "active":
        yield f"it is {shown['ActiveState']} ({shown['SubState']}, {shown['Result']})"


def faults(shown: dict[str, str], unit_file: str, user: str) -> Iterator[str]:
    """
    Yield the problems of a unit's settings, a clause each.

    shown
        The properties of the unit by ``systemctl show``.
    unit_file
        The formula's file that must be in force: the unit file or a drop-in.
    """
    if shown["UnitFileState"] != "enabled":
        yield f"it does not start at boot ({shown['UnitFileState'] or 'no unit file'})"
    if unit_file not in [shown["FragmentPath"], *shown["DropInPaths"].split()]:
        yield f"{unit_file} is not in force"
        return
    if shown["NeedDaemonReload"] == "yes":
        yield "its files have changed and systemd has not read them (systemctl daemon-reload)"
    if shown["Restart"] != "always":
        yield f"it has Restart={shown['Restart']}, so it may stay down after a crash"
    if shown["User"] != user:
        yield f"it starts as {shown['User'] or 'root'}, not as {user or 'root'}"


def show(unit: str) -> dict[str, str]:
    """Return the properties of a unit that the checks use."""
    command = [SYSTEMCTL, "show", f"{unit}.service", f"--property={','.join(_PROPERTIES)}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (line.partition("=") for line in done.stdout.splitlines())
    return {**dict.fromkeys(_PROPERTIES, ""), **{name: value for name, _, value in lines}}


def socket_directory(host: Host) -> Iterator[Finding]:
    """Check that the daemon can write to the socket directory, and Postfix can enter it."""
    name = "socket directory"
    if not host.has_opendkim or not host.has_postfix:
        yield unknown(name, NO_POSTFIX if host.has_opendkim else NO_OPENDKIM)
        return
    path = os.path.dirname(host.daemons[0].socket)
    # postfix-files: root owns the queue directory, and all users may enter it.
    problems = list(differences(host.chroot, stat.S_ISDIR, 0o755, "root", "root"))
    problems += differences(path, stat.S_ISDIR, 0o750, host.user, host.postfix_user)
    passed = f"{path} is {host.user}:{host.postfix_user} 0750"
    yield judged(name, problems, passed, applied("dkim.opendkim"))


def configurations(host: Host) -> Iterator[Finding]:
    """Check each configuration file: its rights, its content, and the daemon's restart since."""
    if not host.has_opendkim:
        yield unknown("configuration", NO_OPENDKIM)
        return
    for daemon in host.daemons:
        yield _configuration(host, daemon)


def _configuration(host: Host, daemon: Daemon) -> Finding:
    path = daemon.config_file
    problems = list(differences(path, stat.S_ISREG, 0o440, "root", host.user))
    if os.path.isfile(path):
        problems += [
            f"{path}: {name} differs from the settings"
            for name in existing_config.differing(host.settings, daemon)
        ]
    reads = [path]
    if host.systemd:
        reads.append(host.unit_file(daemon))
    runs = restart.answers(daemon.socket)
    if runs and not problems and not restart.is_up_to_date(daemon.socket, reads):
        problems.append(f"{daemon.service} was not restarted since its files were written")
    passed = f"{path} agrees with the settings"
    return judged("configuration", problems, passed, applied("dkim.opendkim"), daemon.service)


def password_file(host: Host) -> Iterator[Finding]:
    """Check that the daemon's libpq finds the reader's password, if the reader has one."""
    name = "password file"
    if host.settings.database.reader.auth != "password":
        yield right(name, "none is needed")
    elif not host.has_opendkim:
        yield unknown(name, NO_OPENDKIM)
    else:
        found = passfile.changes(host.settings.database, passfile.PATH, host.user)["changes"]
        problems = [f"{what} is {change['old']}" for what, change in found.items()]
        passed = f"{passfile.PATH} is for {host.user} alone"
        yield judged(name, problems, passed, applied("dkim.opendkim"))


def differences(path: str, kind, mode: int | None, user: str, group: str) -> Iterator[str]:
    """
    Yield the differences between a path and the desired properties, a clause each.

    kind
        A function that tests the file type, as ``stat.S_ISDIR``.
    mode
        The desired permissions; None for any.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        yield f"{path}: {error.strerror}"
        return
    if not kind(status.st_mode):
        yield f"{path} has another file type"
        return
    owner = f"{_user(status.st_uid)}:{_group(status.st_gid)}"
    if owner != f"{user}:{group}":
        yield f"{path} belongs to {owner}, not to {user}:{group}"
    if mode not in (None, stat.S_IMODE(status.st_mode)):
        yield f"{path} has the mode {stat.S_IMODE(status.st_mode):04o}, not {mode:04o}"


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
