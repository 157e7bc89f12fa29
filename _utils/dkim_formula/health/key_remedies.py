"""What a person types about a key that is missing, damaged or overdue."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from ..keys import history
from ..keys import table as keys_table
from ..keys.comparison import compare
from ..keys.desired import desired_keys, domain_settings, first_key_waits
from ..keys.model import DesiredKey, Key
from ..settings import selector_scheme
from ..settings.model import Settings

if TYPE_CHECKING:
    import psycopg2.extensions as pg


def of_old_keys(domains: Sequence[str], count: int) -> str:
    """Return what rotates the keys of some domains, of which ``count`` are overdue."""
    if count == 1:
        return f"salt-call dkim.rotate {shlex.quote(domains[0])}"
    return "salt-call dkim.rotate_due"


def of_unsigned_domains(
    connection: pg.connection, settings: Settings, domains: Sequence[str]
) -> str:
    """Return what gives unsigned domains their keys."""
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
    Return what helps the first of those keys that no highstate generates, else that it does: a
    selector that was used before it does not use again.
    """
    made = compare(connection, settings.database, missing).missing if missing else ()
    left = [one for one in missing if one not in made]
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
            return f"salt-call dkim.activate {one.domain} {key.selector}"
    if one.address:
        return f"salt-call dkim.rotate {one.domain} algorithm={one.algorithm}"
    return _generation(connection, settings, one)[0]


def _of_waiting_key(settings: Settings, domain: str) -> str:
    """Return what shows which record a first key waits for."""
    name = shlex.quote(domain)
    if domain_settings(settings, domain).delegation is None:
        return f"salt-call dkim.status {name}, which says what its key waits for"
    return (
        f"give the owner of {domain} the CNAMEs: salt-call --out=txt dkim.delegations {name} "
        f"format=text; what its key waits for: salt-call dkim.status {name}"
    )


def of_damaged_key(
    connection: pg.connection, settings: Settings, domain: str, selector: str, algorithm: str | None
) -> str:
    """Return what helps a domain whose active key is damaged."""
    plan = domain_settings(settings, domain.lower()).keys[0]
    wanted = DesiredKey(domain, selector, algorithm or plan.algorithm, plan.bits)
    command, fresh = _generation(connection, settings, wanted)
    remedy = f"restore these rows from a backup; or make other keys: {command}"
    if not fresh:
        return remedy
    name = f"{shlex.quote(domain)} {fresh}"
    return (
        f"{remedy}; its record, to be published: salt-call dkim.records {shlex.quote(domain)}; "
        f"when DNS shows the record: salt-call dkim.activate {name}"
    )


def _generation(
    connection: pg.connection, settings: Settings, wanted: DesiredKey
) -> tuple[str, str]:
    """
    Return the command that generates a key in place of one whose selector was used, and the new
    selector; where the customer of a delegation has no CNAME to spare, the command alone.
    """
    domain = domain_settings(settings, wanted.domain.lower())
    if domain.delegation is None:
        used = history.used_selectors(connection, settings.database, [wanted.domain])
        selector = selector_scheme.fresh(
            settings.rotation.selector,
            wanted.selector,
            wanted.algorithm,
            datetime.now(timezone.utc),
            used[wanted.domain],
        )
    else:
        keys = keys_table.list_of(connection, settings.database, [wanted.domain])
        taken = {key.selector for key in keys}
        selector = selector_scheme.free(domain.delegation.selectors, taken) or ""
    if not selector:
        return f"salt-call dkim.rotate {shlex.quote(wanted.domain)}", ""
    name = f"{shlex.quote(wanted.domain)} {selector}"
    return f"salt-call dkim.generate {name} algorithm={wanted.algorithm}", selector
