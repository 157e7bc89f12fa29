"""Checks of keys and patterns: readable, as the pillar says, in time, and complete."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from ..key_text import read_stored
from ..keys import odd_rows, patterns, removed_domains
from ..keys import table as keys_table
from ..keys.desired import (
    chosen_domains,
    desired_keys,
    desired_patterns,
    domain_problem,
)
from ..keys.model import DesiredKey, Key
from ..postgres import hosted as hosted_domains
from ..postgres import inspection
from ..postgres.connection import session
from ..postgres.objects import names
from ..postgres.sql import compose
from ..postgres.stored_row import read_row
from ..record_names import KEY_LABEL
from ..rotation.due_dates import standby_for
from ..settings.duration import in_words
from ..settings.model import Database, Settings
from ..text import counted, listed
from . import key_remedies, samples
from .model import (
    MOST_ITEMS,
    NAMED,
    STATES,
    Finding,
    Host,
    Sample,
    differences,
    judged,
    right,
    unknown,
    wrong,
)

if TYPE_CHECKING:
    import psycopg2.extensions as pg

# The subject of the finding about hosted domains that the pillar does not choose.
NOT_CHOSEN = "not in the pillar"

# The number of keys that the check reads at most. Reading one key takes 0.2 ms (measured), and
# 100,000 keys would take too long.
MOST_READ = 2_000

_ACTIVE = """
SELECT k.domain, k.selector::text, k.algorithm, k.public_key, k.key::text, count(*) OVER ()
  FROM {dkim} AS k
 WHERE k.state = 'active'
 ORDER BY k.public_key IS NULL DESC, random()
 LIMIT %s
"""

_COUNTS = """
SELECT k.algorithm, k.state, count(*)::integer
  FROM {dkim} AS k GROUP BY 1, 2 ORDER BY 1, 2
"""

_OLDEST = """
SELECT k.algorithm, extract(epoch FROM min(k.activated_at))::float8
  FROM {dkim} AS k WHERE k.state = 'active' AND k.activated_at IS NOT NULL
 GROUP BY 1 ORDER BY 1
"""

# The time when the next move of each key is due. A pending key waits only for its record, so its
# move is due from its generation on. A key without a date was adopted and not repaired since.
_OVERDUE = """
WITH life AS (
    SELECT k.id, k.selector::text AS selector, k.domain, k.state,
           CASE k.state
               WHEN 'active' THEN k.activated_at + make_interval(secs => %(every)s)
               WHEN 'standby' THEN k.created_at + make_interval(secs => %(standby_for)s)
               WHEN 'pending' THEN k.created_at
               WHEN 'retired' THEN k.retired_at + make_interval(secs => %(retire_for)s)
               ELSE k.revoked_at + make_interval(secs => %(revoke_for)s)
           END AS due
      FROM {dkim} AS k
     WHERE k.state = ANY (%(states)s) AND k.domain <> ALL (%(excluded)s)
), overdue AS (
    SELECT * FROM life
     WHERE coalesce(due + make_interval(secs => %(overdue)s), '-infinity') < now()
)
"""
_OVERDUE_KEYS = (
    _OVERDUE
    + """
SELECT selector || %(between)s || domain, state, extract(epoch FROM due)::float8
  FROM overdue ORDER BY due NULLS FIRST, id LIMIT %(most)s
"""
)
_OVERDUE_COUNTS = _OVERDUE + "SELECT state, count(*)::integer FROM overdue GROUP BY 1 ORDER BY 1"

# The hosted domains, and the domains of the pillar, that no key of a daemon signs for.
_UNSIGNED = """
SELECT d.domain
  FROM (SELECT domain FROM {hosted} () UNION SELECT unnest(%(named)s::text[])) AS d (domain)
 WHERE NOT EXISTS (SELECT FROM {signing} AS s WHERE s.pattern = d.domain
                      AND s.algorithm = ANY (%(algorithms)s))
 ORDER BY d.domain COLLATE "C"
