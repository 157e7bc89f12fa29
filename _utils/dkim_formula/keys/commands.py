"""Keys by the settings: generated where missing, listed, deleted."""

from collections.abc import Callable, Sequence

from ..errors import (
    MISSING,
    DatabaseUnavailable,
    InvalidValue,
    KeyNotFound,
    StepRefused,
    keeping_what_was_done,
)
from ..names import mail_domain, stored_domain, stored_selector
from ..names import selector as checked_selector
from ..postgres import schema, stand_in
from ..postgres.commands import not_there_yet, nothing_there_yet
from ..postgres.connection import session
from ..private_key import PrivateKey, check_algorithm, check_bits
from ..record_names import key_name
from ..settings.model import Domain, Settings
from . import changes as key_changes
from . import removed_domains
from . import table as keys_table
from .completion import complete, whole_keys
from .desired import (
    chosen_domains,
    desired_keys,
    domain_settings,
    first_key_waits,
    key_problem,
    record_of,
)
from .generation_run import GenerationRun, Progress, changes_of, new_patterns
from .history import selector_used
from .known_domains import key_holder, refuse_unknown
from .model import DesiredKey, Key


@stand_in.noted
def generate_missing(
    settings: Settings, test: bool = False, progress: Progress | None = None
) -> dict[str, object]:
    """
    Generate every key that the settings desire and the database lacks, for all domains in one
    pass: patterns, then keys.

    progress
        Called with (done, total) as batches are stored. A run that is stopped keeps what it has
        made, and the next one continues.

    Returns ``{"changes": {domain: {"old", "new"}}, "notes": [text]}``; past 50 domains the changes
    are counted by kind instead.
    """
    if test:
        return _preview_missing(settings)
    with session(settings.database) as connection:
        rows = complete(connection, settings.database)
        connection.commit()
        with keeping_what_was_done(lambda: rows):
            run = GenerationRun(connection, settings)
            with keeping_what_was_done(run.done):
                run.generate(progress)
    return {"changes": {**rows, **run.done()}, "notes": run.notes}


def _preview_missing(settings: Settings) -> dict[str, object]:
    try:
        with session(settings.database) as connection:
            rows = complete(connection, settings.database)
            run = GenerationRun(connection, settings)
            changes = {**rows, **run.changes()}
            connection.rollback()
            return {"changes": changes, "notes": run.notes}
    except DatabaseUnavailable as error:
        if not nothing_there_yet(error, settings.database):
            raise
        note = not_there_yet(error)
    chosen = chosen_domains(settings, ())
    return {
        "changes": changes_of(desired_keys(chosen), new_patterns(chosen)),
        "notes": [note],
    }


@stand_in.noted
def generate(
    settings: Settings,
    domain: object,
    selector: object = None,
    algorithm: object = None,
    bits: object = None,
    test: bool = False,
) -> dict[str, object]:
    """
    Generate one key for a domain that is hosted or in the pillar. What is not given is as the
    settings have it for that domain.

    Returns the key as :func:`list_keys` does, with ``changes``, ``notes`` and ``existed``: True
    where the domain has such a key already; that key is returned and stays as it is. Under ``test``
    it returns ``changes`` alone.

    Raises StepRefused for a selector that a deleted key of the domain had.
    """
    name = mail_domain(domain, "domain")
    wanted = _one_wanted(key_holder(settings, name), selector, algorithm, bits)
    changes = changes_of([wanted], {})

    def existing(connection) -> Key | None:
        refuse_unknown(connection, settings, name)
        found = _existing(connection, settings, wanted, selector is not None)
        if found is None:
            _refuse_used(connection, settings, wanted)
        return found

    if test:
        return {
            "changes": _preview(settings, lambda one: {} if existing(one) else changes, changes)
        }
    with session(settings.database) as connection:
        key = existing(connection)
        if key is not None:
            return {**_plain(settings, key), "existed": True, "changes": {}, "notes": []}
        pair = (wanted, PrivateKey.generate(wanted.algorithm, wanted.bits))
        why = "made by dkim.generate"
        waiting = [name] if first_key_waits(settings, name) else []
        # Without a state it waits beside a key that signs: its record is to be published first.
        key_changes.store(connection, settings.database, [pair], why, None, waiting)
        key = keys_table.find(connection, settings.database, name, wanted.selector)
    return {**_plain(settings, key), "existed": False, "changes": changes, "notes": []}


