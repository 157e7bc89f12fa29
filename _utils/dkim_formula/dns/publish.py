"""Publication of desired records, and removal of records that are no longer desired."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import DatabaseUnavailable, InvalidValue, NoLibrary, keeping_what_was_done
from ..keys import table as keys_table
from ..keys.comparison import compare
from ..keys.desired import chosen_domains, desired_keys, domain_settings, is_chosen
from ..keys.model import DesiredKey, Key
from ..names import is_served, owner_domain, stored_domain
from ..postgres import hosted as hosted_domains
from ..postgres import schema, stand_in
from ..postgres.commands import NO_DATABASE_YET, awaits_setup, setup_note
from ..postgres.connection import session
from ..record_names import is_key_record
from ..records import MANUAL_PURPOSES, Record
from ..records.record import is_inside
from ..settings.model import Domain, Settings
from ..text import listed
from . import published as published_values
from . import removals
from .changes import Publisher
from .desired import own_spf_problem, records_of, with_keys
from .planned import Planned, Task
from .publish_report import PublishReport, label
from .published import Published
from .zones import has_manual_zone

FUTURE_VALUE = "the record of a key that is to be generated"

# The most passes of one run over names that other programs change at the same time.
_ROUNDS = 5


@dataclass
class _State:
    """The domains of the settings, and the rows of the database. ``missing`` keys have no row."""

    chosen: dict[str, Domain]
    keys: Sequence[Key]
    published: Sequence[Published]
    missing: Sequence[DesiredKey]
    notes: list[str] = field(default_factory=list)


@dataclass
class _Desired:
    """The desired content of DNS. ``future`` are the records of missing keys."""

    tasks: list[Task]
    manual: list[Record]
    future: list[Record]


@stand_in.noted
def publish(
    settings: Settings, domain: object = None, adopt: bool = False, test: bool = False
) -> dict[str, object]:
    """
    Publish the records of one domain, or of all, and remove the published records that are no
    longer desired.

    Only records that the formula manages are changed. Another record of the same kind is a problem,
    unless ``adopt`` is set. A problem at one name does not prevent changes at other names.

    test
        Only preview the changes. The preview includes the records of keys that a run would generate
        first.

    Returns ``{"changes": {"NAME TYPE": {"old", "new"}}, "unchanged": number, "problems": [text],
    "manual": ["NAME TYPE"], "to_publish": [records], "notes": [text]}``. ``manual`` records belong
    in zones of other operators, or in zones with ``publish: none``. ``to_publish`` has the first
    hundred of them in the form of ``dkim.records``.

    Raises InvalidValue for a domain that is neither chosen by the pillar nor has a key or a
    published record; DatabaseError; NoLibrary, but not for a test run, which then previews the
    changes without asking DNS.
    """
    state = _read(settings, domain, test)
    if domain is not None and not (state.chosen or state.keys or state.published):
        raise InvalidValue(
            "domain",
            domain,
            "is not chosen by dkim:domains, and has neither a key nor a published record",
            "correct the name, or add the domain to dkim:domains",
        )
    desired = _desired(settings, state)
    report = PublishReport(manual=desired.manual, notes=state.notes)
    if test:
        _preview(settings, desired, adopt, report)
    else:
        _run(settings, desired.tasks, lambda: _tasks_now(settings, domain), adopt, report)
    return report.to_dict()


def publish_keys(settings: Settings, domains: Collection[str]) -> dict[str, object]:
    """
    Publish the key records of some domains, and no other records. Return the same data as
    :func:`publish`.

    domains
        In the spelling of the table of domains.
    """
    report = PublishReport()

    def tasks() -> list[Task]:
        with session(settings.database) as connection:
            keys = keys_table.list_of(connection, settings.database, domains)
            published = published_values.read(connection, settings.database, _stored(domains))
        return _of_keys(_desired(settings, _state_of(settings, domains, keys, published)).tasks)

    _run(settings, tasks(), tasks, False, report)
    return report.to_dict()


def preview_keys(
    settings: Settings, domains: Collection[str], keys: Sequence[Key], missing: Sequence[DesiredKey]
) -> dict[str, object]:
    """
    Return what :func:`publish_keys` would do if the domains had the given keys.

    missing
        The keys that are still to be generated.
    """
    with session(settings.database) as connection:
        published = published_values.read(connection, settings.database, _stored(domains))
    desired = _desired(settings, _state_of(settings, domains, keys, published, missing))
    desired.tasks = _of_keys(desired.tasks)
    report = PublishReport()
    _preview(settings, desired, False, report)
    return report.to_dict()


def _run(
    settings: Settings,
    tasks: Sequence[Task],
    tasks_now: Callable[[], Sequence[Task]],
    adopt: bool,
    report: PublishReport,
) -> None:
    """
    Publish, read the database again, and publish what changed there in the meantime. Of two
    simultaneous runs, the last one to publish has read the rows of the other, so both produce the
    same result. A name that another program changed during the update is read again.
    """
    done: dict[tuple[str, str], list[Planned]] = {}

    def changes() -> dict[str, dict[str, str | None]]:
        so_far = PublishReport()
        for rounds in done.values():
            so_far.add(rounds)
        return so_far.changes

    with Publisher(settings.dns) as publisher, keeping_what_was_done(changes):
        for _ in range(_ROUNDS):
            planned = publisher.plan(tasks, adopt)
            _apply(settings, publisher, planned, done)
            if not any(one.step is not None or one.problem for one in planned):
                break
            tasks = [task for task in tasks_now() if _is_due(task, done)]
            if not tasks:
                break
    for rounds in done.values():
        report.add(rounds)


def _is_due(task: Task, done: Mapping[tuple[str, str], Sequence[Planned]]) -> bool:
    """Return whether a task differs from the last one at its name, or the last had a conflict."""
    rounds = done.get((task.name, task.type))
    if rounds is None:
        return True
    last = rounds[-1]
    if last.has_conflict:
        return True
    if last.problem:
        return set(task.published) - set(last.task.published) - {_value(last.task)} != set()
    return _value(task) != _value(last.task)


def _value(task: Task) -> str | None:
    return None if task.record is None else task.record.value


def _apply(
    settings: Settings,
    publisher: Publisher,
    planned: Sequence[Planned],
    done: dict[tuple[str, str], list[Planned]],
) -> None:
    """
    Store the new values, send the changes, and remove the stored values that DNS no longer has.
    Each name is added to ``done`` as soon as its change was sent.
    """
    new = [
        Published(one.task.domain, one.task.name, one.task.type, one.step.add.decode())
        for one in planned
        if one.step is not None and one.step.add is not None
    ]
    if new:
        with session(settings.database) as connection:
            published_values.add(connection, settings.database, new)
    for one in publisher.apply(planned):
        done.setdefault((one.task.name, one.task.type), []).append(one)
    sent = [
        _sent_value(one) for one in planned if one.step is not None and one.step.add is not None
    ]
    if any(row.rewritten is not None for row in sent) or any(one.task.rewritten for one in planned):
        with session(settings.database) as connection:
            published_values.store_rewritten(connection, settings.database, sent)
    gone = [row for one in planned if not one.problem for row in _gone(one)]
    if gone:
        with session(settings.database) as connection:
            published_values.remove(connection, settings.database, gone)


def _sent_value(one: Planned) -> Published:
    """Return the value that a step sent, with the provider's rewritten form."""
    task = one.task
    return Published(task.domain, task.name, task.type, one.step.add.decode(), one.rewritten)


