"""Remedies for keys that are missing, damaged or overdue."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from ..keys import history
from ..keys import table as keys_table
from ..keys.comparison import compare
from ..keys.desired import desired_keys, domain_settings, first_key_waits
from ..keys.model import DesiredKey, Key
from ..settings import selector_naming
from ..settings.model import Settings
from ..text import as_argument

if TYPE_CHECKING:
    import psycopg2.extensions as pg


def of_old_keys(domains: Sequence[str], count: int) -> str:
    """Return the command that rotates ``count`` overdue keys of some domains."""
    if count == 1:
        return f"salt-call dkim.rotate {as_argument(domains[0])}"
    return "salt-call dkim.rotate_due"


def of_unsigned_domains(
    connection: pg.connection, settings: Settings, domains: Sequence[str]
) -> str:
    """Return the remedy for domains that no key signs for."""
    missing = desired_keys({name: domain_settings(settings, name) for name in domains})
    keys = keys_table.list_of(connection, settings.database, domains)
    return of_missing_keys(connection, settings, missing, keys)


def of_missing_keys(
    connection: pg.connection,
    settings: Settings,
    missing: Sequence[DesiredKey],
    keys: Iterable[Key],
) -> str:
    """
    Return the remedy for missing active keys.

    ``dkim.generate_missing`` generates each key whose selector was never used before. If it cannot
    generate all keys, the remedy is for the first of the other ones.
    """
    generated = compare(connection, settings.database, missing).missing if missing else ()
    left = [one for one in missing if one not in generated]
    if not left:
        return "salt-call dkim.generate_missing"
    one = left[0]
    for key in keys:
        same = (key.domain, key.algorithm, key.address) == (one.domain, one.algorithm, one.address)
        if not same or key.public is None:
            continue
        if key.state == "pending" and first_key_waits(settings, one.domain):
            return _of_waiting_key(settings, one.domain)
        if key.state in ("standby", "pending", "retired"):
            return f"salt-call dkim.activate {as_argument(one.domain)} {as_argument(key.selector)}"
    if one.address:
        return f"salt-call dkim.rotate {as_argument(one.domain)} algorithm={one.algorithm}"
    return _generation(connection, settings, one)[0]


def _of_waiting_key(settings: Settings, domain: str) -> str:
    """Return the command that shows which record a first key waits for."""
    name = as_argument(domain)
    status = f"what its key waits for: salt-call dkim.status {name}"
    if domain_settings(settings, domain).delegation is None:
        return status
    return (
        f"give the owner of {domain} the CNAMEs: salt-call dkim.delegations {name} format=text; "
        f"{status}"
    )


def of_damaged_key(
    connection: pg.connection, settings: Settings, domain: str, selector: str, algorithm: str | None
) -> str:
    """Return the remedy for a domain whose active key is damaged."""
    plan = domain_settings(settings, domain.lower()).keys[0]
    desired = DesiredKey(domain, selector, algorithm or plan.algorithm, plan.bits)
    command, fresh = _generation(connection, settings, desired)
    remedy = f"restore these rows from a backup; or generate other keys: {command}"
    if not fresh:
        return remedy
    name = f"{as_argument(domain)} {as_argument(fresh)}"
    return (
        f"{remedy}; its record, to be published: salt-call dkim.records {as_argument(domain)}; "
        f"when DNS shows the record: salt-call dkim.activate {name}"
    )


def _generation(
    connection: pg.connection, settings: Settings, desired: DesiredKey
) -> tuple[str, str]:
    """
    Return the command that replaces a key whose selector was used, and the new selector.

    The selector is empty if all CNAMEs of the domain's delegation are in use.
    """
    domain = domain_settings(settings, desired.domain.lower())
    if domain.delegation is None:
        used = history.used_selectors(connection, settings.database, [desired.domain])
        selector = selector_naming.unused_selector(
            settings.rotation.selector,
            desired.selector,
            desired.algorithm,
            datetime.now(timezone.utc),
            used[desired.domain],
        )
    else:
        keys = keys_table.list_of(connection, settings.database, [desired.domain])
        taken = {key.selector for key in keys}
        selector = selector_naming.free_selector(domain.delegation.selectors, taken) or ""
    if not selector:
        return f"salt-call dkim.rotate {as_argument(desired.domain)}", ""
    name = f"{as_argument(desired.domain)} {as_argument(selector)}"
    return f"salt-call dkim.generate {name} algorithm={desired.algorithm}", selector
