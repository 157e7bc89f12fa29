"""Records into DNS, by the settings and the keys in the database."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..database import keystore
from ..database import published as memory
from ..database.comparison import Wanted, compare
from ..database.connection import session
from ..database.keystore import Key
from ..database.published import Published
from ..dns.failure import NoLibrary
from ..dns.publish import Planned, Publisher, Task, published_start
from ..errors import DatabaseUnavailable, keeping_what_was_done
from ..names import is_served, owner_domain, stored_domain
from ..postgres import hosted as hosted_domains
from ..postgres import schema
from ..records import BY_HAND, Record
from ..records.record import is_inside
from ..settings.model import Domain, Settings
from ..wanted import chosen_domains, domain_settings, records, wanted_keys
from .setup import NOT_THERE_YET, not_there_yet, nothing_there_yet

# More changes than this are counted in a state's return, not listed; so are names in a problem.
LISTED = 100
NAMED = 10

TO_BE_MADE = "the record of a key that is to be made"


@dataclass
class _Outcome:
    """What was done, or would be, by ``NAME TYPE``."""

    changes: dict[str, dict[str, str | None]] = field(default_factory=dict)
    unchanged: int = 0
    problems: dict[str, list[str]] = field(default_factory=dict)
    by_hand: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def problem(self, text: str, name: str) -> None:
        self.problems.setdefault(text, []).append(name)

    def as_plain(self) -> dict[str, object]:
        return {
            "changes": self.changes,
            "unchanged": self.unchanged,
            "problems": [_with_names(text, names) for text, names in self.problems.items()],
            "by_hand": self.by_hand,
            "notes": self.notes,
        }


@dataclass
class _Facts:
    """What the settings and the database say. ``missing`` are keys that a run would make."""

    chosen: dict[str, Domain]
    keys: Sequence[Key]
    remembered: Sequence[Published]
    missing: Sequence[Wanted]
    notes: list[str] = field(default_factory=list)


@dataclass
class _Wanted:
    """What the database and the settings ask for."""

    tasks: list[Task]
    by_hand: list[Record]
    foreseen: list[Record]


def publish(
    settings: Settings, domain: object = None, adopt: bool = False, test: bool = False
) -> dict[str, object]:
    """
    Brings the records of one domain, or of all, into DNS by dynamic update, and takes those away
    that it published before and that are wanted no more.

    Only names and kinds of ours are touched. A record of the same kind that is neither remembered
    as ours nor of a key of ours is a problem, unless ``adopt`` is set. One name's problem keeps
    no other from being published.

    test
        Only tell: also of the records of keys that a run would make before.

    Returns ``{"changes": {"NAME TYPE": {"old", "new"}}, "unchanged": number, "problems": [text],
    "by_hand": ["NAME TYPE"], "notes": [text]}``; ``by_hand`` belong into zones of others.

    Raises InvalidValue for what is no domain name, DatabaseError; NoLibrary, but for a test run,
    which then tells what it would publish without a look at DNS.
    """
    facts = _facts(settings, domain, test)
    wanted = _wanted(settings, facts)
    outcome = _Outcome(by_hand=[_called(record) for record in wanted.by_hand], notes=facts.notes)
    if test:
        _foretell(settings, wanted, adopt, outcome)
    else:
        _bring(settings, wanted.tasks, lambda: _tasks_now(settings, domain), adopt, outcome)
    return outcome.as_plain()


def publish_keys(settings: Settings, domains: Collection[str]) -> dict[str, object]:
    """
    Brings the key records of some domains into DNS, and nothing else of theirs; as
    :func:`publish`.

    domains
        As the site's table spells them.
    """
    outcome = _Outcome()

    def tasks() -> list[Task]:
        with session(settings.database) as connection:
            keys = keystore.list_of(connection, settings.database, domains)
            remembered = memory.published(connection, settings.database, _stored(domains))
        return _of_keys(_wanted(settings, _facts_of(settings, domains, keys, remembered)).tasks)

    _bring(settings, tasks(), tasks, False, outcome)
    return outcome.as_plain()


def foretell_keys(
    settings: Settings, domains: Collection[str], keys: Sequence[Key], missing: Sequence[Wanted]
) -> dict[str, object]:
    """
    What :func:`publish_keys` would do if the domains had other keys than they have; ``missing`` are
    those that are still to be made.
    """
    with session(settings.database) as connection:
        remembered = memory.published(connection, settings.database, _stored(domains))
    wanted = _wanted(settings, _facts_of(settings, domains, keys, remembered, missing))
    wanted.tasks = _of_keys(wanted.tasks)
    outcome = _Outcome()
    _foretell(settings, wanted, False, outcome)
    return outcome.as_plain()


def summed_up(changes: dict[str, object]) -> dict[str, object]:
    """A state's changes: listed, or past 100 of them counted."""
    if len(changes) <= LISTED:
        return changes
    return {"records": {"old": None, "new": f"{len(changes)} added, changed or removed"}}


