"""Commands for keys: generate the missing ones, generate one, list, delete."""

from collections.abc import Callable, Sequence

from ..errors import (
    MISSING,
    DatabaseUnavailable,
    InvalidValue,
    KeyNotFound,
    StepRefused,
    keeping_what_was_done,
)
from ..names import mail_domain, row_spellings, stored_selector
from ..names import selector as checked_selector
from ..postgres import schema, stand_in
from ..postgres.commands import awaits_setup, setup_note
from ..postgres.connection import session
from ..private_key import PrivateKey, check_algorithm, check_bits
from ..record_names import key_name, selector_in_record
from ..settings.model import Domain, Settings
from . import changes as key_changes
from . import removed_domains
from . import table as keys_table
from .completion import complete, completed_keys
from .desired import (
    chosen_domains,
    desired_keys,
    domain_settings,
    first_key_waits,
    key_problem,
    record_of,
)
from .history import selector_used
from .known_domains import key_holder, refuse_unknown
from .missing_keys import GenerationRun, Progress, changes_of, new_patterns
from .model import DesiredKey, Key


@stand_in.noted
def generate_missing(
    settings: Settings, test: bool = False, progress: Progress | None = None
) -> dict[str, object]:
    """
    Write the patterns, then generate every desired key that the database lacks, for all domains in
    one pass.

    progress
        Called with (done, total) after each stored batch. A stopped run keeps the stored batches,
        and the next run continues.

    Returns ``{"changes": {what: {"old", "new"}}, "notes": [text]}``. More than 50 keys, or changes
    of patterns, are counted.
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
        if not awaits_setup(error, settings.database):
            raise
        note = setup_note(error)
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
    Generate one key for a domain that is hosted or in the pillar. The domain's settings are the
    defaults of the arguments.

    Returns the key as :func:`list_keys` does, with ``changes``, ``notes`` and ``existed``. If the
    domain already has such a key, the function changes nothing and returns that key with
    ``existed`` True. With ``test`` the function returns only ``changes``.

    Raises StepRefused for a selector that a deleted key of the domain had.
    """
    name = mail_domain(domain, "domain")
    desired = _desired_key(key_holder(settings, name), selector, algorithm, bits)
    changes = changes_of([desired], {})

    def existing(connection) -> Key | None:
        refuse_unknown(connection, settings, name)
        found = _existing(connection, settings, desired, selector is not None)
        if found is None:
            _refuse_used(connection, settings, desired)
        return found

    if test:
        return {
            "changes": _preview(settings, lambda one: {} if existing(one) else changes, changes)
        }
    with session(settings.database) as connection:
        key = existing(connection)
        if key is not None:
            return {**to_dict(settings, key), "existed": True, "changes": {}, "notes": []}
        pair = (desired, PrivateKey.generate(desired.algorithm, desired.bits))
        why = "made by dkim.generate"
        pending_domains = [name] if first_key_waits(settings, name) else []
        # State None: beside an active key the new key is pending, since DNS lacks its record.
        stored = key_changes.store(
            connection, settings.database, [pair], why, None, pending_domains
        )
        # Another run may have stored a key under the selector in the meantime.
        existed = not stored
        key = keys_table.find(connection, settings.database, name, desired.selector)
    made = {} if existed else changes
    return {**to_dict(settings, key), "existed": existed, "changes": made, "notes": []}


@stand_in.noted
def delete(
    settings: Settings, domain: object, selector: object, force: bool = False, test: bool = False
) -> dict[str, object]:
    """
    Delete one key permanently; an active key only with ``force``.

    Returns the deleted key's data with ``changes`` and ``notes``. With ``test`` the function
    returns only ``changes``, which is empty if the key does not exist. Raises StepRefused for an
    active key without ``force``.
    """
    spellings, chosen = row_spellings(domain), stored_selector(selector)

    def preview(connection) -> dict[str, object]:
        name = keys_table.row_domain(connection, settings.database, spellings)
        try:
            key = keys_table.find(connection, settings.database, name, chosen)
        except KeyNotFound:
            return {}
        key_changes.refuse_active(key, force)
        return deletion(key)

    if test:
        return {"changes": _preview(settings, preview, {})}
    with session(settings.database) as connection:
        name = keys_table.row_domain(connection, settings.database, spellings)
        key = key_changes.delete(
            connection, settings.database, name, chosen, "deleted by dkim.delete", force=force
        )
    return {**to_dict(settings, key), "changes": deletion(key), "notes": []}


