"""OpenDKIM's processes, by systemd where it runs the machine."""

import subprocess
from collections.abc import Iterator

from ..signer import restart
from ..signer.daemons import Daemon
from .finding import Finding, applied, judged, unknown
from .site import NO_OPENDKIM, Site

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
SYSTEMCTL = "/usr/bin/systemctl"


def units(site: Site) -> list[Finding]:
    """Each daemon, and their watchdog, runs, starts with the machine, and has our unit."""
    if not site.has_opendkim:
        return [unknown("unit", NO_OPENDKIM)]
    found = [_unit(site, daemon) for daemon in site.daemons]
    return [*found, _watchdog(site)] if site.systemd else found


def _unit(site: Site, daemon: Daemon) -> Finding:
    name = f"unit {daemon.service}"
    if not site.systemd:
        runs = restart.answers(daemon.socket)
        found = [] if runs else [f"no {daemon.service} answers, and systemd is not here"]
        return judged(name, found, "it answers; systemd is not here", applied("dkim.opendkim"))
    return _systemds(daemon.service, site.unit_file(daemon), site.user)


def _watchdog(site: Site) -> Finding:
    """Judge the unit that ends a daemon which can't use its database (docs/faults.md)."""
    service = f"{site.lookup['opendkim_service']}-watchdog"
    return _systemds(service, f"/etc/systemd/system/{service}.service", site.user)


def _systemds(service: str, unit_file: str, user: str) -> Finding:
    name = f"unit {service}"
    shown = show(service)
    if shown["LoadState"] == "masked":
        do = f"systemctl unmask {service} && {applied('dkim.opendkim')}"
        return judged(name, [f"{service} is masked"], "", do)
    found = list(faults(shown, unit_file, user))
    do = applied("dkim.opendkim")
    if shown["ActiveState"] != "active":
        do += f"; why it does not run: journalctl -u {service} -n 50"
    return judged(name, found, f"{service} runs, and starts with the machine", do)


def faults(shown: dict[str, str], unit_file: str, user: str) -> Iterator[str]:
    """
    What is wrong with a unit, a clause each.

    shown
        Its properties by ``systemctl show``.
    unit_file
        The file of ours that has to be in force, the unit itself or a drop-in of it.
    """
    if shown["ActiveState"] != "active":
        yield f"it is {shown['ActiveState']} ({shown['SubState']}, {shown['Result']})"
    if shown["UnitFileState"] != "enabled":
        yield f"it does not start with the machine ({shown['UnitFileState'] or 'no unit file'})"
    if unit_file not in [shown["FragmentPath"], *shown["DropInPaths"].split()]:
        yield f"{unit_file} is not in force"
        return
    if shown["NeedDaemonReload"] == "yes":
        yield "its files have changed and systemd has not read them (systemctl daemon-reload)"
    if shown["Restart"] != "always":
        yield f"it has Restart={shown['Restart']}, so a crash may be its end"
    if shown["User"] != user:
        yield f"it starts as {shown['User'] or 'root'}, not as {user or 'root'}"


def show(unit: str) -> dict[str, str]:
    """The unit's properties that matter here."""
    command = [SYSTEMCTL, "show", f"{unit}.service", f"--property={','.join(_PROPERTIES)}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (line.partition("=") for line in done.stdout.splitlines())
    return {**dict.fromkeys(_PROPERTIES, ""), **{name: value for name, _, value in lines}}
