"""
The keys of amavisd: ``dkim_key`` statements, and the mail that each key signs.

A line of the configuration that names a key but is not understood is reported, and a person has to
import its key.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..record_names import key_name
from .amavisd_config import Configuration, configuration, files
from .amavisd_lookup import CATCH_ALL, Key, choose, first_key
from .held import Held
from .key_table import valid_domain

_MAPS = "@dkim_signature_options_bysender_maps"
_SWITCH = "$enable_dkim_signing"
_NOT_UNDERSTOOD = (
    "is not understood: only plain dkim_key('DOMAIN', 'SELECTOR', '/FILE') and "
    "include_config_files('/FILE') are; import its keys with dkim.import_key"
)
_LISTED = 20

# The key's name and the location of the line, by the pattern of a sender.
_Lines = dict[str, tuple[str, str]]


def read(config: str | None, domains: Iterable[str]) -> Held:
    """
    Return the keys of a configuration.

    config
        See :func:`files`.
    domains
        The domains whose mail the formula signs. A note names those that sign with the key of
        the catch-all today.
    """
    found = configuration(files(config))
    held = Held(is_on=found.signs)
    for location in found.unknown:
        held.refuse(location, _NOT_UNDERSTOOD)
    for location, reason in found.unread:
        held.refuse(location, reason)
    keys = [key for key in found.keys if _add(held, key)]
    lines = _own_lines(keys, found) | _sender_lines(held, keys, found)
    held.sign(*((pattern, *line) for pattern, line in lines.items()))
    _note_catch_all(held, keys, found, domains)
    if held.entries and not held.is_on:
        held.notes.append(
            f"{_SWITCH} is not 1: amavisd signs no mail with these keys today; see that their "
            "records are in DNS"
        )
    return held


def _add(held: Held, key: Key) -> bool:
    name = key_name(key.selector, key.domain)
    label = f"{name} ({key.location})"
    if "*" in key.domain:
        held.refuse(label, "is for many domains; give each its own key")
    elif not key.path.startswith("/"):
        reason = "has a path that is not absolute; use dkim.import_key"
        held.refuse(label, reason, key.domain)
    elif name not in held.entries:
        return held.add(name, key.domain, key.selector, key.path, key.location)
    return False


def _own_lines(keys: list[Key], found: Configuration) -> _Lines:
    """Return a line for each domain whose mail one of its own keys signs."""
    lines: _Lines = {}
    for domain in dict.fromkeys(key.domain.lower() for key in keys):
        choice = choose(found.maps, domain)
        key = first_key(keys, choice)
        if key is not None and choice.domain == domain:
            lines[domain] = (key_name(key.selector, key.domain), key.location)
    return lines


def _sender_lines(held: Held, keys: list[Key], found: Configuration) -> _Lines:
    """Return a line for each sender of the maps that signs as the maps say."""
    lines: _Lines = {}
    for sender in dict.fromkeys(sender for one in found.maps for sender in one):
        host = sender.rpartition("@")[2].removeprefix(".")
        label = f"{sender} ({_MAPS})"
        if sender == CATCH_ALL:
            choice = choose(found.maps, CATCH_ALL)
            if choice.pattern and first_key(keys, choice) is None:
                held.refuse(label, f"signs as {choice.domain}, and no key is for that")
            continue
        if not valid_domain(host):
            held.refuse(label, "is a sender that the formula has no counterpart for")
            continue
        if host != host.lower():
            held.refuse(label, "never matches: amavisd looks domains up in lower case")
            continue
        # ".example.com" matches example.com too (make_query_keys).
        for pattern in (host, sender) if sender.startswith(".") else (sender,):
            choice = choose(found.maps, pattern)
            key = first_key(keys, choice)
            if choice.is_of_the_catch_all or (pattern.startswith(".") and not choice.pattern):
                # A note names the domains of the catch-all; other subdomains sign as themselves.
                continue
            if key is None:
                held.refuse(label, f"signs as {choice.domain}, and no key is for that")
                break
            if pattern != choice.domain:
                lines[pattern.lower()] = (key_name(key.selector, key.domain), _MAPS)
    return lines


def _note_catch_all(
    held: Held, keys: list[Key], found: Configuration, domains: Iterable[str]
) -> None:
    choice = choose(found.maps, CATCH_ALL)
    signer = choice.domain
    if not choice.pattern or first_key(keys, choice) is None:
        return
    others = sorted(
        domain
        for domain in domains
        if domain != signer and choose(found.maps, domain).is_of_the_catch_all
    )
    held.signed_as = dict.fromkeys(others, signer)
    if others:
        shown = ", ".join(others[:_LISTED]) + (", …" if len(others) > _LISTED else "")
        held.notes.append(
            f"{len(others)} domains sign as {signer} today ({_MAPS}): {shown}; the formula "
            "gives each a key of its own, so publish their records, or set alias_of: "
            f"{signer} for those that are to sign as before"
        )
