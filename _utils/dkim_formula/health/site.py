"""What a site has set for itself that goes round the formula's settings, or wins over them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import PostfixError
from ..postfix import joining, milters, services
from ..postfix.milters import Ours, places
from ..settings.lookup import names
from ..settings.model import Settings
from ..signer import config, daemons, unit
from ..signer.daemons import Daemon

SYSTEMD_RUNS = "/run/systemd/system"  # sd_booted(3)


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
        stops, told = _unit(settings, daemon, str(lookup["opendkim_user"]), lookup)
        problems += stops
        advice += told + config.dropped(settings, daemon)
    try:
        found = services.read()
        plan = _joining(settings, needed, found)
        advice += plan.notes
        problems += _queue(found, str(lookup["postfix_chroot"]))
        action = _action(plan, needed)
    except PostfixError as error:
        problems.append(str(error))
        action = settings.postfix.milter_default_action or "accept"
    return Found(tuple(problems), tuple(advice), action)


def _joining(
    settings: Settings, needed: Sequence[Daemon], found: services.Configuration
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


def _queue(found: services.Configuration, chroot: str) -> list[str]:
    if not found.main or places("unix:x", found.queue) == places("unix:x", chroot):
        return []
    return [
        f"dkim:lookup:postfix_chroot: {chroot!r} is not main.cf's queue_directory, where Postfix "
        f"looks for the milter's socket; set it to {found.queue}"
    ]


def _unit(settings: Settings, daemon: Daemon, user: str, lookup) -> tuple[list[str], list[str]]:
    if not os.path.isdir(SYSTEMD_RUNS):
        return [], []
    conflicts = unit.conflicts(
        daemon.service,
        user,
        daemons.environment(settings.database),
        f"/usr/sbin/opendkim -f -x {daemon.config_file}",
        main=daemon.service == lookup["opendkim_service"],
    )
    fatal = [one for one in conflicts if one.fatal]
    other = [one for one in conflicts if not one.fatal]
    return list(unit.in_words(fatal, daemon.service)), list(unit.in_words(other, daemon.service))
