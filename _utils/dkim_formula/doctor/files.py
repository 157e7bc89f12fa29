"""Files as they should be: owner, group, mode, content."""

import grp
import os
import pwd
import stat
from collections.abc import Iterator

from ..signer import daemons, passfile, restart
from ..signer.daemons import Daemon
from .finding import Finding, applied, judged, right, unknown
from .site import NO_OPENDKIM, NO_POSTFIX, Site


def socket_directory(site: Site) -> list[Finding]:
    """The directory in Postfix's chroot, which the daemon writes to and Postfix enters."""
    name = "socket directory"
    if not site.has_opendkim or not site.has_postfix:
        return [unknown(name, NO_POSTFIX if site.has_opendkim else NO_OPENDKIM)]
    path = os.path.dirname(site.daemons[0].socket)
    # postfix-files: the queue directory is root's, and everybody may enter.
    problems = list(differences(site.chroot, stat.S_ISDIR, 0o755, "root", "root"))
    problems += differences(path, stat.S_ISDIR, 0o750, site.user, site.postfix_user)
    well = f"{path} is {site.user}:{site.postfix_user} 0750"
    return [judged(name, problems, well, applied("dkim.opendkim"))]


def sockets(site: Site) -> list[Finding]:
    """Each daemon's socket: there, the daemon's own, and open for its group."""
    return [_socket(site, daemon) for daemon in site.daemons]


def _socket(site: Site, daemon: Daemon) -> Finding:
    name = f"socket {daemon.service}"
    if not site.has_opendkim:
        return unknown(name, NO_OPENDKIM)
    # Its mode follows dkim:opendkim:settings:UMask.
    problems = list(differences(daemon.socket, stat.S_ISSOCK, None, site.user, site.user))
    if not problems and not restart.open_for_group(os.stat(daemon.socket), site.user):
        problems = [f"{daemon.socket} is closed to its group, which Postfix is in"]
    if not problems and not restart.answers(daemon.socket):
        problems = [f"nothing accepts connections at {daemon.socket}"]
    return judged(name, problems, f"{daemon.socket} answers", applied("dkim.opendkim"))


def configurations(site: Site) -> list[Finding]:
    """Each daemon's file: closed, as the formula writes it, and read by the daemon that runs."""
    if not site.has_opendkim:
        return [unknown("configuration", NO_OPENDKIM)]
    return [_configuration(site, daemon) for daemon in site.daemons]


def _configuration(site: Site, daemon: Daemon) -> Finding:
    path = daemon.config_file
    problems = list(differences(path, stat.S_ISREG, 0o440, "root", site.user))
    if os.path.isfile(path):
        # What differs is not shown: a file made by hand may hold a password.
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            if stream.read() != daemons.configuration(site.settings, daemon):
                problems.append(f"{path} is not as the settings have it")
    reads = [path]
    if site.systemd:
        reads.append(site.unit_file(daemon))
    runs = restart.answers(daemon.socket)
    if runs and not problems and not restart.is_current(daemon.socket, reads):
        problems.append(f"{daemon.service} was not restarted since its files were written")
    well = f"{path} is as the settings have it"
    return judged(f"configuration {daemon.service}", problems, well, applied("dkim.opendkim"))


def password_file(site: Site) -> list[Finding]:
    """The file that the daemon's libpq takes a password from, where it needs one."""
    name = "password file"
    if site.settings.database.reader.auth != "password":
        return [right(name, "none is needed")]
    if not site.has_opendkim:
        return [unknown(name, NO_OPENDKIM)]
    found = passfile.changes(site.settings.database, passfile.PATH, site.user)["changes"]
    problems = [f"{what} is {change['old']}" for what, change in found.items()]
    well = f"{passfile.PATH} is for {site.user} alone"
    return [judged(name, problems, well, applied("dkim.opendkim"))]


def differences(path: str, kind, mode: int | None, user: str, group: str) -> Iterator[str]:
    """
    What of a path is not as it should be, a clause each.

    kind
        ``stat.S_ISDIR`` and the like.
    mode
        Its permissions; None where any will do.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        yield f"{path}: {error.strerror}"
        return
    if not kind(status.st_mode):
        yield f"{path} is of another kind"
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