# How often a run goes over names that others change at the same time.
_ROUNDS = 5


def _bring(
    settings: Settings,
    tasks: Sequence[Task],
    tasks_now: Callable[[], Sequence[Task]],
    adopt: bool,
    outcome: _Outcome,
) -> None:
    """
    Publishes, looks at the database again, and publishes what has changed there meanwhile: of two
    runs at once the one that publishes last has seen what the other stored, so both come to the
    same. A name that somebody else changed under our hands is looked at again.
    """
    done: dict[tuple[str, str], list[Planned]] = {}

    def changes() -> dict[str, dict[str, str | None]]:
        by_now = _Outcome()
        for rounds in done.values():
            _account(by_now, rounds)
        return by_now.changes

    with Publisher(settings.dns) as publisher, keeping_what_was_done(changes):
        for _ in range(_ROUNDS):
            planned = publisher.plan(tasks, adopt)
            _carry_out(settings, publisher, planned, done)
            if not any(one.step is not None or one.problem for one in planned):
                break
            tasks = [task for task in tasks_now() if _is_news(task, done)]
            if not tasks:
                break
    for rounds in done.values():
        _account(outcome, rounds)


def _is_news(task: Task, done: Mapping[tuple[str, str], Sequence[Planned]]) -> bool:
    """Whether a task is another than the one that was last carried out at its name, or failed."""
    rounds = done.get((task.name, task.type))
    if rounds is None:
        return True
    last = rounds[-1]
    if last.overtaken:
        return True
    if last.problem:
        return set(task.remembered) - set(last.task.remembered) - {_value(last.task)} != set()
    return _value(task) != _value(last.task)


def _value(task: Task) -> str | None:
    return None if task.record is None else task.record.value


def _foretell(settings: Settings, wanted: _Wanted, adopt: bool, outcome: _Outcome) -> None:
    try:
        with Publisher(settings.dns) as publisher:
            planned = publisher.plan(wanted.tasks, adopt)
    except NoLibrary as error:
        outcome.notes.append(str(error))
        planned = []
        wanted.foreseen += [task.record for task in wanted.tasks if task.record is not None]
    for one in planned:
        _account(outcome, [one])
    for record in wanted.foreseen:
        outcome.changes.setdefault(_called(record), {"old": None, "new": record.value})


def _tasks_now(settings: Settings, domain: object) -> list[Task]:
    return _wanted(settings, _facts(settings, domain, False)).tasks


def _of_keys(tasks: Sequence[Task]) -> list[Task]:
    return [task for task in tasks if "._domainkey." in task.name]


def _stored(domains: Iterable[str]) -> list[str]:
    return [owner_domain(domain) for domain in domains if is_served(domain.lower())]


def _facts_of(
    settings: Settings,
    domains: Iterable[str],
    keys: Sequence[Key],
    remembered: Sequence[Published],
    missing: Sequence[Wanted] = (),
) -> _Facts:
    chosen = {name: domain_settings(settings, name) for name in _stored(domains)}
    return _Facts(chosen, keys, remembered, missing)


def _facts(settings: Settings, domain: object, test: bool) -> _Facts:
    """One look at the database; a test run also goes without one that is still to be made."""
    name = None if domain is None else stored_domain(domain)
    database = settings.database
    only = None if name is None else {name: domain_settings(settings, name)}
    try:
        with session(database) as connection:
            if not test or schema.has_tables(connection, database):
                hosted = hosted_domains.hosted(connection, database)
                chosen = only or chosen_domains(settings, hosted)
                return _Facts(
                    chosen,
                    keystore.list_keys(connection, database, name),
                    memory.published(connection, database, None if name is None else [name]),
                    compare(connection, database, wanted_keys(chosen)).missing,
                )
            note = NOT_THERE_YET
    except DatabaseUnavailable as error:
        if not test or not nothing_there_yet(error, database):
            raise
        note = not_there_yet(error)
    chosen = only or chosen_domains(settings, ())
    return _Facts(chosen, [], [], wanted_keys(chosen), [note])


