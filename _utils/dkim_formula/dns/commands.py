"""Commands of this folder. Execution functions and states call them; they return data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable

from ..errors import DatabaseUnavailable, InvalidValue
from ..keys import table as keys_table
from ..keys.desired import domain_settings
from ..keys.model import Key
from ..names import mail_domain
from ..postgres import hosted as hosted_domains
from ..postgres import schema
from ..postgres.commands import awaits_setup
from ..postgres.connection import session
from ..progress import Progress
from ..records import MANUAL_PURPOSES, mta_sts_policy, mta_sts_url, render
from ..records.layout import Layout
from ..settings.model import Settings
from ..settings.validation import choice
from . import check, delegation_texts
from . import delegations as delegation
from . import published as published_values
from .checked import not_ok
from .desired import desired_records
from .left_to_publish import Left, left_to_publish
from .publish import publish
from .publish_report import changes_summary
from .query import run

__all__ = [
    "changes_summary",
    "check_dns",
    "delegations",
    "policy_file",
    "publish",
    "records",
    "records_summary",
]

# The records of more domains are only counted; the text names the command that prints them.
_MOST_DOMAINS = 100
_NO_KEYS = "No records yet: no key has been generated"
_PRINTED_BY = "salt-call dkim.records prints them"
_NOTHING_LEFT = "DNS needs no record from you"


def records(
    settings: Settings,
    domain: object = None,
    format_: str | None = None,
    relative: bool = False,
) -> list[dict[str, object]] | str:
    """
    Return the desired records as data, or as text in one of ``records.FORMATS``.

    relative
        Names relative to their zone: one of ``dkim:dns:zones``, else the domain's own.
    """
    found = desired_records(settings, domain)
    zones = settings.dns.zones
    if format_ is None:
        layout = Layout(relative, tuple(zones))
        return [layout.to_dict(record) for record in found]
    return render(found, format_, relative=relative, zones=zones)


def records_summary(settings: Settings, domain: object = None) -> str:
    """
    Return the records that a person still has to publish, as zone lines. Servers do not show these
    records as desired, and the formula does not publish them. For many domains no server is asked;
    return the commands that check and print the records.
    """
    try:
        with session(settings.database) as connection:
            if not schema.has_tables(connection, settings.database):
                return _NO_KEYS
            hosted = hosted_domains.hosted(connection, settings.database)
            count = len(hosted) if settings.every_hosted else len(settings.domains)
            if count > _MOST_DOMAINS and domain is None:
                return _of_many(settings, count)
            keys = keys_table.list_keys(connection, settings.database)
            published = published_values.read(connection, settings.database)
        found = desired_records(settings, domain)
    except DatabaseUnavailable as error:
        if not awaits_setup(error, settings.database):
            raise
        return _NO_KEYS
    left = left_to_publish(found, settings.dns, published, _in_state(keys, "revoked"))
    return _left_as_text(settings, left, _in_state(keys, "pending"))


def _of_many(settings: Settings, count: int) -> str:
    ways = (settings.dns.publish, *(zone.publish for zone in settings.dns.zones.values()))
    if "none" not in ways:
        return _NOTHING_LEFT
    return f"The records of {count} domains: salt-call dkim.check_dns compares them; {_PRINTED_BY}"


def _left_as_text(settings: Settings, left: Left, pending: set[tuple[str, str]]) -> str:
    if not left.records:
        return left.unknown or _NOTHING_LEFT
    text = f"Publish these records:\n\n{render(left.records, 'bind', zones=settings.dns.zones)}"
    for record in left.records:
        if record.purpose == "dkim" and (record.domain, record.selector) in pending:
            text += f"; the key of {record.name} signs once the record is visible\n"
    elsewhere = [record for record in left.records if record.purpose in MANUAL_PURPOSES]
    if elsewhere:
        owners = ", ".join(dict.fromkeys(f"{record.name} {record.type}" for record in elsewhere))
        text += f"; in zones of other operators: {owners}\n"
    return f"{text}; {left.unknown}\n" if left.unknown else text


def _in_state(keys: Iterable[Key], state: str) -> set[tuple[str, str]]:
    """Return the domain and the selector of every key in a state."""
    return {(key.domain.lower(), key.selector) for key in keys if key.state == state}


def policy_file(settings: Settings, domain: object) -> dict[str, str]:
    """
    Return the MTA-STS policy of a domain, for a web server: ``{"url", "text"}``.

    Raises InvalidValue for an invalid domain name, or for a domain without a policy.
    """
    name = mail_domain(domain, "domain")
    policy = domain_settings(settings, name).mta_sts
    if policy is None:
        raise InvalidValue(
            "domain",
            name,
            "has no MTA-STS policy",
            f"set dkim:domains:{name}:mta_sts, or dkim:defaults:mta_sts",
        )
    return {"url": mta_sts_url(name), "text": mta_sts_policy(policy)}


def check_dns(
    settings: Settings, domain: object = None, progress: Progress | None = None
) -> dict[str, object]:
    """
    Check each desired record of one domain, or of all, at each authoritative server of its zone.

    progress
        Called with (done, total) after each record.

    Returns ``{"ok": bool, "counts": {verdict: number}, "records": [{name, type, purpose, domain,
    selector, value, verdict, detail, zone, negative_ttl, validator, servers: [{server, address,
    verdict, detail, ttl, shown}]}]}``. ``ok`` is true if every record is ok. ``shown`` has the
    texts at the name, for a server that is not ok. The verdicts are those of ``dns.verdict``.
    Changes nothing.

    Raises InvalidValue for an invalid domain name, DatabaseError, NoLibrary.
    """
    desired = desired_records(settings, domain)
    checked = run(check.check(desired, settings.dns, progress=progress))
    return {
        "ok": not not_ok(checked),
        "counts": dict(Counter(one.verdict for one in checked)),
        "records": [one.to_dict() for one in checked],
    }


_TEXTS = {"text": delegation_texts.text, "html": delegation_texts.page}


def delegations(
    settings: Settings, domain: object = None, format_: str | None = None
) -> dict[str, object] | str:
    r"""
    Check the CNAMEs of one domain with a delegation, or of all.

    format\_
        ``text``, ``html``: the instructions for each customer. ``json``: the data as text.

    Returns ``{"ok": bool, "counts": {state: number}, "delegations": [{domain, name, target, state,
    detail, since, last_ok}]}``. The states are those of ``dns.delegations``. Stores the times at
    which each CNAME was ok, and changes nothing else.

    Raises InvalidValue for an unknown format, an invalid domain name or a domain without a
    delegation; DatabaseError, NoLibrary.
    """
    if format_ is not None:
        choice("text", "json", "html")(format_, "format")
    desired = delegation.desired(settings, domain)
    found = run(delegation.observe(desired, settings.dns, settings.dns.deadline))
    found = delegation.store_times(settings, found)
    if format_ in _TEXTS:
        return _TEXTS[format_](found)
    data = {
        "ok": all(one.state == delegation.OK for one in found),
        "counts": dict(Counter(one.state for one in found)),
        "delegations": [one.to_dict() for one in found],
    }
    return json.dumps(data, indent=2) if format_ == "json" else data
