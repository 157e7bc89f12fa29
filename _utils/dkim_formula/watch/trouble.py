"""What is wrong, judged from the facts: the same for events and for metrics."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..settings.duration import in_words
from ..settings.model import Settings, Watch
from .facts import Facts, Keys, Late, Local, Names

SERVICE = "service"
SOCKET = "socket"
SETTINGS = "settings"
DATABASE = "database"
KEY_AGE = "key-age"
ROTATION = "rotation"
DNS = "dns"
UNSIGNED = "unsigned"

KINDS = (SERVICE, SOCKET, SETTINGS, DATABASE, KEY_AGE, ROTATION, DNS, UNSIGNED)

# So many names stand in a sentence.
NAMED = 5


@dataclass(frozen=True)
class Trouble:
    """
    One thing that is wrong.

    kind, subject
        What kind of thing, one of ``KINDS``, and which service or socket; '' where there is one
        alone of its kind.
    at
        The moment of the look that found it.
    what, todo
        Sentences: what is wrong, and what to do.
    items, count
        Whom it concerns (keys, records, domains), the first of them; and how many.
    since
        When it began, where the facts tell.
    """

    kind: str
    subject: str
    at: float
    what: str
    todo: str
    items: tuple[str, ...] = ()
    count: int = 1
    since: float | None = None


@dataclass(frozen=True)
class Judgement:
    """``unknown`` are kinds that the facts say nothing about: they neither begin nor end."""

    troubles: tuple[Trouble, ...]
    unknown: frozenset[str]


def judge(settings: Settings, problems: Sequence[str], facts: Facts) -> Judgement:
    """
    Everything that is wrong.

    problems
        What is wrong with the pillar. With one of them nothing but this machine is judged: the
        settings can't be relied on.
    """
    found = list(_of_machine(facts.local))
    if problems:
        found.append(_of_pillar(problems, facts.local.at))
        return Judgement(tuple(found), frozenset({DATABASE, KEY_AGE, ROTATION, DNS, UNSIGNED}))
    unknown = set()
    if facts.keys is None:
        unknown |= {DATABASE, KEY_AGE, ROTATION, UNSIGNED}
    elif facts.keys.problem:
        found.append(_of_database(facts.keys))
        unknown |= {KEY_AGE, ROTATION, UNSIGNED}
    else:
        found += _of_keys(settings, facts.keys)
    if facts.names is None or facts.names.problem:
        unknown.add(DNS)
    elif facts.names.wrong_count:
        found.append(_of_names(settings, facts.names))
    return Judgement(tuple(found), frozenset(unknown))


def patience(watch: Watch, kind: str) -> int:
    """How long a trouble has to be seen before an event says so, in seconds."""
    if kind in (SERVICE, SOCKET, DATABASE):
        return watch.down_for
    return watch.differs_for if kind == DNS else 0


def _of_machine(local: Local) -> Iterator[Trouble]:
    for name, up in local.services.items():
        if not up:
            what = f"the service {name} does not run"
            todo = f"see `systemctl status {name}` and `journalctl -u {name} -n 50`"
            yield Trouble(SERVICE, name, local.at, what, todo)
    for path, up in local.sockets.items():
        if not up:
            what = f"no milter answers at {path}, so mail leaves unsigned or waits"
            todo = (
                "see `journalctl -u opendkim -n 50`; `salt-call state.apply dkim` brings service, "
                "directory and socket into order"
            )
            yield Trouble(SOCKET, path, local.at, what, todo)


def _of_pillar(problems: Sequence[str], at: float) -> Trouble:
    what = f"the pillar is wrong, so only services and sockets are watched: {_named(problems)}"
    todo = "correct it; `salt-call dkim.check` shows all that is wrong"
    return Trouble(SETTINGS, "", at, what, todo, tuple(problems), len(problems))


def _of_database(keys: Keys) -> Trouble:
    todo = "see to PostgreSQL; OpenDKIM signs nothing without it"
    return Trouble(DATABASE, "", keys.at, f"the database has no answer: {keys.problem}", todo)


def _of_keys(settings: Settings, keys: Keys) -> Iterator[Trouble]:
    if keys.sudden:
        todo = (
            "see to the table of domains; or, if it is meant: `salt-call dkim.advance force=True`"
        )
        yield Trouble(DATABASE, "", keys.at, keys.sudden, todo)
    counts = dict(keys.late_counts)
    old = counts.pop("active", 0)
    limit = in_words(settings.rotation.every + settings.watch.overdue)
    if old:
        late = [one for one in keys.late if one.state == "active"]
        what = f"{_number(old, 'key')} signed for longer than {limit}: {_named(_names(late), old)}"
        todo = "rotate: `salt-call dkim.rotate DOMAIN`, or set dkim:rotation:automatic"
        yield _of_late(KEY_AGE, keys.at, what, todo, late, old)
    stuck = sum(counts.values())
    if stuck:
        late = [one for one in keys.late if one.state != "active"]
        listed = [f"{one.name} ({one.state})" for one in late]
        what = (
            f"{_number(stuck, 'key')} should have gone on more than "
            f"{in_words(settings.watch.overdue)} ago: {_named(listed, stuck)}"
        )
        todo = (
            "`salt-call dkim.status DOMAIN` says what each waits for, and `salt-call dkim.advance` "
            "goes as far as it can"
        )
        yield _of_late(ROTATION, keys.at, what, todo, late, stuck)
    if keys.unsigned_count:
        number = keys.unsigned_count
        what = f"{_number(number, 'hosted domain')} without an active key, so mail leaves unsigned"
        todo = (
            "`salt-call dkim.generate_missing` makes the keys of domains that the pillar chooses; "
            "add the others to dkim:domains, or set them to false there"
        )
        what = f"{what}: {_named(keys.unsigned, number)}"
        yield Trouble(UNSIGNED, "", keys.at, what, todo, keys.unsigned, number)


def _of_late(
    kind: str, at: float, what: str, todo: str, late: Sequence[Late], count: int
) -> Trouble:
    known = [one.since for one in late if one.since is not None]
    names = tuple(_names(late))
    return Trouble(kind, "", at, what, todo, names, count, min(known, default=None))


def _of_names(settings: Settings, names: Names) -> Trouble:
    number = names.wrong_count
    what = f"{_number(number, 'record')} not in DNS as it should be: {_named(names.wrong, number)}"
    todo = "`salt-call dkim.check_dns DOMAIN` says how each differs; "
    if settings.dns.publish == "none":
        todo += "`salt-call dkim.records DOMAIN format=bind` prints what to publish"
    else:
        todo += "`salt-call dkim.publish` publishes"
    return Trouble(DNS, "", names.at, what, todo, names.wrong, number)


def _names(late: Iterable[Late]) -> list[str]:
    return [one.name for one in late]


def _number(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _named(names: Sequence[str], number: int | None = None) -> str:
    number = len(names) if number is None else number
    shown = ", ".join(names[:NAMED])
    return f"{shown} and {number - NAMED} more" if number > NAMED else shown