def _wanted(settings: Settings, facts: _Facts) -> _Wanted:
    every = dict(facts.chosen)
    for key in facts.keys:
        name = key.domain.lower()
        if name not in settings.excluded and is_served(name):
            every.setdefault(name, domain_settings(settings, name))
    found = records(settings, every.values(), facts.keys)
    by_hand = [record for record in found if _is_by_hand(record, every, settings)]
    ours = [record for record in found if not _is_by_hand(record, every, settings)]
    # A key that is there keeps its record, also where its row can't be read just now, or where
    # the pillar leaves its domain out.
    kept = {_name_of(key, domain_settings(settings, key.domain.lower())) for key in facts.keys}
    foreseen = [_foreseen(one, every[one.domain.lower()]) for one in facts.missing]
    return _Wanted(_tasks(ours, facts.remembered, kept), by_hand, foreseen)


def _tasks(ours: Sequence[Record], remembered: Iterable[Published], kept: set[str]) -> list[Task]:
    values: dict[tuple[str, str], list[Published]] = {}
    for row in remembered:
        values.setdefault((row.name, row.type), []).append(row)
    tasks = []
    for record in ours:
        known = values.pop((record.name, record.type), [])
        start = record.zone or record.domain
        known_values = tuple(row.value for row in known)
        tasks.append(Task(record.name, record.type, start, record, known_values, record.domain))
    for (name, rtype), rows in values.items():
        if name not in kept:
            known_values = tuple(row.value for row in rows)
            start = published_start(name, rows[0].domain)
            tasks.append(Task(name, rtype, start, None, known_values, rows[0].domain))
    return tasks


def _carry_out(
    settings: Settings,
    publisher: Publisher,
    planned: Sequence[Planned],
    done: dict[tuple[str, str], list[Planned]],
) -> None:
    """
    Remember what is about to be there, send it, and forget what is there no more; ``done`` gets
    each name as it is dealt with.
    """
    due = [one for one in planned if one.step is not None]
    coming = [
        Published(one.task.domain, one.task.name, one.task.type, one.step.add.decode())
        for one in due
        if one.step.add is not None
    ]
    if coming:
        with session(settings.database) as connection:
            memory.remember(connection, settings.database, coming)
    for one in planned:
        if one.step is not None:
            publisher.carry_out(one)
        done.setdefault((one.task.name, one.task.type), []).append(one)
    gone = [row for one in planned if not one.problem for row in _gone(one)]
    if gone:
        with session(settings.database) as connection:
            memory.forget(connection, settings.database, gone)


def _gone(one: Planned) -> list[Published]:
    """What is remembered of a name and is not to be there any more."""
    task = one.task
    wanted = None if task.record is None else task.record.value
    return [
        Published(task.domain, task.name, task.type, value)
        for value in task.remembered
        if value != wanted
    ]


def _account(outcome: _Outcome, rounds: Sequence[Planned]) -> None:
    """What became of one name: of several rounds the first step's start and the last one's end."""
    last = rounds[-1]
    called = f"{last.task.name} {last.task.type}"
    taken = [one.step for one in rounds if one.step is not None and (one.sent or not one.problem)]
    if last.problem:
        outcome.problem(last.problem, called)
    if taken:
        new = None if taken[-1].add is None else taken[-1].add.decode()
        old = [value.decode("utf-8", "backslashreplace") for value in taken[0].delete]
        outcome.changes[called] = {"old": ", ".join(old) or None, "new": new}
    elif not last.problem and last.task.record is not None:
        outcome.unchanged += 1


def _is_by_hand(record: Record, chosen: dict[str, Domain], settings: Settings) -> bool:
    """Whether a record stands in a zone of others, as far as the settings tell."""
    if record.purpose == "dmarc-report":
        zones = (*chosen, *settings.dns.zones)
        return not any(is_inside(record.zone, zone) for zone in zones)
    if record.purpose in BY_HAND:
        return True
    is_delegated = chosen[record.domain].delegation is not None
    return is_delegated and record.purpose != "dkim"


def _foreseen(key: Wanted, domain: Domain) -> Record:
    return Record(_name_of(key, domain), "TXT", domain.ttl, TO_BE_MADE, "dkim", domain.name)


def _name_of(key: Key | Wanted, domain: Domain) -> str:
    name = f"{key.selector.lower()}._domainkey.{domain.name}"
    return name if domain.delegation is None else f"{name}.{domain.delegation.zone}"


def _called(record: Record) -> str:
    return f"{record.name} {record.type}"


def _with_names(text: str, names: Sequence[str]) -> str:
    return f"{shortened(names)}: {text}"


def shortened(names: Sequence[str]) -> str:
    """Return names with commas between; past ``NAMED`` the rest is counted."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"
