"""Keys by the settings: made where missing, listed, moved, deleted."""

from collections.abc import Callable, Mapping, Sequence

from ..database import generation, keystore, patterns
from ..database import orphans as orphan_table
from ..database.comparison import Wanted, compare, selector_used
from ..database.connection import session
from ..database.keystore import Key
from ..errors import (
    MISSING,
    DatabaseError,
    DatabaseUnavailable,
    InvalidValue,
    KeyNotFound,
    StepRefused,
    keeping_what_was_done,
)
from ..keys import PrivateKey, check_algorithm, check_bits
from ..names import mail_domain, stored_domain, stored_selector
from ..names import selector as checked_selector
from ..postgres import hosted as hosted_domains
from ..postgres import schema
from ..settings.model import Database, Domain, Settings
from ..wanted import (
    chosen_domains,
    domain_settings,
    every_hosted,
    key_problem,
    record_of,
    wanted_keys,
    wanted_patterns,
)
from . import odd_rows, orphans
from .setup import not_there_yet, nothing_there_yet

# More than this many domains in one return are counted, not listed.
LISTED = 50

Progress = Callable[[int, int], None]


def missing(settings: Settings) -> dict[str, object]:
    """
    What ``generate_missing`` would do.

    Returns ``{"changes": {domain: {"old", "new"}}, "notes": [text]}``; past 50 domains the changes
    are counted by kind instead.
    """
    try:
        with session(settings.database) as connection:
            unsigned = _complete(connection, settings.database)
            course = _Course(connection, settings)
            changes = {**unsigned, **course.changes()}
            connection.rollback()
            return {"changes": changes, "notes": course.notes}
    except DatabaseUnavailable as error:
        if not nothing_there_yet(error, settings.database):
            raise
        note = not_there_yet(error)
    chosen = chosen_domains(settings, ())
    return {
        "changes": _changes(wanted_keys(chosen), _new_patterns(chosen)),
        "notes": [note],
    }


def generate_missing(settings: Settings, progress: Progress | None = None) -> dict[str, object]:
    """
    Makes every key that the settings want and the database lacks, for all domains in one course:
    patterns, then keys.

    progress
        Called with (done, total) as batches are stored. A run that is stopped keeps what it has
        made, and the next goes on.

    Returns as :func:`missing`, what was done.
    """
    with session(settings.database) as connection:
        unsigned = _complete(connection, settings.database)
        connection.commit()
        course = _Course(connection, settings)
        with keeping_what_was_done(lambda: {**unsigned, **course.done()}):
            course.run(progress)
    changes = {**unsigned, **course.done()}
    return {"changes": changes, "notes": course.notes}


def _complete(connection, database: Database) -> dict[str, object]:
    """
    Fill in what rows of the site's own tools lack. Return the keys that sign no more for it, as
    changes. Does not commit.
    """
    if not schema.has_tables(connection, database):
        return {}
    before = keystore.incomplete(connection, database)
    if not before:
        return {}
    keystore.complete(connection, database)
    now = {key.id: key.state for key in keystore.incomplete(connection, database)}
    changed = [key for key in before if now.get(key.id, key.state) != key.state]
    return {
        f"key {key.selector}._domainkey.{key.domain}": {"old": key.state, "new": now[key.id]}
        for key in changed
    }