"""


class Overdue(NamedTuple):
    """A key whose next move is overdue. ``since`` is the due time, or None if it is unknown."""

    name: str
    state: str
    since: float | None


def age(host: Host) -> Iterator[Finding | Sample]:
    """Check that no active key has signed for too long, and count the keys."""
    with session(host.settings.database) as connection:
        yield from _overdue(connection, host, "key-age", ("active",))
        known = names(host.settings.database)
        for algorithm, state, number in _rows(connection, compose(_COUNTS, **known)):
            yield Sample("dkim_keys", number, {"algorithm": algorithm, "state": state})
        for algorithm, at in _rows(connection, compose(_OLDEST, **known)):
            labels = {"algorithm": algorithm}
            yield Sample("dkim_oldest_active_key_timestamp_seconds", at, labels)
        yield from samples.due(connection, host)


def rotation(host: Host) -> Iterator[Finding | Sample]:
    """Check that no key is stuck in its rotation."""
    with session(host.settings.database) as connection:
        states = [state for state in STATES if state != "active"]
        yield from _overdue(connection, host, "rotation", states)


def _overdue(
    connection: pg.connection, host: Host, check: str, states: Sequence[str]
) -> Iterator[Finding | Sample]:
    settings = host.settings
    limits = {
        "every": settings.rotation.every,
        "standby_for": standby_for(settings.rotation),
        "retire_for": settings.rotation.retire_for,
        "revoke_for": settings.rotation.revoke_for,
        "overdue": settings.monitoring.overdue,
        "excluded": sorted(settings.excluded | host.orphans.gone),
        "states": list(states),
        "most": MOST_ITEMS,
        "between": f".{KEY_LABEL}.",
    }
    known = names(settings.database)
    keys = [Overdue(*row) for row in _rows(connection, compose(_OVERDUE_KEYS, **known), limits)]
    counts = dict(_rows(connection, compose(_OVERDUE_COUNTS, **known), limits))
    for state in states:
        yield Sample("dkim_keys_overdue", counts.get(state, 0), {"state": state})
    yield overdue_finding(settings, check, keys, sum(counts.values()))


def overdue_finding(settings: Settings, check: str, keys: Sequence[Overdue], count: int) -> Finding:
    """Return the finding ``key-age`` or ``rotation`` about ``count`` overdue keys."""
    if not count:
        return right(check, "no key is overdue for its next move")
    if check == "key-age":
        limit = in_words(settings.rotation.every + settings.monitoring.overdue)
        shown = [one.name for one in keys]
        domains = [name.partition(f".{KEY_LABEL}.")[2] for name in shown]
        message = f"{counted(count, 'key')} signed for longer than {limit}"
        remedy = f"{key_remedies.of_old_keys(domains, count)}; or set dkim:rotation:automatic"
    else:
        limit = in_words(settings.monitoring.overdue)
        shown = [f"{one.name} ({one.state})" for one in keys]
        are = "is" if count == 1 else "are"
        message = f"{counted(count, 'key')} {are} overdue for the next move by more than {limit}"
        remedy = (
            "salt-call dkim.status says what each key waits for; salt-call dkim.advance "
            "moves the keys that can move"
        )
    return wrong(
        check,
        f"{message}: {listed(shown, NAMED, count)}",
        remedy,
        items=tuple(one.name for one in keys),
        count=count,
        since=min((one.since for one in keys if one.since is not None), default=None),
    )


def unsigned(host: Host) -> Iterator[Finding | Sample]:
    """Check that a key signs for every domain of the pillar and for every hosted domain."""
    settings = host.settings
    with session(settings.database) as connection:
        known = names(settings.database)
        named = {"named": sorted(settings.domains), "algorithms": sorted(host.algorithms)}
        every = [name for (name,) in _rows(connection, compose(_UNSIGNED, **known), named)]
        ((hosted,),) = _rows(connection, compose("SELECT count(*) FROM {hosted} ()", **known))
        # OpenDKIM never looks up some names, and others are too long to have a key. They would be a
        # permanent problem here, so the check "names" reports them.
        can_sign = [
            name
            for name in every
            if name not in settings.excluded and not domain_problem(settings, name)
        ]
        chosen = [name for name in can_sign if is_chosen(settings, name)]
        others = [name for name in can_sign if not is_chosen(settings, name)]
        remedy = (
            key_remedies.of_unsigned_domains(connection, settings, chosen[:MOST_ITEMS])
            if chosen
            else ""
        )
    yield Sample("dkim_domains_hosted", hosted)
    number = len(chosen) + (len(others) if settings.monitoring.unsigned == "hosted" else 0)
    yield Sample("dkim_domains_unsigned", number)
    yield unsigned_finding(chosen, remedy)
    yield not_chosen_finding(others)


def is_chosen(settings: Settings, name: str) -> bool:
    """Return whether the pillar chooses a domain that it does not exclude."""
    return name in settings.domains or settings.every_hosted is not None


def unsigned_finding(domains: Sequence[str], remedy: str) -> Finding:
    """Return the finding about domains of the pillar that no key signs for."""
    if not domains:
        return right("unsigned", "a key signs for every domain of the pillar")
    number = len(domains)
    items = tuple(domains[:MOST_ITEMS])
    message = f"no key signs for {counted(number, 'domain')} of the pillar"
    message = f"{message}, so mail leaves unsigned: {listed(items, NAMED, number)}"
    return wrong("unsigned", message, remedy, items=items, count=number)


def not_chosen_finding(domains: Sequence[str]) -> Finding:
    """Return the finding about hosted domains without a key, which may be intended."""
    if not domains:
        return right("unsigned", "every other hosted domain has a key, or is false", NOT_CHOSEN)
    number = len(domains)
    items = tuple(domains[:MOST_ITEMS])
    message = f"no key signs for {counted(number, 'hosted domain')}: {listed(items, NAMED, number)}"
    remedy = (
        "add these domains to dkim:domains; then: salt-call dkim.generate_missing; or set them to "
        "false in dkim:domains, where mail is to leave unsigned"
    )
    return unknown("unsigned", message, remedy, NOT_CHOSEN, items=items, count=number)


def domains(host: Host) -> Iterator[Finding]:
    """Check that each signing domain has a key for each of its algorithms and addresses."""
    settings = host.settings
    with session(settings.database) as connection:
        hosted = hosted_domains.hosted(connection, settings.database)
        keys = keys_table.list_keys(connection, settings.database)
        active = [one for one in keys if one.state == "active" and one.algorithm in host.algorithms]
        missing = _missing(chosen_domains(settings, hosted), active)
        remedy = (
            key_remedies.of_missing_keys(connection, settings, missing, keys) if missing else ""
        )
    if missing:
        slots = [f"{one.address or one.domain} ({one.algorithm})" for one in missing]
        yield wrong("domains", f"no key signs for {listed(slots, NAMED)}", remedy, count=len(slots))
    else:
        yield right("domains", "every domain that signs has all its active keys")


def _missing(chosen: Mapping, active: Iterable[Key]) -> list[DesiredKey]:
    slots = {(key.domain, key.algorithm, key.address) for key in active}
    signing = {domain for domain, _, address in slots if not address}
    return [
        one
        for one in desired_keys(chosen)
        # The check "unsigned" reports a domain without any key.
        if (one.address or one.domain in signing)
        and (one.domain, one.algorithm, one.address) not in slots
    ]


def orphaned(host: Host) -> Iterator[Finding]:
    """Check that rotation can end the keys of domains that are neither hosted nor in the pillar."""
    name, found = "orphaned-keys", host.orphans
    if found.sudden:
        remedy = "restore the table of domains; or, if intended: salt-call dkim.advance force=True"
        yield wrong(name, found.sudden, remedy)
    elif found.due:
        yield right(name, removed_domains.due_text(found.due))
    elif found.gone:
        gone = listed(sorted(found.gone), NAMED)
        yield right(name, f"already retired or revoked: {gone}")
    else:
        yield right(name, "none")


def readable(host: Host) -> Iterator[Finding]:
    """Check that active keys are readable and match their records; a sample of many keys."""
    database = host.settings.database
    with session(database) as connection:
        rows = _rows(connection, compose(_ACTIVE, **names(database)), (MOST_READ,))
        total = rows[0][-1] if rows else 0
        damaged = {row[:3]: text for row in rows if (text := _damage(*row[:-1]))}
        remedy = (
            key_remedies.of_damaged_key(connection, host.settings, *next(iter(damaged)))
            if damaged
            else ""
        )
    extent = f"{len(rows)} of {total} active keys were read"
    if damaged:
        found = listed([*damaged.values()], NAMED)
        yield wrong("keys", f"{found}; {extent}", remedy, count=len(damaged))
    else:
        yield right("keys", extent)


def _damage(
    domain: str, selector: str, algorithm: str | None, public: str | None, pem: str
) -> str | None:
    where = f"{domain}, selector {selector!r}"
    found = read_row(domain, selector, pem, "active")
    key = found.private
    if key is None and not found.signs:
        return f"{where}: its domain's mail is deferred: {found.fault}"
    # The key in a file both signs and is in the record. agreement() reports such rows.
    if found.path or public is None or algorithm is None:
        return None
    if (key.algorithm, key.public_base64()) != (algorithm, public):
        return f"{where}: the record shows another key than the one that signs"
    return None


def agreement(host: Host) -> Iterator[Finding]:
    """Check that the patterns are those of the pillar, and that no name conflicts with another."""
    settings = host.settings
    with session(settings.database) as connection:
        problems = list(_differing(connection, host))
        with connection.cursor() as cursor:
            advice = inspection.names_advice(cursor, settings.database)
        # readable() reports active keys whose text is damaged.
        advice += odd_rows.problems(connection, settings, unreadable=False)
    yield judged("patterns", problems, "as the pillar has them", "salt-call dkim.generate_missing")
    remedy = "see docs/caveats.md, «Names and letters»"
    yield judged("names", advice, "every name can be looked up", remedy)


def _differing(connection: pg.connection, host: Host) -> Iterator[str]:
    database: Database = host.settings.database
    hosted = hosted_domains.hosted(connection, database)
    desired = desired_patterns(chosen_domains(host.settings, hosted))
    planned = patterns.plan(patterns.read(connection, database), desired)
    yield from differences(planned.changes)


def with_public_halves(
    connection: pg.connection, database: Database, keys: Sequence[Key]
) -> list[Key]:
    """Return keys with their public halves. Derives a missing public half without storing it."""
    bare = [key.id for key in keys if key.public is None and key.state != "revoked"]
    if not bare:
        return list(keys)
    statement = compose("SELECT id, key::text FROM {dkim} WHERE id = ANY (%s)", **names(database))
    public = {number: _public(pem) for number, pem in _rows(connection, statement, (bare,))}
    return [replace(key, public=public.get(key.id, key.public)) for key in keys]


def _public(pem: str) -> str | None:
    private = read_stored(pem).private
    return None if private is None else private.public_base64()


def _rows(connection: pg.connection, statement, arguments=None) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)
        return cursor.fetchall()
