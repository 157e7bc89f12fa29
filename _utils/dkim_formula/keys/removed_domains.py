"""
Orphaned keys: those of domains that are neither hosted nor in the pillar any more.

The site's own program deletes, renames and deactivates domains, and the formula follows. A table
that is emptied, dropped or broken by mistake looks the same, so a sudden disappearance retires
nothing until somebody says that it is meant.
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

# More domains than this, and more than this part of those with keys, don't go at once by intent.
MOST = 10
PART = 10


@dataclass(frozen=True)
class Orphans:
    """
    What the tables say of the domains that have keys.

    hosted
        The hosted domains; none where they can't be read.
    gone
        The domains with a key in any state that are neither hosted nor in the pillar.
    due
        Those of them whose keys the next run retires.
    sudden
        Why it retires none; empty where nothing is odd.
    back
        The ids of keys that were retired as orphaned, sign for no domain now, and whose domain is
        there again; the newest of a slot.
    lost
        The slots (domain, address, algorithm) of domains that are there again, in which nothing
        signs since their key was retired as orphaned.
    """

    hosted: tuple[str, ...] = ()
    gone: frozenset[str] = frozenset()
    due: frozenset[str] = frozenset()
    sudden: str = ""
    back: frozenset[int] = frozenset()
    lost: tuple[tuple[str, str, str], ...] = ()


@dataclass
class _Present:
    """The domains that are there, and what is odd about the tables that say so."""

    hosted: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    oddity: str = ""


def look(settings: Settings, force: bool = False) -> Orphans:
    """
    Compare the domains that have keys with those that are there. Changes nothing.

    force
        A sudden disappearance is meant.
    """
    present = _present(settings)
    named = _named(settings)
    with session(settings.database) as connection:
        with_key = table.domains(connection, settings.database)
        gone = {
            name
            for name in with_key
            if name not in present.names and name not in named and name not in settings.excluded
        }
        back = table.orphaned(connection, settings.database, WHY)
        lost = table.lost_slots(connection, settings.database, WHY)
    due = {name for name in gone if with_key[name]}
    count = sum(with_key.values())
    sudden = "" if force or not due else _sudden(settings, present, len(due), count)
    is_there = (named | present.names) - settings.excluded
    return Orphans(
        hosted=tuple(present.hosted),
        gone=frozenset(gone),
        due=frozenset() if sudden else frozenset(due),
        sudden=sudden,
        back=frozenset(number for number, (domain, *_) in back if domain in is_there),
        lost=tuple(slot for slot in lost if slot[0] in is_there),
    )


def advice(settings: Settings) -> list[str]:
    """Say what the next run does about orphaned keys, or why it does nothing."""
    if not _may_have_gone(settings):
        return []
    found = look(settings)
    if found.sudden:
        return [found.sudden]
    return [waiting(found.due)] if found.due else []


def _may_have_gone(settings: Settings) -> bool:
    """Whether :func:`look` may find keys due, in a fraction of its time at 100,000 domains."""
    try:
        with session(settings.database) as connection:
            unnamed = hosted_keys.unnamed(connection, settings.database)
    except DatabaseUnavailable:
        raise
    except DatabaseError:
        return True
    return not _named(settings).union(settings.excluded).issuperset(unnamed)


def waiting(domains: Collection[str]) -> str:
    """Name orphaned domains and what comes next, in a sentence."""
    return (
        f"{_listed(domains)}: neither hosted nor in dkim:domains any more, so the next "
        "dkim.advance retires the keys; add to dkim:domains what is to go on signing"
    )


def ending(domains: Collection[str]) -> str:
    """Say of orphaned domains what a run does about them."""
    return (
        f"{_listed(domains)}: neither hosted nor in dkim:domains any more, so the keys come to "
        "their end by rotation"
    )


def _listed(domains: Collection[str]) -> str:
    more = f" and {len(domains) - MOST} more" if len(domains) > MOST else ""
    return f"{', '.join(sorted(domains)[:MOST])}{more}"


def _named(settings: Settings) -> set[str]:
    """The domains that the pillar names, those that sign for an alias too."""
    signers = {one.alias_of for one in settings.domains.values() if one.alias_of is not None}
    return {*settings.domains, *signers}


def _present(settings: Settings) -> _Present:
    try:
        with session(settings.database) as connection:
            hosted, others = hosted_domains.every_name(connection, settings.database)
    except DatabaseUnavailable:
        raise
    except DatabaseError as error:
        return _Present(oddity=f"the tables of domains can't be read ({_one_line(error)})")
    return _Present(hosted, {*hosted, *_folded(others)})


def _folded(rows: Iterable[str]) -> Iterable[str]:
    """The names of rows as keys have them: an odd spelling of a domain still means it."""
    for row in rows:
        name = row.strip().lower().rstrip(".")
        if not is_served(name):
            with suppress(InvalidValue):
                name = mail_domain(name)
        yield name


def _sudden(settings: Settings, present: _Present, due: int, with_keys: int) -> str:
    reason = present.oddity or _oddity(settings)
    if not reason and due > MOST and due * PART > with_keys:
        reason = f"that is more than {MOST} and more than a tenth at once"
    if not reason:
        return ""
    return (
        f"{due} of {with_keys} domains with keys are neither hosted nor in dkim:domains any more, "
        f"and {reason}: none of their keys is retired. Restore the rows, or run salt-call "
        "dkim.advance force=True where the domains are meant to go"
    )


def _oddity(settings: Settings) -> str:
    """Tell a table of domains that is gone or empty, or ''."""
    database = settings.database
    try:
        with session(database) as connection, connection.cursor() as cursor:
            expects = settings.every_hosted is not None
            if missing := hosted_domains.gone(cursor, database, expects):
                return f"there is no table {missing}"
            if empty := hosted_domains.empty(connection, database):
                return f"the table {empty} has no row that counts"
    except DatabaseUnavailable:
        raise
    except DatabaseError as error:
        return f"the tables of domains can't be read ({_one_line(error)})"
    return ""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def next_of(found: Orphans, key: Key) -> str:
    """What comes next for a key of an orphaned domain; '' for any other."""
    if key.domain not in found.gone:
        return ""
    if key.state in ("retired", "revoked"):
        return f"{key.state}, and goes on to its end"
    if found.sudden:
        return "stays as it is until dkim.advance force=True; dkim.check says why"
    return f"the next dkim.advance has it {'retired' if key.state == 'active' else 'revoked'}"
