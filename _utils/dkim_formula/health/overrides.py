"""Settings of the site that bypass the formula's settings, or override them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import OpenDKIMError, PostfixError
from ..postfix import main_cf_milters, milter_plan, service_milters
from ..postfix.milter_addresses import ManagedMilters, endpoints
from ..settings.lookup import names
from ..settings.model import Settings
from ..signer import changed_options, daemons, former_sockets, unit, unit_needs
from ..signer.daemons import Daemon

SYSTEMD_RUNS = "/run/systemd/system"  # sd_booted(3)
# libpq's default socket on Debian, by both its names.
_POSTGRESQL = ("/run/postgresql", "/var/run/postgresql")


@dataclass(frozen=True)
class Found:
    """
    The effect of the site's own settings on a run.

    problems
        The settings that would stop signing, a line each. They forbid a run.
    advice
        The settings that a run leaves unchanged, or replaces.
    action
        Postfix's action after the run while OpenDKIM does not answer.
    """

    problems: tuple[str, ...]
    advice: tuple[str, ...]
    action: str


def inspect(settings: Settings) -> Found:
    """Read Postfix's configuration, the units and opendkim.conf, and return their overrides."""
    lookup = names(settings.lookup)
    needed = list(daemons.daemons(settings, lookup))
    problems, advice = [], []
    for daemon in needed:
        fatal, other = unit_conflicts(settings, daemon)
        problems += fatal
        advice += other + changed_options.changed_options(settings, daemon)
    try:
        found = service_milters.read()
        plan = _milter_plan(settings, needed, found)
        advice += plan.notes
        problems += _queue(found, str(lookup["postfix_chroot"]))
        action = _action(plan, needed)
    except PostfixError as error:
        problems.append(str(error))
        action = settings.postfix.milter_default_action or "accept"
    return Found(tuple(problems), tuple(advice), action)


def _milter_plan(
    settings: Settings, needed: Sequence[Daemon], found: service_milters.Configuration
) -> milter_plan.MilterPlan:
    lookup = names(settings.lookup)
    return milter_plan.present(
        found,
        [daemon.milter for daemon in needed],
        settings.postfix.milter_default_action,
        older=former_sockets.moved_from(needed, lookup),
        intended=settings.postfix.unsigned_services,
    )


def _action(plan: milter_plan.MilterPlan, needed: Sequence[Daemon]) -> str:
    known = ManagedMilters([daemon.milter for daemon in needed], queue=plan.found.queue)
    return main_cf_milters.action(plan.after().main, known)


def _queue(found: service_milters.Configuration, chroot: str) -> list[str]:
    if not found.main or endpoints("unix:x", found.queue) == endpoints("unix:x", chroot):
        return []
    return [
        f"dkim:lookup:postfix_chroot: {chroot!r} is not main.cf's queue_directory, where Postfix "
        f"looks for the milter's socket; set it to {found.queue}"
    ]


def refuse_to_start(settings: Settings, service: str) -> None:
    """Raise OpenDKIMError if unit files of the site stop a daemon from signing after its start."""
    for daemon in daemons.daemons(settings, names(settings.lookup)):
        fatal, _ = unit_conflicts(settings, daemon) if daemon.service == service else ([], [])
        if fatal:
            raise OpenDKIMError("\n".join(fatal))


def unit_conflicts(settings: Settings, daemon: Daemon) -> tuple[list[str], list[str]]:
    """
    Return the settings of the site's unit files that override the formula's, a line each.

    The first list has the settings that would stop the daemon from signing after its next start.
    The second list has the others.
    """
    lookup = names(settings.lookup)
    if not os.path.isdir(SYSTEMD_RUNS):
        return [], []
    database = settings.database
    needs = unit.Needs(
        str(lookup["opendkim_user"]),
        daemons.environment(database),
        writes=tuple(unit_needs.writable(settings, daemon)),
        reads=(daemon.config_file, *(() if database.host else _POSTGRESQL)),
        by_network=bool(database.host),
    )
    conflicts = unit.conflicts(
        daemon.service,
        needs,
        f"/usr/sbin/opendkim -f -x {daemon.config_file}",
        main=daemon.service == lookup["opendkim_service"],
    )
    fatal = [one for one in conflicts if one.fatal]
    other = [one for one in conflicts if not one.fatal]
    return list(unit.messages(fatal, daemon.service)), list(unit.messages(other, daemon.service))