class _Course:
    """One look at the database, and the course that follows from it."""

    def __init__(self, connection, settings: Settings):
        self.connection = connection
        self.database = settings.database
        self.first_state = "pending" if settings.rotation.first_key_waits else "active"
        comparison = compare(
            connection, self.database, wanted_keys(settings.domains), every_hosted(settings)
        )
        waiting = self._with_former_keys(comparison.missing)
        self.missing = [one for one in comparison.missing if one not in waiting]
        self.notes = _shortened(comparison.reports) + odd_rows.problems(connection, settings)
        self.notes += [
            f"{one.domain} was gone and is back: dkim.advance has its former {one.algorithm} key "
            "sign again, or makes a new one"
            for one in waiting[:LISTED]
        ]
        self.present_patterns = patterns.look(connection, self.database)
        self.patterns = wanted_patterns(self._domains_with_patterns(settings))
        self.stored: list[Key] = []
        self._begun = False

    def _with_former_keys(self, missing: Sequence[Wanted]) -> list[Wanted]:
        """Those that domains came back for whose keys were retired meanwhile."""
        if not missing or not schema.has_tables(self.connection, self.database):
            return []
        retired = orphan_table.orphaned(self.connection, self.database, orphans.WHY)
        slots = {slot for _, slot in retired}
        return [one for one in missing if (one.domain, one.address, one.algorithm) in slots]

    def _domains_with_patterns(self, settings: Settings) -> Mapping[str, Domain]:
        """The names of all that are hosted are read only where ``'*'`` has patterns for them."""
        if settings.every_hosted is None or not settings.every_hosted.subdomains:
            return settings.domains
        return chosen_domains(settings, hosted_domains.hosted(self.connection, self.database))

    def changes(self) -> dict[str, object]:
        planned = patterns.plan(self.present_patterns, self.patterns)
        return _changes(self.missing, planned.changes)

    def done(self) -> dict[str, object]:
        """The changes that are made for good by now."""
        if not self._begun:
            return {}
        planned = patterns.plan(self.present_patterns, self.patterns)
        return _changes(self.stored, planned.changes)

    def run(self, progress: Progress | None) -> None:
        patterns.apply(self.connection, self.database, self.patterns)
        self.connection.commit()
        self._begun = True
        generation.generate(
            self.connection,
            self.database,
            self.missing,
            why="missing by the pillar",
            progress=progress,
            state=self.first_state,
            stored=self.stored,
        )


def generate(
    settings: Settings,
    domain: object,
    selector: object = None,
    algorithm: object = None,
    bits: object = None,
) -> dict[str, object]:
    """
    One key for a domain that is hosted or in the pillar. What is not given is as the settings have
    it for that domain.

    Returns the key as :func:`list_keys` does, with ``existed``: True where the domain has such a
    key already; that one is returned and left as it is.

    Raises StepRefused for a selector that a deleted key of the domain had.
    """
    name = mail_domain(domain, "domain")
    wanted = _one_wanted(key_holder(settings, name), selector, algorithm, bits)
    with session(settings.database) as connection:
        refuse_unknown(connection, settings, name)
        there = _existing(connection, settings, wanted, selector is not None)
        existed = there is not None
        if not existed:
            _refuse_used(connection, settings, wanted)
            pair = (wanted, PrivateKey.generate(wanted.algorithm, wanted.bits))
            # Without a state it waits beside a key that signs: its record is to be published first.
            state = "pending" if settings.rotation.first_key_waits else None
            keystore.store(connection, settings.database, [pair], "made by dkim.generate", state)
            there = keystore.find(connection, settings.database, name, wanted.selector)
    return {**_plain(settings, there), "existed": existed}


def lacking(
    settings: Settings,
    domain: object,
    selector: object = None,
    algorithm: object = None,
    bits: object = None,
) -> dict[str, object]:
    """What :func:`generate` would make: ``{"changes": …}``, empty where the key is there."""
    name = mail_domain(domain, "domain")
    wanted = _one_wanted(key_holder(settings, name), selector, algorithm, bits)

    def look(connection) -> dict[str, object]:
        refuse_unknown(connection, settings, name)
        if _existing(connection, settings, wanted, selector is not None):
            return {}
        _refuse_used(connection, settings, wanted)
        return new

    new = _changes([wanted], {})
    return {"changes": _looked_up(settings, look, new)}


def leaving(
    settings: Settings, domain: object, selector: object, force: bool = False
) -> dict[str, object]:
    """
    What :func:`delete` would delete: ``{"changes": …}``, empty where there is no such key. Raises
    StepRefused for an active key without ``force``.
    """
    name, chosen = stored_domain(domain), stored_selector(selector)

    def look(connection) -> dict[str, object]:
        there = keystore.list_keys(connection, settings.database, name, chosen)
        if not there:
            return {}
        keystore.refuse_active(there[0], force)
        return {f"{chosen}._domainkey.{name}": {"old": there[0].state, "new": None}}

    return {"changes": _looked_up(settings, look, {})}


