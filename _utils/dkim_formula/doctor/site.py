"""What every check needs to know of the machine and of the settings."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ..postfix.main_cf import POSTCONF
from ..postfix.milters import Ours
from ..settings.lookup import names
from ..settings.model import Settings
from ..signer.daemons import Daemon, daemon, daemons

SYSTEMD_RUNS = "/run/systemd/system"  # sd_booted(3)
OPENDKIM = "/usr/sbin/opendkim"

NO_OPENDKIM = "OpenDKIM is not installed on this machine"
NO_POSTFIX = "Postfix is not installed on this machine"


@dataclass(frozen=True)
class Site:
    """
    The pillar's settings, and what stands on this machine.

    settings
        Where the pillar is wrong, defaults stand in.
    problems
        What is wrong with the pillar, a line each.
    """

    settings: Settings
    problems: tuple[str, ...] = ()

    @cached_property
    def lookup(self) -> Mapping[str, object]:
        """Names of packages, services and paths."""
        return names(self.settings.lookup)

    @cached_property
    def daemons(self) -> tuple[Daemon, ...]:
        """The daemons that there should be."""
        return daemons(self.settings, self.lookup)

    @cached_property
    def unused_milters(self) -> list[str]:
        """Milters of daemons that there should not be."""
        every = [daemon(algorithm, self.lookup) for algorithm in ("rsa", "ed25519")]
        return [one.milter for one in every if one not in self.daemons]

    @cached_property
    def ours(self) -> Ours:
        """The milters that there should be."""
        return Ours([daemon.milter for daemon in self.daemons], queue=self.chroot)

    @property
    def user(self) -> str:
        """The daemons' account."""
        return str(self.lookup["opendkim_user"])

    @property
    def postfix_user(self) -> str:
        """Postfix's account."""
        return str(self.lookup["postfix_user"])

    @property
    def chroot(self) -> str:
        """Postfix's queue directory."""
        return str(self.lookup["postfix_chroot"])

    @property
    def systemd(self) -> bool:
        """Whether systemd runs this machine."""
        return os.path.isdir(SYSTEMD_RUNS)

    @property
    def has_opendkim(self) -> bool:
        """Whether OpenDKIM is installed."""
        return os.path.exists(OPENDKIM)

    @property
    def has_postfix(self) -> bool:
        """Whether Postfix is installed."""
        return os.path.exists(POSTCONF)

    def unit_file(self, daemon: Daemon) -> str:
        """The file that the formula gives the daemon's unit."""
        unit = f"/etc/systemd/system/{daemon.service}.service"
        main = daemon.service == self.lookup["opendkim_service"]
        return f"{unit}.d/dkim-formula.conf" if main else unit