@stand_in.noted
def delete(
    settings: Settings, domain: object, selector: object, force: bool = False, test: bool = False
) -> dict[str, object]:
    """
    Delete one key for good, an active one only with ``force``.

    Returns what the key was, with ``changes`` and ``notes``. Under ``test`` it returns ``changes``
    alone, empty where there is no such key. Raises StepRefused for an active key without ``force``.
    """
    name, chosen = stored_domain(domain), stored_selector(selector)

    def preview(connection) -> dict[str, object]:
        there = keys_table.list_keys(connection, settings.database, name, chosen)
        if not there:
            return {}
        key_changes.refuse_active(there[0], force)
        return _deletion(there[0])

    if test:
        return {"changes": _preview(settings, preview, {})}
    with session(settings.database) as connection:
        key = key_changes.delete(
            connection, settings.database, name, chosen, "deleted by dkim.delete", force=force
        )
    return {**_plain(settings, key), "changes": _deletion(key), "notes": []}


def _deletion(key: Key) -> dict[str, object]:
    return {key_name(key.selector, key.domain): {"old": key.state, "new": None}}


def _preview(
    settings: Settings, read: Callable[..., dict[str, object]], before: dict[str, object]
) -> dict[str, object]:
    """Return the changes that ``read`` finds; ``before`` where no table was made yet."""
    try:
        with session(settings.database) as connection:
            has_tables = schema.has_tables(connection, settings.database)
            return read(connection) if has_tables else before
    except DatabaseUnavailable as error:
        if not nothing_there_yet(error, settings.database):
            raise
        return before


def list_keys(settings: Settings, domain: object = None) -> list[dict[str, object]]:
    """
    List all keys, or a domain's: each its row without the private key, its ``record``, and
    ``orphaned``: what comes next where its domain is neither hosted nor in the pillar, else ''.
    """
    name = None if domain is None else stored_domain(domain)
    with session(settings.database) as connection:
        keys = whole_keys(connection, settings, name)
    found = removed_domains.look(settings)
    return [
        {**_plain(settings, key), "orphaned": removed_domains.next_of(found, key)} for key in keys
    ]


def public_key(settings: Settings, domain: object, selector: object = None) -> str:
    """
    Return the base64 text of ``p=`` in the record of the key with that selector, or of the active
    one.

    Raises KeyNotFound where there is none, InvalidValue where two are active and none is named.
    """
    name = stored_domain(domain)
    with session(settings.database) as connection:
        keys = whole_keys(connection, settings, name)
        if selector is not None:
            key = keys_table.find(connection, settings.database, name, stored_selector(selector))
        else:
            key = _the_active_one(keys, name)
    if key.public is None:
        raise KeyNotFound(f"domain {name}, selector {key.selector!r}: {key.fault or 'no key'}")
    return key.public


def _one_wanted(domain: Domain, selector: object, algorithm: object, bits: object) -> DesiredKey:
    chosen = None if algorithm is None else check_algorithm(algorithm)
    plan = next((plan for plan in domain.keys if chosen in (None, plan.algorithm)), domain.keys[0])
    chosen = chosen or plan.algorithm
    own = plan.selector if plan.algorithm == chosen else f"{plan.selector}-{chosen}"
    return DesiredKey(
        domain.name,
        own if selector is None else checked_selector(selector, "selector"),
        chosen,
        plan.bits if bits is None else check_bits(bits, "bits"),
    )


def _refuse_used(connection, settings: Settings, wanted: DesiredKey) -> None:
    if selector_used(connection, settings.database, wanted.domain, wanted.selector):
        raise StepRefused(
            f"selector: {wanted.selector!r} was the selector of a key of {wanted.domain} that was "
            "deleted, and a selector is not used twice; give another"
        )


def _existing(connection, settings: Settings, wanted: DesiredKey, named: bool) -> Key | None:
    keys = keys_table.list_keys(connection, settings.database, wanted.domain)
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
    plain = key.to_dict()
    if problem := key_problem(key, domain):
        return {**plain, "problem": problem, "record": None}
    return {**plain, "record": record_of(key, domain).to_dict()}