def _looked_up(
    settings: Settings, look: Callable[..., dict[str, object]], before: dict[str, object]
) -> dict[str, object]:
    """What ``look`` sees in the database; ``before`` where the formula has made no table yet."""
    try:
        with session(settings.database) as connection:
            has_tables = schema.has_tables(connection, settings.database)
            return look(connection) if has_tables else before
    except DatabaseUnavailable as error:
        if not nothing_there_yet(error, settings.database):
            raise
        return before


def whole_keys(connection, settings: Settings, domain: str | None = None) -> list[Key]:
    """
    All keys, or a domain's, also those that a tool of the site's has put in since the last run:
    what such a row lacks is filled in first.

    Raises InvalidValue for a text that no row has and that is no domain name either.
    """
    keys = keystore.list_keys(connection, settings.database, domain)
    if domain is not None and not keys:
        mail_domain(domain)
    # Filling in waits for whoever is making keys, so it is done where there is something to fill.
    if any(key.public is None and key.state != "revoked" for key in keys):
        keystore.complete(connection, settings.database)
        keys = keystore.list_keys(connection, settings.database, domain)
    return keys


def list_keys(settings: Settings, domain: object = None) -> list[dict[str, object]]:
    """
    All keys, or a domain's: each its row without the private key, its ``record``, and ``orphaned``:
    what comes next where its domain is neither hosted nor in the pillar, else ''.
    """
    name = None if domain is None else stored_domain(domain)
    with session(settings.database) as connection:
        keys = whole_keys(connection, settings, name)
    found = orphans.look(settings)
    return [{**_plain(settings, key), "orphaned": orphans.next_of(found, key)} for key in keys]


def public_key(settings: Settings, domain: object, selector: object = None) -> str:
    """
    The base64 text of the record's ``p=``: of the key with that selector, or of the active one.

    Raises KeyNotFound where there is none, InvalidValue where two are active and none is named.
    """
    name = stored_domain(domain)
    with session(settings.database) as connection:
        keys = whole_keys(connection, settings, name)
        if selector is not None:
            key = keystore.find(connection, settings.database, name, stored_selector(selector))
        else:
            key = _the_active_one(keys, name)
    if key.public is None:
        raise KeyNotFound(f"domain {name}, selector {key.selector!r}: {key.fault or 'no key'}")
    return key.public


def delete(
    settings: Settings, domain: object, selector: object, force: bool = False
) -> dict[str, object]:
    """Deletes one key for good; an active one only with ``force``. Returns what it was."""
    name, chosen = stored_domain(domain), stored_selector(selector)
    with session(settings.database) as connection:
        key = keystore.delete(
            connection, settings.database, name, chosen, "deleted by dkim.delete", force=force
        )
    return _plain(settings, key)


def refuse_unknown(connection, settings: Settings, name: str, where: str = "domain") -> None:
    """Raises DatabaseError for a domain that is neither hosted nor in the pillar."""
    if name in settings.domains:
        return
    if hosted_domains.missing(connection, settings.database, [name]):
        raise DatabaseError(unknown_domain(settings, name, where))


def unknown_domain(settings: Settings, name: str, where: str = "domain") -> str:
    """The text for a domain that is neither hosted nor in the pillar."""
    return (
        f"{where}: {name} is neither in dkim:domains nor hosted, which is what "
        f"{_tables(settings)} of database {settings.database.name!r} says; add it to one of them"
    )


def not_hosted(connection, settings: Settings) -> list[str]:
    """Advice on domains of the pillar that the mail database does not host, where it hosts any."""
    with connection.cursor() as cursor:
        if not hosted_domains.present(cursor, settings.database):
            return []
    lacking = hosted_domains.missing(connection, settings.database, settings.domains)
    if not lacking:
        return []
    shown = ", ".join(lacking[:LISTED]) + (", …" if len(lacking) > LISTED else "")
    return [
        f"dkim:domains: {shown}: not hosted, which is what {_tables(settings)} of database "
        f"{settings.database.name!r} says; each gets its key all the same, so see that the name is "
        "right"
    ]