def _gone(one: Planned) -> list[Published]:
    """Return the published values of a name without the desired value."""
    task = one.task
    return [
        Published(task.domain, task.name, task.type, value)
        for value in task.published
        if value != _value(task)
    ]


def _preview(settings: Settings, desired: _Desired, adopt: bool, report: PublishReport) -> None:
    try:
        with Publisher(settings.dns) as publisher:
            planned = publisher.preview(desired.tasks, adopt)
    except NoLibrary as error:
        report.notes.append(str(error))
        planned = []
        desired.future += [task.record for task in desired.tasks if task.record is not None]
    for one in planned:
        report.add([one])
    for record in desired.future:
        report.changes.setdefault(label(record), {"old": None, "new": record.value})


def _read(settings: Settings, domain: object, test: bool) -> _State:
    """Read the state. A test run works without a database, which a run may create first."""
    name = None if domain is None else stored_domain(domain)
    database = settings.database
    try:
        with session(database) as connection:
            if not test or schema.has_tables(connection, database):
                chosen = _chosen(settings, name, hosted_domains.hosted(connection, database))
                names = None if name is None else [name]
                return _State(
                    chosen,
                    keys_table.list_keys(connection, database, name),
                    published_values.read(connection, database, names),
                    compare(connection, database, desired_keys(chosen)).missing,
                )
            note = NO_DATABASE_YET
    except DatabaseUnavailable as error:
        if not test or not awaits_setup(error, database):
            raise
        note = setup_note(error)
    chosen = _chosen(settings, name, () if name is None else [name])
    return _State(chosen, [], [], desired_keys(chosen), [note])


