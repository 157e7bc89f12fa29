"""Postfix: it runs, knows our milters, and gets at their sockets."""

import grp
import os
import pwd
import re
import socket
from collections.abc import Iterator, Sequence

from ..errors import OpenDKIMError
from ..postfix import control, joining, main_cf, milters, reach, services
from ..signer import config
from ..signer.daemons import Daemon
from . import child
from .finding import Finding, applied, judged, right, unknown, wrong
from .site import NO_POSTFIX, Site

# postconf(5): the versions that libmilter speaks.
_PROTOCOLS = ("2", "3", "4", "6")
# The services that talk to milters: smtpd_milters and non_smtpd_milters, postconf(5).
_MILTER_CLIENTS = ("smtpd", "cleanup")
CONNECTED_WITHIN = 5.0  # seconds


def runs(site: Site) -> list[Finding]:
    """The master process is there."""
    if not site.has_postfix:
        return [unknown("Postfix", NO_POSTFIX)]
    service = site.lookup["postfix_service"]
    problems = [] if control.running() else ["Postfix does not run"]
    do = f"systemctl start {service}; why it does not run: journalctl -u '{service}*' -n 50"
    return [judged("Postfix", problems, "it runs", do)]


def main(site: Site) -> list[Finding]:
    """main.cf and master.cf have mail go through our milters, the way that the settings say."""
    if not site.has_postfix:
        return [unknown("main.cf", NO_POSTFIX)]
    plan = _plan(site)
    problems = [
        f"{name} is {change['old'] if change['old'] is not None else 'not set'!r}, "
        f"not {change['new']!r}"
        for name, change in plan.changes().items()
    ]
    protocol = main_cf.in_force("milter_protocol")
    if protocol not in _PROTOCOLS:
        problems.append(
            f"milter_protocol is {protocol!r}; set it to 6: postconf -e milter_protocol=6"
        )
    ours = site.ours
    action = milters.action(plan.after().main, ours)
    well = f"mail goes through {', '.join(ours.milters)}; while they are away: {action}"
    return [judged("main.cf", problems, well, applied("dkim.postfix"))]


def _plan(site: Site) -> joining.Joining:
    return joining.present(
        services.read(),
        [daemon.milter for daemon in site.daemons],
        site.settings.postfix.milter_default_action,
        site.unused_milters,
        config.moved_from(site.daemons, site.lookup),
    )


def master(site: Site) -> list[Finding]:
    """Mail of every service of master.cf passes our milters."""
    name = "master.cf"
    if not site.has_postfix:
        return [unknown(name, NO_POSTFIX)]
    # What main.cf lacks is told there.
    found = _plan(site).after()
    meant = site.settings.postfix.unsigned_services
    round_us = services.unsigned(found, site.ours, meant)
    tables = list(services.maps(found, site.ours))
    if round_us:
        told = [f"mail by {way} leaves unsigned" for way in round_us]
        return [wrong(name, "; ".join([*told, *tables]), joining.REMEDY)]
    if tables:
        do = "write OpenDKIM's milter into the table's lines as well, where this is not meant"
        return [unknown(name, "; ".join(tables), do)]
    well = "mail of every service passes our milters"
    if meant:
        well += f", but for what is meant to go round them: {', '.join(meant)}"
    return [right(name, well)]


def others(site: Site) -> list[Finding]:
    """Something answers at the address of every other milter."""
    name = "other milters"
    if not site.has_postfix:
        return [unknown(name, NO_POSTFIX)]
    silent = reach.silent(services.read(), site.ours)
    told = "; ".join(map(joining.silence, silent))
    if any(entry.action != "accept" for entry in silent):
        return [wrong(name, told, "start these milters, or remove their entries")]
    if silent:
        return [unknown(name, told, "start these milters, or remove their entries")]
    return [right(name, "each one answers, if there are any")]


def membership(site: Site) -> list[Finding]:
    """Postfix's account is in the sockets' group, and its running processes know it."""
    name = "group membership"
    if not site.has_postfix:
        return [unknown(name, NO_POSTFIX)]
    try:
        account = pwd.getpwnam(site.postfix_user)
        group = grp.getgrnam(site.user).gr_gid
    except KeyError as error:
        return [unknown(name, f"this machine lacks an account: {error}")]
    if group not in os.getgrouplist(account.pw_name, account.pw_gid):
        problem = f"{account.pw_name} is no member of {site.user}, so it can't use the sockets"
        return [judged(name, [problem], "", applied("dkim"))]
    without = [
        f"{process} {comm}"
        for process, comm, groups in processes(_MILTER_CLIENTS)
        if group not in groups
    ]
    problems = [f"started before {account.pw_name} was a member: {', '.join(without)}"]
    well = f"{account.pw_name} is a member of {site.user}"
    return [judged(name, problems if without else [], well, "systemctl restart postfix")]


def processes(names: Sequence[str]) -> Iterator[tuple[str, str, set[int]]]:
    """Running processes of these names: number, name, and the groups that are in force."""
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{number}/status", encoding="utf-8", errors="replace") as stream:
                text = stream.read()
        except OSError:  # it has ended
            continue
        name = re.search(r"^Name:\t(.*)$", text, re.MULTILINE)
        if name and name[1] in names:
            groups = re.search(r"^Groups:(.*)$", text, re.MULTILINE)
            primary = re.search(r"^Gid:\t\d+\t(\d+)", text, re.MULTILINE)
            found = {int(one) for one in groups[1].split()} if groups else set()
            yield number, name[1], found | ({int(primary[1])} if primary else set())


def at_sockets(site: Site) -> list[Finding]:
    """Postfix's account gets at each socket from the queue directory, as smtpd(8) does."""
    return [_at_socket(site, daemon) for daemon in site.daemons]


def _at_socket(site: Site, daemon: Daemon) -> Finding:
    name = f"socket as Postfix {daemon.service}"
    if not site.has_postfix:
        return unknown(name, NO_POSTFIX)
    # Relative to the queue directory, which is the root within the chroot.
    path = f"/{daemon.milter.partition(':')[2]}"
    account = child.Account(site.postfix_user, chroot=site.chroot)
    try:
        child.run(lambda: _connect(path), CONNECTED_WITHIN + 1, account)
    except (child.ChildFailed, child.TookTooLong) as error:
        return judged(name, [str(error)], "", applied("dkim"))
    return right(name, f"{site.postfix_user} in {site.chroot} gets at {path}")


def _connect(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(CONNECTED_WITHIN)
        try:
            client.connect(path)
        except OSError as error:
            why = "no answer in time" if isinstance(error, TimeoutError) else error.strerror
            raise OpenDKIMError(f"from within the chroot, {path}: {why}") from None
    return True