def _tables(settings: Settings) -> str:
    return " and ".join(
        f"column {one.name!r} of {one.schema}.{one.table}"
        for _, one in hosted_domains.tables(settings.database)
    )


def key_holder(settings: Settings, name: str) -> Domain:
    """Return a domain's settings. Raises InvalidValue for an alias, which has no key of its own."""
    domain = domain_settings(settings, name)
    if domain.alias_of is not None:
        raise InvalidValue(
            "domain",
            name,
            f"is an alias: the keys of {domain.alias_of} sign for it",
            f"give {domain.alias_of}, or remove dkim:domains:{name}:alias_of",
        )
    return domain


def _one_wanted(domain: Domain, selector: object, algorithm: object, bits: object) -> Wanted:
    chosen = None if algorithm is None else check_algorithm(algorithm)
    plan = next((plan for plan in domain.keys if chosen in (None, plan.algorithm)), domain.keys[0])
    chosen = chosen or plan.algorithm
    own = plan.selector if plan.algorithm == chosen else f"{plan.selector}-{chosen}"
    return Wanted(
        domain.name,
        own if selector is None else checked_selector(selector, "selector"),
        chosen,
        plan.bits if bits is None else check_bits(bits, "bits"),
    )


def _refuse_used(connection, settings: Settings, wanted: Wanted) -> None:
    if selector_used(connection, settings.database, wanted.domain, wanted.selector):
        raise StepRefused(
            f"selector: {wanted.selector!r} was the selector of a key of {wanted.domain} that was "
            "deleted, and a selector is not used twice; give another"
        )


def _existing(connection, settings: Settings, wanted: Wanted, named: bool) -> Key | None:
    keys = keystore.list_keys(connection, settings.database, wanted.domain)
    for key in keys:
        if key.selector == wanted.selector:
            return key
    if named:
        return None
    own = (key for key in keys if key.algorithm == wanted.algorithm and not key.address)
    return next((key for key in own if key.state == "active"), None)


def _the_active_one(keys: Sequence[Key], domain: str) -> Key:
    active = [key for key in keys if key.state == "active" and not key.address]
    if not active:
        raise KeyNotFound(f"domain {domain} has no active key; dkim.list_keys shows what there is")
    if len(active) > 1:
        raise InvalidValue(
            "selector",
            MISSING,
            f"is missing: domain {domain} has several active keys",
            f"give one of {', '.join(key.selector for key in active)}",
        )
    return active[0]


def _plain(settings: Settings, key: Key) -> dict[str, object]:
    domain = domain_settings(settings, key.domain.lower())
    plain = key.as_plain()
    if problem := key_problem(key, domain):
        return {**plain, "problem": problem, "record": None}
    return {**plain, "record": record_of(key, domain).as_plain()}


def _new_patterns(chosen: Mapping[str, Domain]) -> dict[str, dict[str, object]]:
    return patterns.plan({}, wanted_patterns(chosen)).changes


def _shortened(notes: Sequence[str]) -> list[str]:
    if len(notes) <= LISTED:
        return list(notes)
    return [*notes[:LISTED], f"… and {len(notes) - LISTED} more such keys; see dkim.list_keys"]


def _changes(keys: Sequence[Wanted | Key], new_patterns: Mapping[str, object]) -> dict[str, object]:
    if len(keys) > LISTED:
        counts = {"keys": len(keys), "patterns": len(new_patterns)}
        return {
            kind: {"old": None, "new": f"{count} new"} for kind, count in counts.items() if count
        }
    changes: dict[str, object] = {}
    for wanted in keys:
        size = f" {wanted.bits}" if wanted.algorithm == "rsa" else ""
        whose = f" for {wanted.address}" if wanted.address else ""
        changes[f"key {wanted.selector}._domainkey.{wanted.domain}"] = {
            "old": None,
            "new": f"{wanted.algorithm}{size}{whose}",
        }
    return {**changes, **new_patterns}
