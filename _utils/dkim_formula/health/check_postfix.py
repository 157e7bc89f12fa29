"""Postfix: it knows our milters and gets at their sockets; and who signs besides."""

import grp
import os
import pwd
import re
import socket
from collections.abc import Iterator, Sequence

from ..errors import OpenDKIMError
from ..importing import other_signers
from ..postfix import joining, main_cf, milter_addresses, milters, service_milters
from ..signer import config
from ..signer.daemons import Daemon
from . import child
from .model import NO_POSTFIX, Finding, Host, applied, judged, right, unknown, wrong

# postconf(5): the versions that libmilter speaks.
_PROTOCOLS = ("2", "3", "4", "6")
# The services that talk to milters: smtpd_milters and non_smtpd_milters, postconf(5).
_MILTER_CLIENTS = ("smtpd", "cleanup")
CONNECTED_WITHIN = 5.0  # seconds


def main(host: Host) -> Iterator[Finding]:
    """Yield whether main.cf has mail go through our milters, the way that the settings say."""
    if not host.has_postfix:
        yield unknown("main.cf", NO_POSTFIX)
        return
    plan = _plan(host)
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
    action = milters.action(plan.after().main, host.ours)
    well = f"mail goes through {', '.join(host.ours.milters)}; while they are away: {action}"
    yield judged("main.cf", problems, well, applied("dkim.postfix"))


def _plan(host: Host) -> joining.Joining:
    return joining.present(
        service_milters.read(),
        [daemon.milter for daemon in host.daemons],
        host.settings.postfix.milter_default_action,
        host.unused_milters,
        config.moved_from(host.daemons, host.lookup),
    )


def master(host: Host) -> Iterator[Finding]:
    """Yield whether mail of every service of master.cf passes our milters."""
    name = "master.cf"
    if not host.has_postfix:
        yield unknown(name, NO_POSTFIX)
        return
    # What main.cf lacks is told there.
    found = _plan(host).after()
    meant = host.settings.postfix.unsigned_services
    round_us = service_milters.unsigned(found, host.ours, meant)
    tables = list(service_milters.maps(found, host.ours))
    if round_us:
        told = [f"mail by {way} leaves unsigned" for way in round_us]
        yield wrong(name, "; ".join([*told, *tables]), joining.REMEDY, count=len(told))
    elif tables:
        remedy = "write OpenDKIM's milter into the table's lines as well, where this is not meant"
        yield unknown(name, "; ".join(tables), remedy)
    else:
        well = "mail of every service passes our milters"
        if meant:
            well += f", but for what is meant to go round them: {', '.join(meant)}"
        yield right(name, well)


def others(host: Host) -> Iterator[Finding]:
    """Yield whether something answers at the address of every other milter."""
    name = "other milters"
    if not host.has_postfix:
        yield unknown(name, NO_POSTFIX)
        return
    silent = milter_addresses.silent(service_milters.read(), host.ours)
    told = "; ".join(map(joining.silence, silent))
    remedy = "start these milters, or remove their entries"
    if any(entry.action != "accept" for entry in silent):
        yield wrong(name, told, remedy, count=len(silent))
    elif silent:
        yield unknown(name, told, remedy)
    else:
        yield right(name, "each one answers, if there are any")


def other_signers_found(host: Host) -> Iterator[Finding]:
    """Yield whether another program of this machine signs."""
    name = "other signers"
    found = other_signers.signers(host.settings)
    if not found:
        yield right(name, "no other program signs")
    for one in found:
        message = f"{one.found}: mail is signed twice"
        yield unknown(name, message, one.remedy, one.program)


def membership(host: Host) -> Iterator[Finding]:
    """Yield whether Postfix's account, and its processes, are in the group of the sockets."""
    name = "group membership"
    if not host.has_postfix:
        yield unknown(name, NO_POSTFIX)
        return
    try:
        account = pwd.getpwnam(host.postfix_user)
        group = grp.getgrnam(host.user).gr_gid
    except KeyError as error:
        yield unknown(name, f"this machine lacks an account: {error}")
        return
    if group not in os.getgrouplist(account.pw_name, account.pw_gid):
        problem = f"{account.pw_name} is no member of {host.user}, so it can't use the sockets"
        yield wrong(name, problem, applied("dkim"))
        return
    without = [
        f"{process} {comm}"
        for process, comm, groups in processes(_MILTER_CLIENTS)
        if group not in groups
    ]
    problems = [f"started before {account.pw_name} was a member: {', '.join(without)}"]
    well = f"{account.pw_name} is a member of {host.user}"
    yield judged(name, problems if without else [], well, "systemctl restart postfix")


def processes(names: Sequence[str]) -> Iterator[tuple[str, str, set[int]]]:
    """Yield running processes of these names: number, name, and the groups that are in force."""
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


def at_sockets(host: Host) -> Iterator[Finding]:
    """Yield whether Postfix's account gets at each socket from its chroot, as smtpd(8) does."""
    for daemon in host.daemons:
        yield _at_socket(host, daemon)


def _at_socket(host: Host, daemon: Daemon) -> Finding:
    name = "socket as Postfix"
    if not host.has_postfix:
        return unknown(name, NO_POSTFIX, subject=daemon.service)
    # Relative to the queue directory, which is the root within the chroot.
    path = f"/{daemon.milter.partition(':')[2]}"
    account = child.Account(host.postfix_user, chroot=host.chroot)
    try:
        child.run(lambda: _connect(path), CONNECTED_WITHIN + 1, account)
    except (child.ChildFailed, child.TookTooLong) as error:
        return wrong(name, str(error), applied("dkim"), daemon.service)
    return right(name, f"{host.postfix_user} in {host.chroot} gets at {path}", daemon.service)


def _connect(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(CONNECTED_WITHIN)
        try:
            client.connect(path)
        except OSError as error:
            why = "no answer in time" if isinstance(error, TimeoutError) else error.strerror
            raise OpenDKIMError(f"from within the chroot, {path}: {why}") from None
    return True