def deletion(key: Key) -> dict[str, object]:
    """Return the changes of a key's deletion."""
    return {key_name(key.selector, key.domain): {"old": key.state, "new": None}}


def _preview(
    settings: Settings, read: Callable[..., dict[str, object]], before: dict[str, object]
) -> dict[str, object]:
    """Return the changes that ``read`` finds; ``before`` if the formula's tables are missing."""
    try:
        with session(settings.database) as connection:
            has_tables = schema.has_tables(connection, settings.database)
            return read(connection) if has_tables else before
    except DatabaseUnavailable as error:
        if not awaits_setup(error, settings.database):
            raise
        return before


def list_keys(settings: Settings, domain: object = None) -> list[dict[str, object]]:
    """
    List all keys, or the keys of a domain. Each has the columns of its row except the private key,
    its ``record`` and ``orphaned``: the key's next move if its domain is neither hosted nor in the
    pillar, else ''.
    """
    spellings = None if domain is None else row_spellings(domain)
    with session(settings.database) as connection:
        name = spellings and keys_table.row_domain(connection, settings.database, spellings)
        keys = completed_keys(connection, settings, name)
    found = removed_domains.read(settings)
    return [
        {**to_dict(settings, key), "orphaned": removed_domains.next_of(found, key)} for key in keys
    ]


def public_key(settings: Settings, domain: object, selector: object = None) -> str:
    """
    Return the base64 text of ``p=`` in the record of the key with a selector, or of the active key.

    Raises KeyNotFound if no such key exists, InvalidValue if several keys are active and no
    selector is given.
    """
    spellings = row_spellings(domain)
    with session(settings.database) as connection:
        name = keys_table.row_domain(connection, settings.database, spellings)
        keys = completed_keys(connection, settings, name)
        if selector is not None:
            key = keys_table.find(connection, settings.database, name, stored_selector(selector))
        else:
            key = _active_key(keys, name)
    if key.public is None:
        raise KeyNotFound(f"domain {name}, selector {key.selector!r}: {key.fault or 'no key'}")
    return key.public


def _desired_key(domain: Domain, selector: object, algorithm: object, bits: object) -> DesiredKey:
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


def _refuse_used(connection, settings: Settings, desired: DesiredKey) -> None:
    if selector_used(connection, settings.database, desired.domain, desired.selector):
        raise StepRefused(
            f"selector: {desired.selector!r} was the selector of a deleted key of "
            f"{desired.domain}, and a selector is not used twice; use another"
        )


def _existing(connection, settings: Settings, desired: DesiredKey, named: bool) -> Key | None:
    keys = keys_table.list_keys(connection, settings.database, desired.domain)
    same = [key for key in keys if selector_in_record(key.selector) == desired.selector]
    if same:
        return max(same, key=lambda key: key.selector == desired.selector)
    if named:
        return None
    own = (key for key in keys if key.algorithm == desired.algorithm and not key.address)
    return next((key for key in own if key.state == "active"), None)


def _active_key(keys: Sequence[Key], domain: str) -> Key:
    active = [key for key in keys if key.state == "active" and not key.address]
    if not active:
        raise KeyNotFound(f"domain {domain} has no active key; dkim.list_keys shows its keys")
    if len(active) > 1:
        raise InvalidValue(
            "selector",
            MISSING,
            f"is missing: domain {domain} has several active keys",
            f"use one of {', '.join(key.selector for key in active)}",
        )
    return active[0]


def to_dict(settings: Settings, key: Key) -> dict[str, object]:
    """Return a key as :func:`list_keys` does, without ``orphaned``."""
    domain = domain_settings(settings, key.domain.lower())
    data = key.to_dict()
    if problem := key_problem(key, domain):
        return {**data, "problem": problem, "record": None}
    return {**data, "record": record_of(key, domain).to_dict()}
