"""Checks of Postfix: its milters, its access to their sockets, and other signers."""

import grp
import os
import pwd
import re
import socket
from collections.abc import Iterator, Sequence

from ..errors import OpenDKIMError
from ..importing import other_signers
from ..postfix import (
    main_cf,
    main_cf_milters,
    milter_maps,
    milter_plan,
    service_milters,
    stale_milters,
)
from ..signer import former_sockets
from ..signer.daemons import Daemon
from . import child
from .model import NO_POSTFIX, Finding, Host, applied, judged, right, unknown, wrong

# The protocol versions that libmilter supports: postconf(5).
_PROTOCOLS = ("2", "3", "4", "6")
# The services that use milters: smtpd_milters and non_smtpd_milters, postconf(5).
_MILTER_CLIENTS = ("smtpd", "cleanup")
CONNECTED_WITHIN = 5.0  # seconds


def main(host: Host) -> Iterator[Finding]:
    """Check that main.cf sends mail through the formula's milters, as the settings say."""
    if not host.has_postfix:
        yield unknown("main.cf", NO_POSTFIX)
        return
    plan = _plan(host)
    problems = [
        f"{name} is {change['old'] if change['old'] is not None else 'not set'!r}, "
        f"not {change['new']!r}"
        for name, change in plan.changes().items()
    ]
    remedies = [applied("dkim.postfix")] if problems else []
    protocol = main_cf.in_force("milter_protocol")
    if protocol not in _PROTOCOLS:
        problems.append(f"milter_protocol is {protocol!r}, none of {', '.join(_PROTOCOLS)}")
        remedies.append(f"postconf -e milter_protocol=6 && systemctl reload {_service(host)}")
    managed = host.managed_milters
    action = main_cf_milters.action(plan.after().main, managed)
    passed = f"mail goes through {', '.join(managed.milters)}; while they are down: {action}"
    yield judged("main.cf", problems, passed, "; ".join(remedies))


def _service(host: Host) -> str:
    return str(host.lookup["postfix_service"])


def _plan(host: Host) -> milter_plan.MilterPlan:
    return milter_plan.present(
        service_milters.read(),
        [daemon.milter for daemon in host.daemons],
        host.settings.postfix.milter_default_action,
        host.unused_milters,
        former_sockets.moved_from(host.daemons, host.lookup),
    )


def master(host: Host) -> Iterator[Finding]:
    """Check that mail of every service of master.cf passes the formula's milters."""
    name = "master.cf"
    if not host.has_postfix:
        yield unknown(name, NO_POSTFIX)
        return
    # The check main() reports what main.cf lacks, so this check assumes a complete main.cf.
    found = _plan(host).after()
    intended = host.settings.postfix.unsigned_services
    unsigned = service_milters.unsigned(found, host.managed_milters, intended)
    tables = list(milter_maps.effects(found, host.managed_milters))
    if unsigned:
        problems = [f"mail by {way} leaves unsigned" for way in unsigned]
        yield wrong(name, "; ".join([*problems, *tables]), milter_plan.REMEDY, count=len(problems))
    elif tables:
        remedy = "unless this is intended, add OpenDKIM's milter to the lines of the table"
        yield unknown(name, "; ".join(tables), remedy)
    else:
        passed = "mail of every service passes the formula's milters"
        if intended:
            passed += f", except dkim:postfix:unsigned_services: {', '.join(intended)}"
        yield right(name, passed)


def others(host: Host) -> Iterator[Finding]:
    """Check that every other milter of the configuration accepts connections."""
    name = "other milters"
    if not host.has_postfix:
        yield unknown(name, NO_POSTFIX)
        return
    silent = stale_milters.silent(service_milters.read(), host.managed_milters)
    message = "; ".join(map(milter_plan.no_answer, silent))
    remedy = "start these milters, or remove their entries"
    if any(entry.action != "accept" for entry in silent):
        yield wrong(name, message, remedy, count=len(silent))
    elif silent:
        yield unknown(name, message, remedy)
    else:
        yield right(name, "every other milter answers, if there are any")


def other_signers_found(host: Host) -> Iterator[Finding]:
    """Check that no other program of this machine signs."""
    name = "other signers"
    found = other_signers.signers(host.settings)
    if not found:
        yield right(name, "no other program signs")
    for one in found:
        message = f"{one.finding}: mail is signed twice"
        yield unknown(name, message, one.remedy, one.program)


def membership(host: Host) -> Iterator[Finding]:
    """Check that Postfix's account and processes are in the group of the sockets."""
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
        problem = f"{account.pw_name} is not in the group {host.user}, so it can't use the sockets"
        yield wrong(name, problem, applied("dkim"))
        return
    without = [
        f"{process} {comm}"
        for process, comm, groups in processes(_MILTER_CLIENTS)
        if group not in groups
    ]
    problems = [f"started before {account.pw_name} was in the group: {', '.join(without)}"]
    passed = f"{account.pw_name} is in the group {host.user}"
    remedy = f"systemctl restart {_service(host)}"
    yield judged(name, problems if without else [], passed, remedy)


def processes(names: Sequence[str]) -> Iterator[tuple[str, str, set[int]]]:
    """
    Yield number, name and effective groups of each running process with one of the names, without
    those of containers, which have their own Postfix.
    """
    for number in other_signers.process_numbers():
        try:
            with open(f"/proc/{number}/status", encoding="utf-8", errors="replace") as stream:
                text = stream.read()
        except OSError:  # The process has ended.
            continue
        name = re.search(r"^Name:\t(.*)$", text, re.MULTILINE)
        if name and name[1] in names:
            groups = re.search(r"^Groups:(.*)$", text, re.MULTILINE)
            primary = re.search(r"^Gid:\t\d+\t(\d+)", text, re.MULTILINE)
            found = {int(one) for one in groups[1].split()} if groups else set()
            yield number, name[1], found | ({int(primary[1])} if primary else set())


def at_sockets(host: Host) -> Iterator[Finding]:
    """Check that Postfix's account reaches each socket from its chroot, as smtpd(8) does."""
    for daemon in host.daemons:
        yield _at_socket(host, daemon)


def _at_socket(host: Host, daemon: Daemon) -> Finding:
    name = "socket as Postfix"
    if not host.has_postfix:
        return unknown(name, NO_POSTFIX, subject=daemon.service)
    # The milter's path is relative to the queue directory, which is the root of the chroot.
    path = f"/{daemon.milter.partition(':')[2]}"
    account = child.Account(host.postfix_user, chroot=host.chroot)
    try:
        child.run(lambda: _connect(path), CONNECTED_WITHIN + 1, account)
    except (child.ChildFailed, child.TookTooLong) as error:
        return wrong(name, str(error), applied("dkim"), daemon.service)
    return right(name, f"{host.postfix_user} in {host.chroot} reaches {path}", daemon.service)


def _connect(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(CONNECTED_WITHIN)
        try:
            client.connect(path)
        except OSError as error:
            reason = "no answer in time" if isinstance(error, TimeoutError) else error.strerror
            raise OpenDKIMError(f"from within the chroot, {path}: {reason}") from None
    return True
