"""Postfix: it runs, knows our milters, and gets at their sockets."""

import grp
import os
import pwd
import re
import socket
from collections.abc import Iterator, Mapping, Sequence

from ..errors import OpenDKIMError
from ..postfix import control, main_cf, milters
from ..signer.daemons import Daemon
from . import child
from .finding import Finding, applied, judged, right, unknown
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
    """main.cf has mail go through our milters, the way that the settings say."""
    if not site.has_postfix:
        return [unknown("main.cf", NO_POSTFIX)]
    action = site.settings.postfix.milter_default_action
    ours = [daemon.milter for daemon in site.daemons]
    current = main_cf.explicit()
    planned = milters.plan_present(current, ours, action, site.unused_milters)
    problems = [
        f"{name} is {current.get(name, 'not set')!r}, not {value!r}"
        for name, value in planned.items()
    ]
    protocol = main_cf.in_force("milter_protocol")
    if protocol not in _PROTOCOLS:
        problems.append(
            f"milter_protocol is {protocol!r}; set it to 6: postconf -e milter_protocol=6"
        )
    well = f"mail goes through {', '.join(ours)}; while they are away: {action}"
    return [judged("main.cf", problems, well, applied("dkim.postfix"))]


def master(site: Site) -> list[Finding]:
    """No service of master.cf goes round main.cf's milters, or looks for them elsewhere."""
    name = "master.cf"
    if not site.has_postfix:
        return [unknown(name, NO_POSTFIX)]
    addresses = [daemon.milter for daemon in site.daemons]
    outside = list(_outside(main_cf.services(), addresses))
    if outside:
        fields = " ".join(f"{one}/chroot=y" for one in outside)
        do = f"postconf -F {fields} && systemctl reload postfix"
        found = "not in the chroot, so the sockets are not where they look: "
        return [judged(name, [found + ", ".join(outside)], "", do)]
    own = list(_own_milters(main_cf.service_parameters(), addresses))
    if own:
        why = f"services with milters of their own, so their mail is not signed: {'; '.join(own)}"
        return [unknown(name, why, "see docs/caveats.md, «master.cf»: this may be on purpose")]
    return [right(name, "every service has main.cf's milters")]


def _outside(services: Sequence[Sequence[str]], addresses: Sequence[str]) -> Iterator[str]:
    if all(os.path.exists(address.partition(":")[2]) for address in addresses):
        return
    for fields in services:
        # From Postfix 3.0 on «-» is «n»: master(5).
        if fields[7] in _MILTER_CLIENTS and fields[4] != "y":
            yield f"{fields[0]}/{fields[1]}"


def _own_milters(parameters: Mapping[str, str], addresses: Sequence[str]) -> Iterator[str]:
    for name, value in parameters.items():
        parameter = name.rpartition("/")[2]
        if parameter in (milters.SMTPD, milters.NON_SMTPD):
            if f"${parameter}" not in value and not all(one in value for one in addresses):
                yield f"{name} = {value}"
        elif parameter == "receive_override_options" and "no_milters" in value:
            yield f"{name} = {value}"


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


def reach(site: Site) -> list[Finding]:
    """Postfix's account gets at each socket from within the chroot, as smtpd(8) does."""
    return [_reach(site, daemon) for daemon in site.daemons]


def _reach(site: Site, daemon: Daemon) -> Finding:
    name = f"socket as Postfix {daemon.service}"
    if not site.has_postfix:
        return unknown(name, NO_POSTFIX)
    path = daemon.milter.partition(":")[2]
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
