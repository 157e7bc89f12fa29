"""Watching: what is wrong now, as data, as metrics, and as news for a beacon."""

import time
from collections.abc import Callable, Sequence

from ..dns import check
from ..dns.loop import run
from ..errors import FormulaError
from ..settings import Reading
from ..settings.lookup import names as names_of_machine
from ..settings.model import Settings, Watch
from ..watch import exposition, gathering, machine, names, store
from ..watch.facts import Facts, Keys, Local, Names
from ..watch.news import iso, news
from ..watch.store import Kept
from ..watch.trouble import judge
from . import orphans
from .records import record_set

Runs = Callable[[str], bool]

# Below the minion's cachedir: beacon and metrics share what is there.
FOLDER = "dkim-watch"

# The unit that writes the metrics.
UNIT = "/etc/systemd/system/dkim-watch.service"

# A look has this long beyond dkim:dns:deadline, in seconds, before it is given up.
LONGEST_LOOK = 300


def watch(
    reading: Reading,
    folder: str,
    runs: Runs,
    fresh: bool = False,
) -> dict[str, object]:
    """
    What is wrong now. Database and DNS are asked where their interval is over.

    folder
        Where facts are kept until then.
    runs
        Whether a service runs.
    fresh
        Ask all of it now.

    Returns ``{"troubles": [{kind, subject, what, todo, items, count, since}], "unknown": [kind],
    "looked": {"database", "dns"}}``, moments as ISO 8601 text or None.
    """
    facts = _gathered(reading, folder, runs, fresh)
    judgement = judge(reading.settings, reading.problems, facts)
    return {
        "troubles": [
            {
                "kind": one.kind,
                "subject": one.subject,
                "what": one.what,
                "todo": one.todo,
                "items": list(one.items),
                "count": one.count,
                "since": None if one.since is None else iso(one.since),
            }
            for one in judgement.troubles
        ],
        "unknown": sorted(judgement.unknown),
        "looked": {
            "database": None if facts.keys is None else iso(facts.keys.at),
            "dns": None if facts.names is None else iso(facts.names.at),
        },
    }


def metrics(
    reading: Reading,
    folder: str,
    runs: Runs,
) -> str:
    """The same as text for Prometheus; arguments as :func:`watch`."""
    facts = _gathered(reading, folder, runs)
    judgement = judge(reading.settings, reading.problems, facts)
    return exposition.render(exposition.metrics(facts, judgement))


def write_metrics(path: object, text: str) -> dict[str, str]:
    """Writes what :func:`metrics` gave; ``{"path"}``. Raises InvalidValue for the path."""
    exposition.write(path, text)
    return {"path": path}


def for_states(watch: Watch, config_dir: str, salt_call: str) -> dict[str, object]:
    """
    What the SLS files need.

    config_dir
        The minion's, where its configuration is.
    salt_call
        The program.

    Returns ``{"beacon", "every", "beacon_file", "textfile", "textfile_every", "left_over",
    "command"}``; ``textfile`` is the file, '' for none, ``left_over`` are files that are written no
    more, ``command`` calls a function with that configuration.
    """
    textfile = f"{watch.textfile.rstrip('/')}/{exposition.FILE}" if watch.textfile else ""
    return {
        "beacon": watch.beacon,
        "every": watch.every,
        "beacon_file": f"{config_dir}/minion.d/dkim-watch.conf",
        "textfile": textfile,
        "textfile_every": watch.textfile_every,
        "left_over": [path for path in exposition.written_by(UNIT) if path != textfile],
        "command": f"{salt_call} --config-dir {config_dir} --log-level warning",
    }


def beat(
    reading: Reading,
    folder: str,
    runs: Runs,
) -> list[dict[str, object]]:
    """
    What is new since the last beat; arguments as :func:`watch`.

    Looks at this machine alone, and takes from ``folder`` what :func:`gather` found elsewhere, so
    that a beat costs milliseconds. Returns a list of ``{kind, subject, change, since, what, todo,
    items, count}``.
    """
    now = time.time()
    kept = store.read_facts(folder)
    facts = Facts(_look_here(reading, now, runs), *_wanted(reading.settings, kept))
    judgement = judge(reading.settings, reading.problems, facts)
    before = store.read_told(folder)
    told, remembered = news(reading.settings.watch, judgement, before, now)
    if remembered != before:
        store.write_told(folder, remembered)
    return [one.as_plain() for one in told]


def is_due(reading: Reading, folder: str) -> bool:
    """Whether :func:`gather` would ask database or DNS."""
    if not _can_look(reading):
        return False
    return gathering.is_due(reading.settings, store.read_facts(folder), time.time())


def gather(reading: Reading, folder: str) -> None:
    """
    Asks the database and DNS where their interval is over, and keeps what they say in ``folder``
    for :func:`beat`. Gives up at once where another process is at it.
    """
    gathering.gather(reading.settings, folder, time.time(), _ask_dns, wait=False)


def gave_up(reading: Reading, folder: str, began: float) -> None:
    """
    Keeps that a :func:`gather` did not come to its end and was ended.

    began
        When it began, in seconds since the epoch.
    """
    kept, now = store.read_facts(folder), time.time()
    problem = f"the look that began at {iso(began)} did not come back"
    if kept.keys is None or kept.keys.at < began:
        kept = Kept(Keys(now, problem), kept.names)
    else:
        kept = Kept(kept.keys, Names(now, problem))
    store.write_facts(folder, kept)


def longest_look(settings: Settings) -> int:
    """How long a :func:`gather` may take, in seconds."""
    return settings.dns.deadline + LONGEST_LOOK


def _gathered(
    reading: Reading,
    folder: str,
    runs: Runs,
    fresh: bool = False,
) -> Facts:
    now, kept = time.time(), Kept()
    seen = _look_here(reading, now, runs)
    if _can_look(reading):
        kept = gathering.gather(reading.settings, folder, now, _ask_dns, fresh=fresh)
    return Facts(seen, *_wanted(reading.settings, kept))


def _look_here(reading: Reading, now: float, runs: Runs) -> Local:
    settings = reading.settings
    return machine.look(settings, names_of_machine(settings.lookup), now, runs)


def _can_look(reading: Reading) -> bool:
    """Whether database and DNS can be asked, by the pillar."""
    return not reading.problems and not _only_signs(reading.settings)


def _only_signs(settings: Settings) -> bool:
    # Such a machine has no account to look at keys with; who makes them watches them.
    return bool(settings.database.host) and settings.database.user is None


def _wanted(settings: Settings, kept: Kept) -> Sequence[Keys | Names | None]:
    """What was kept, without what is not to be looked at any more."""
    if _only_signs(settings):
        return None, None
    return kept.keys, None if settings.watch.dns_every is None else kept.names


def _ask_dns(settings: Settings) -> Names:
    at = time.time()
    try:
        # Whose domain is gone may have taken its zone away.
        gone = orphans.look(settings).gone
        wanted = [record for record in record_set(settings) if record.domain not in gone]
        checked = run(check.check(wanted, settings.dns))
    except FormulaError as error:
        return Names(at, str(error))
    return names.summed_up(checked, at)
