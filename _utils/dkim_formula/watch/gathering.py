"""Facts that cost something, each looked up when its interval is over."""

from collections.abc import Callable

from ..settings.model import Settings
from . import keys, store
from .facts import Names
from .store import Kept


def is_due(settings: Settings, kept: Kept, now: float) -> bool:
    """Whether the database is to be looked at, or DNS to be asked."""
    return _keys_due(settings, kept, now) or _names_due(settings, kept, now)


def gather(
    settings: Settings,
    folder: str,
    now: float,
    ask: Callable[[Settings], Names],
    *,
    fresh: bool = False,
    wait: bool = True,
) -> Kept:
    """
    What is known now; looks up and keeps what is due.

    folder
        Where it is kept.
    ask
        Asks DNS for every record.
    fresh
        Look everything up, due or not.
    wait
        Where another process is at it, wait for that; else what was kept is given.
    """
    with store.locked(folder, wait) as mine:
        kept = store.read_facts(folder)
        if not mine:
            return kept
        if fresh or _keys_due(settings, kept, now):
            kept = Kept(keys.look(settings), kept.names)
            # DNS may take its time, and what is known of the database should not wait for it.
            store.write_facts(folder, kept)
        if settings.watch.dns_every is not None and (fresh or _names_due(settings, kept, now)):
            kept = Kept(kept.keys, ask(settings))
            store.write_facts(folder, kept)
    return kept


def _keys_due(settings: Settings, kept: Kept, now: float) -> bool:
    if kept.keys is None:
        return True
    # What is away is looked for at each beat, so that its return is told of soon.
    every = settings.watch.every if kept.keys.problem else settings.watch.database_every
    return _over(kept.keys.at, every, now)


def _names_due(settings: Settings, kept: Kept, now: float) -> bool:
    every = settings.watch.dns_every
    if every is None:
        return False
    if kept.names is None:
        return True
    return _over(kept.names.at, settings.watch.every if kept.names.problem else every, now)


def _over(at: float, every: int, now: float) -> bool:
    # A look in the future is from before the clock was set back.
    return not at <= now < at + every