def _chosen(settings: Settings, name: str | None, hosted: Collection[str]) -> dict[str, Domain]:
    """Return the domains that the formula manages, by name; of these only one if it is named."""
    if name is None:
        return chosen_domains(settings, hosted)
    if name in settings.domains or (name in hosted and is_chosen(settings, name)):
        return {name: domain_settings(settings, name)}
    return {}


def _tasks_now(settings: Settings, domain: object) -> list[Task]:
    return _desired(settings, _read(settings, domain, False)).tasks


def _of_keys(tasks: Sequence[Task]) -> list[Task]:
    return [task for task in tasks if is_key_record(task.name)]


def _stored(domains: Iterable[str]) -> list[str]:
    return [owner_domain(domain) for domain in domains if is_served(domain.lower())]


def _state_of(
    settings: Settings,
    domains: Iterable[str],
    keys: Sequence[Key],
    published: Sequence[Published],
    missing: Sequence[DesiredKey] = (),
) -> _State:
    chosen = {name: domain_settings(settings, name) for name in _stored(domains)}
    return _State(chosen, keys, published, missing)


def _desired(settings: Settings, state: _State) -> _Desired:
    every = with_keys(settings, state.chosen, state.keys)
    found = records_of(settings, every.values(), state.keys)
    manual = [record for record in found if _is_manual(record, every, settings)]
    managed = [record for record in found if not _is_manual(record, every, settings)]
    future = [_future(one, every[one.domain.lower()]) for one in state.missing]
    by_name: dict[tuple[str, str], list[Published]] = {}
    for row in state.published:
        by_name.setdefault((row.name, row.type), []).append(row)
    publications = _publications(managed, by_name)
    for record in manual:
        by_name.pop((record.name, record.type), None)
    for domain in every.values():
        if problem := own_spf_problem(domain):
            state.notes.append(problem)
            # Without this record, the SPFs that include it would be a permanent error too.
            by_name.pop((domain.name, "TXT"), None)
    removed, left = removals.of_unneeded(settings, by_name, state.keys)
    if left:
        names = listed([label(task) for task in left])
        state.notes.append(f"remove these records by hand once nothing uses them: {names}")
    return _Desired([*publications, *removed], manual, future)


def _publications(
    managed: Sequence[Record], by_name: dict[tuple[str, str], list[Published]]
) -> list[Task]:
    """Return a task for each record. The published values at its name leave ``by_name``."""
    tasks = []
    for record in managed:
        rows = by_name.pop((record.name, record.type), [])
        values = tuple(row.value for row in rows)
        form = next((row.rewritten for row in rows if row.value == record.value), None)
        start = record.zone or record.domain
        tasks.append(Task(record.name, record.type, start, record, values, record.domain, form))
    return tasks


def _is_manual(record: Record, chosen: dict[str, Domain], settings: Settings) -> bool:
    """
    Return whether a person publishes a record: by the settings another operator runs its zone, or
    the settings leave its zone to a person.
    """
    if has_manual_zone(settings.dns, record.name):
        return True
    if record.purpose == "dmarc-report":
        zones = (*chosen, *settings.dns.zones)
        return not any(is_inside(record.zone, zone) for zone in zones)
    if record.purpose in MANUAL_PURPOSES:
        return True
    is_delegated = chosen[record.domain].delegation is not None
    return is_delegated and record.purpose != "dkim"


def _future(key: DesiredKey, domain: Domain) -> Record:
    name = removals.name_of(key, domain)
    return Record(name, "TXT", domain.ttl, FUTURE_VALUE, "dkim", domain.name)
