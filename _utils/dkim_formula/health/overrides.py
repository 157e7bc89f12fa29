"""What a site has set for itself that goes round the formula's settings, or wins over them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import OpenDKIMError, PostfixError
from ..postfix import joining, milters, service_milters
from ..postfix.milters import Ours, places
from ..settings.lookup import names
from ..settings.model import Settings
from ..signer import config, daemons, sandbox, unit
from ..signer.daemons import Daemon

SYSTEMD_RUNS = "/run/systemd/system"  # sd_booted(3)
# libpq's default socket on Debian, by both its names.
_POSTGRESQL = ("/run/postgresql", "/var/run/postgresql")


@dataclass(frozen=True)
class Found:
    """
    What a run has to know of the site's own settings.

    problems
        What would end signing, a line each: a run must not begin.
    advice
        What a run leaves as it is, or replaces.
    action
        What Postfix does while OpenDKIM is away, once the run is over.
    """

    problems: tuple[str, ...]
    advice: tuple[str, ...]
    action: str


def inspect(settings: Settings) -> Found:
    """Look at Postfix's configuration, the units, and the opendkim.conf that is there."""
    lookup = names(settings.lookup)
    needed = list(daemons.daemons(settings, lookup))
    problems, advice = [], []
    for daemon in needed:
        stops, told = unit_conflicts(settings, daemon)
        problems += stops
        advice += told + config.dropped(settings, daemon)
    try:
        found = service_milters.read()
        plan = _joining(settings, needed, found)
        advice += plan.notes
        problems += _queue(found, str(lookup["postfix_chroot"]))
        action = _action(plan, needed)
    except PostfixError as error:
        problems.append(str(error))
        action = settings.postfix.milter_default_action or "accept"
    return Found(tuple(problems), tuple(advice), action)


def _joining(
    settings: Settings, needed: Sequence[Daemon], found: service_milters.Configuration
) -> joining.Joining:
    lookup = names(settings.lookup)
    return joining.present(
        found,
        [daemon.milter for daemon in needed],
        settings.postfix.milter_default_action,
        older=config.moved_from(needed, lookup),
        meant=settings.postfix.unsigned_services,
    )


def _action(plan: joining.Joining, needed: Sequence[Daemon]) -> str:
    known = Ours([daemon.milter for daemon in needed], queue=plan.found.queue)
    return milters.action(plan.after().main, known)


def _queue(found: service_milters.Configuration, chroot: str) -> list[str]:
    if not found.main or places("unix:x", found.queue) == places("unix:x", chroot):
        return []
    return [
        f"dkim:lookup:postfix_chroot: {chroot!r} is not main.cf's queue_directory, where Postfix "
        f"looks for the milter's socket; set it to {found.queue}"
    ]


def refuse_to_start(settings: Settings, service: str) -> None:
    """Raise OpenDKIMError where a daemon would not sign after its next start, for a site's unit."""
    for daemon in daemons.daemons(settings, names(settings.lookup)):
        stops, _ = unit_conflicts(settings, daemon) if daemon.service == service else ([], [])
        if stops:
            raise OpenDKIMError("\n".join(stops))


def unit_conflicts(settings: Settings, daemon: Daemon) -> tuple[list[str], list[str]]:
    """
    Return what of a site's own unit files wins over the formula's, a line for each: what would keep
    the daemon from signing after its next start, and the rest.
    """
    lookup = names(settings.lookup)
    if not os.path.isdir(SYSTEMD_RUNS):
        return [], []
    database = settings.database
    needs = unit.Needs(
        str(lookup["opendkim_user"]),
        daemons.environment(database),
        writes=tuple(sandbox.writable(settings, daemon)),
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
    return list(unit.in_words(fatal, daemon.service)), list(unit.in_words(other, daemon.service))
