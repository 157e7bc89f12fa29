"""Records into DNS, by the settings and the keys in the database."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..database import domains as domain_table
from ..database import keystore, schema
from ..database import published as memory
from ..database.comparison import Wanted, compare
from ..database.connection import session
from ..database.keystore import Key
from ..database.published import Published
from ..dns.failure import NoLibrary
from ..dns.publish import Planned, Publisher, Task
from ..errors import DatabaseUnavailable
from ..names import domain_name
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
    try:
        with Publisher(settings.dns) as publisher:
            planned = publisher.plan(wanted.tasks, adopt)
            if not test:
                _carry_out(settings, publisher, planned)
    except NoLibrary as error:
        if not test:
            raise
        outcome.notes.append(str(error))
        planned = []
        wanted.foreseen += [task.record for task in wanted.tasks if task.record is not None]
    for one in planned:
        _account(outcome, one)
    if test:
        for record in wanted.foreseen:
            outcome.changes.setdefault(_called(record), {"old": None, "new": record.value})
    return outcome.as_plain()


def summed_up(changes: dict[str, object]) -> dict[str, object]:
    """A state's changes: listed, or past 100 of them counted."""
    if len(changes) <= LISTED:
        return changes
    return {"records": {"old": None, "new": f"{len(changes)} added, changed or removed"}}


def _facts(settings: Settings, domain: object, test: bool) -> _Facts:
    """One look at the database; a test run also goes without one that is still to be made."""
    name = None if domain is None else domain_name(domain, "domain")
    database = settings.database
    only = None if name is None else {name: domain_settings(settings, name)}
    try:
        with session(database) as connection:
            if not test or schema.has_tables(connection, database):
                hosted = domain_table.hosted(connection, database)
                chosen = only or chosen_domains(settings, hosted)
                return _Facts(
                    chosen,
                    keystore.list_keys(connection, database, name),
                    memory.published(connection, database, name),
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
        if name not in settings.excluded:
            every.setdefault(name, domain_settings(settings, name))
    found = records(settings, every.values(), facts.keys)
    by_hand = [record for record in found if _is_by_hand(record, every, settings)]
    ours = [record for record in found if not _is_by_hand(record, every, settings)]
    # A key that is there keeps its record, also where its row can't be read just now, or where
    # the pillar leaves its domain out.
    kept = {_name_of(key, domain_settings(settings, key.domain.lower())) for key in facts.keys}
    foreseen = [_foreseen(one, facts.chosen[one.domain]) for one in facts.missing]
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
            tasks.append(Task(name, rtype, rows[0].domain, None, known_values, rows[0].domain))
    return tasks


def _carry_out(settings: Settings, publisher: Publisher, planned: Sequence[Planned]) -> None:
    """Remembers what is about to be there, sends it, and forgets what is there no more."""
    due = [one for one in planned if one.step is not None]
    coming = [
        Published(one.task.domain, one.task.name, one.task.type, one.step.add.decode())
        for one in due
        if one.step.add is not None
    ]
    if coming:
        with session(settings.database) as connection:
            memory.remember(connection, settings.database, coming)
    for one in due:
        publisher.carry_out(one)
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


def _account(outcome: _Outcome, one: Planned) -> None:
    called = f"{one.task.name} {one.task.type}"
    if one.problem:
        outcome.problem(one.problem, called)
    elif one.step is not None:
        new = None if one.step.add is None else one.step.add.decode()
        old = [value.decode("utf-8", "backslashreplace") for value in one.step.delete]
        outcome.changes[called] = {"old": ", ".join(old) or None, "new": new}
    elif one.task.record is not None:
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
    shown = ", ".join(names[:NAMED])
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{shown}{more}: {text}"
