"""
Orphaned keys: keys of domains that are neither hosted nor in the pillar any more.

When another program deletes, renames or deactivates a domain, the formula retires the domain's
keys. A table that is emptied, dropped or damaged by mistake looks the same. So a sudden
disappearance retires no key until a person confirms the removal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from ..errors import DatabaseError, DatabaseUnavailable, InvalidValue
from ..names import is_served, mail_domain
from ..postgres import hosted as hosted_domains
from ..postgres import hosted_keys
from ..postgres.connection import session
from ..settings.model import Settings
from . import removed_domains_table as table
from .model import Key

WHY = "orphaned: the domain is neither hosted nor in the pillar"
WHY_BACK = "the domain is hosted or in the pillar again, and DNS shows the record"

# A disappearance is sudden if it covers more than MOST domains, and more than one in PART of the
# domains with keys.
MOST = 10
PART = 10


@dataclass(frozen=True)
class Orphans:
    """
    The domains with keys, compared with the hosted domains and the domains of the pillar.

    hosted
        The hosted domains; none if their tables are unreadable.
    gone
        The domains with a key in any state that are neither hosted nor in the pillar.
    due
        The domains among ``gone`` whose keys the next run retires.
    sudden
        Why the next run retires no key; empty if the disappearance is not sudden.
    returned
        The ids of keys that were retired as orphaned and whose domain is hosted or in the pillar
        again: the newest key of each slot in which no key signs.
    lost
        The slots (domain, address, algorithm) of domains that are hosted or in the pillar again, in
        which no key signs since their key was retired as orphaned.
    new_aliases
        The domains that only the table of alias domains has; None if the stored ones stay.
    """

    hosted: tuple[str, ...] = ()
    gone: frozenset[str] = frozenset()
    due: frozenset[str] = frozenset()
    sudden: str = ""
    returned: frozenset[int] = frozenset()
    lost: tuple[tuple[str, str, str], ...] = ()
    new_aliases: frozenset[str] | None = None


@dataclass
class _Present:
    """The domains in the tables of domains, and what is wrong with these tables."""

    hosted: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    aliases: frozenset[str] = frozenset()
    fault: str = ""


def read(settings: Settings, force: bool = False) -> Orphans:
    """
    Compare the domains that have keys with the hosted domains and the domains of the pillar.
    Changes nothing.

    force
        Whether a sudden disappearance is intended.
    """
    present = _present(settings)
    named = _domains_of_pillar(settings)
    with session(settings.database) as connection:
        with_key = table.domains(connection, settings.database)
        gone = {
            name
            for name in with_key
            if name not in present.names and name not in named and name not in settings.excluded
        }
        returned = table.orphaned(connection, settings.database, WHY)
        lost = table.lost_slots(connection, settings.database, WHY)
        aliases = table.alias_domains(connection, settings.database)
    due = {name for name in gone if with_key[name]}
    count = sum(with_key.values())
    sudden = (
        ""
        if force or not due
        else _sudden(settings, present, len(due), count, not due.isdisjoint(aliases))
    )
    served = (named | present.names) - settings.excluded
    return Orphans(
        hosted=tuple(present.hosted),
        gone=frozenset(gone),
        due=frozenset() if sudden else frozenset(due),
        sudden=sudden,
        returned=frozenset(number for number, (domain, *_) in returned if domain in served),
        lost=tuple(slot for slot in lost if slot[0] in served),
        new_aliases=(
            None if sudden or present.fault or present.aliases == aliases else present.aliases
        ),
    )


def store_alias_domains(settings: Settings, found: Orphans) -> None:
    """
    Store which domains only the table of alias domains has. If that table turns empty, no key of
    these domains is retired.
    """
    if found.new_aliases is None:
        return
    with session(settings.database) as connection:
        table.store_alias_domains(connection, settings.database, found.new_aliases)


def advice(settings: Settings) -> list[str]:
    """Return what the next run does with orphaned keys, or why it retires none."""
    if not _may_have_gone(settings):
        return []
    found = read(settings)
    if found.sudden:
        return [found.sudden]
    return [due_text(found.due)] if found.due else []


def _may_have_gone(settings: Settings) -> bool:
    """Return whether :func:`read` may find due keys; much faster than that at 100,000 domains."""
    try:
        with session(settings.database) as connection:
            unnamed = hosted_keys.unnamed(connection, settings.database)
    except DatabaseUnavailable:
        raise
    except DatabaseError:
        return True
    return not _domains_of_pillar(settings).union(settings.excluded).issuperset(unnamed)


def due_text(domains: Collection[str]) -> str:
    """Return a sentence that names orphaned domains and says what the next run does."""
    return (
        f"{_listed(domains)}: neither hosted nor in dkim:domains any more, so the next "
        "dkim.advance retires the keys; add each domain that must continue to sign to dkim:domains"
    )


def retirement_text(domains: Collection[str]) -> str:
    """Return a sentence that names orphaned domains and says what this run does."""
    return (
        f"{_listed(domains)}: neither hosted nor in dkim:domains any more, so the keys are retired "
        "and later revoked"
    )


def _listed(domains: Collection[str]) -> str:
    more = f" and {len(domains) - MOST} more" if len(domains) > MOST else ""
    return f"{', '.join(sorted(domains)[:MOST])}{more}"


def _domains_of_pillar(settings: Settings) -> set[str]:
    """Return the domains that the pillar names, including domains that sign for an alias."""
    signers = {one.alias_of for one in settings.domains.values() if one.alias_of is not None}
    return {*settings.domains, *signers}


def _present(settings: Settings) -> _Present:
    try:
        with session(settings.database) as connection:
            hosted, others, aliases = hosted_domains.every_name(connection, settings.database)
    except DatabaseUnavailable:
        raise
    except DatabaseError as error:
        return _Present(fault=f"the tables of domains can't be read ({_one_line(error)})")
    alone = set(aliases)
    in_domains = _folded(name for name in (*hosted, *others) if name not in alone)
    return _Present(
        hosted,
        {*hosted, *_folded(others)},
        frozenset(_folded(aliases)).difference(in_domains) if aliases else frozenset(),
    )


def _folded(rows: Iterable[str]) -> Iterable[str]:
    """Yield the names in rows, spelled as in keys. An odd spelling still means the same domain."""
    for row in rows:
        name = row.strip().lower().rstrip(".")
        if not is_served(name):
            with suppress(InvalidValue):
                name = mail_domain(name)
        yield name


def _sudden(
    settings: Settings, present: _Present, due: int, with_keys: int, has_aliases: bool
) -> str:
    reason = present.fault or _table_fault(settings, has_aliases)
    if not reason and due > MOST and due * PART > with_keys:
        reason = f"that is more than {MOST} and more than a tenth at once"
    if not reason:
        return ""
    return (
        f"{due} of {with_keys} domains with keys are neither hosted nor in dkim:domains any more, "
        f"and {reason}: none of their keys is retired. Restore the rows, or run salt-call "
        "dkim.advance force=True if the removal is intended"
    )


def _table_fault(settings: Settings, has_aliases: bool) -> str:
    """
    Return which table of domains is missing, empty or unreadable; '' if none is.

    has_aliases
        Whether a domain that disappeared was in the table of alias domains alone.
    """
    database = settings.database
    try:
        with session(database) as connection, connection.cursor() as cursor:
            expects = settings.every_hosted is not None
            if missing := hosted_domains.missing_table(cursor, database, expects):
                return f"there is no table {missing}"
            if empty := hosted_domains.empty_table(connection, database, has_aliases):
                return f"the table {empty} has no row that counts"
    except DatabaseUnavailable:
        raise
    except DatabaseError as error:
        return f"the tables of domains can't be read ({_one_line(error)})"
    return ""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def next_of(found: Orphans, key: Key) -> str:
    """Return the next move of an orphaned domain's key; '' for any other key."""
    if key.domain not in found.gone:
        return ""
    if key.state in ("retired", "revoked"):
        return f"{key.state}; rotation continues until the key is deleted"
    if found.sudden:
        return "stays as it is until dkim.advance force=True; dkim.check says why"
    return f"the next dkim.advance {'retires' if key.state == 'active' else 'revokes'} the key"
