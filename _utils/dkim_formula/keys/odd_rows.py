"""Sentences about rows of the mail database that need a correction, each with a remedy."""

from collections.abc import Sequence

from ..names import row_name
from ..postgres import hosted, schema
from ..settings.model import Settings
from . import table as keys_table
from .desired import domain_problem, domain_settings, key_problem, longest_domain

# A return lists at most this many keys, domains or sentences, and counts the others.
LISTED = 50


def problems(connection, settings: Settings, unreadable: bool = True) -> list[str]:
    """
    Return a sentence for each odd row. First come hosted domains that OpenDKIM never looks up or
    that are too long to have a key, then keys that can't sign or whose record no verifier finds.

    unreadable
        Whether to include active keys whose text is unreadable.
    """
    database, longest = settings.database, longest_domain(settings)
    table = " and ".join(f"{one.schema}.{one.table}" for _, one in hosted.tables(database))
    named: dict[str, str] = {}
    for name in hosted.odd_names(connection, database, longest):
        if name in settings.excluded or name.lower() in settings.domains:
            continue
        named[name] = f"{table}: {domain_problem(settings, name) or _one_label(name)}"
    found = list(named.values())
    if schema.has_tables(connection, database):
        for key in keys_table.odd(connection, database, longest):
            if key.state == "active" and key.fault and not unreadable and not key.path:
                continue
            domain = domain_settings(settings, key.domain.lower())
            text = key.problem or key_problem(key, domain)
            if text and not (key.domain in named and key.public is not None and not key.path):
                found.append(f"{row_name(key.domain, key.selector)}: {text}")
    return shortened(found)


def _one_label(name: str) -> str:
    return (
        f"the domain {name!r} has one label, like rows of mail panels that are not domains, so the "
        "formula skips it; add it to dkim:domains to sign its mail"
    )


def shortened(texts: Sequence[str]) -> list[str]:
    """Return the first sentences, and the number of the others."""
    if len(texts) <= LISTED:
        return list(texts)
    return [*texts[:LISTED], f"{len(texts) - LISTED} more such rows; dkim.list_keys shows all keys"]
