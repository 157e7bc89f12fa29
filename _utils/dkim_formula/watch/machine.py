"""What runs on this machine, seen without a word in anybody's log."""

from collections.abc import Callable, Mapping

from ..settings.model import Settings
from ..signer import daemons
from ..signer.restart import answers
from .facts import Local


def look(
    settings: Settings, lookup: Mapping[str, object], now: float, runs: Callable[[str], bool]
) -> Local:
    """
    Which of the services that signing needs run, and which milter sockets take a connection.

    lookup
        Names and paths of this machine (``settings.lookup.names``).
    now
        The moment of the look.
    runs
        Whether a service of that name runs.
    """
    wanted = daemons.daemons(settings, lookup)
    services = {one.service: bool(runs(one.service)) for one in wanted}
    # Debian 12's unit "postfix" is up whatever its instance does, and `postfix status` writes a
    # line to the mail log each time (measured).
    services[str(lookup["postfix_service"])] = postfix_runs(str(lookup["postfix_chroot"]))
    return Local(now, services, {one.socket: answers(one.socket) for one in wanted})


def postfix_runs(queue_directory: str) -> bool:
    """Whether the process that master(8) noted in its pid file is one of its own, and alive."""
    try:
        with open(f"{queue_directory}/pid/master.pid", encoding="ascii") as stream:
            number = int(stream.read(32))
        with open(f"/proc/{number}/comm", encoding="utf-8", errors="replace") as stream:
            return stream.read().strip() == "master"
    except (OSError, ValueError):
        return False
