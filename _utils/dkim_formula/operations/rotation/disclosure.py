"""
Private keys of revoked keys, made public: then no mail proves any more who wrote it.

A key is made public when nobody can verify with it any more, which DNS has to show: before that,
whoever has it could write in the domain's name.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from ...database import evidence as evidence_table
from ...database import keystore
from ...database.connection import session
from ...database.evidence import Disclosure
from ...database.keystore import Key
from ...errors import InvalidValue
from ...files import replace_file
from ...names import key_record_name
from ...rotation.evidence import RIGHT
from ...settings.model import Settings
from ...wanted import domain_settings
from .looking import look
from .outcome import Outcome


def disclose(settings: Settings, outcome: Outcome, test: bool = False) -> None:
    """
    Writes each private key that may be public to ``SELECTOR._domainkey.DOMAIN.pem`` in the
    settings' directory, and erases it from the table. Where the settings have no directory any
    more, what waits is erased.
    """
    with session(settings.database) as connection:
        waiting = evidence_table.disclosures(connection, settings.database)
        at = evidence_table.clock(connection)
    if not waiting:
        return
    directory = settings.rotation.publish_private
    if directory is None:
        outcome.note(
            f"{len(waiting)} private keys that waited to be made public are erased: "
            "dkim:rotation:publish_private is not set any more"
        )
        gone, done = [], [one.id for one in waiting]
    else:
        looks = look(settings, [_as_key(one) for one in waiting], at, outcome)
        gone = [number for number, seen in looks.items() if seen.verdict == RIGHT]
        ready = [one for one in waiting if one.id in gone and _is_forgotten(settings, one, at)]
        done = [one.id for one in ready if _written(one, Path(directory), outcome, test)]
    if not test:
        there = [one.id for one in waiting if one.id not in gone]
        with session(settings.database) as connection, keystore.writing(connection):
            evidence_table.see_disclosures(connection, settings.database, gone, there, at)
            evidence_table.forget_disclosures(connection, settings.database, done)


def _is_forgotten(settings: Settings, one: Disclosure, at: datetime) -> bool:
    """Whether no resolver can have the old record any more."""
    ttl = max(one.ttl or 0, domain_settings(settings, one.domain.lower()).ttl)
    hold = timedelta(seconds=ttl + settings.rotation.margin)
    return one.seen_since is not None and at - one.seen_since >= hold


def _written(one: Disclosure, directory: Path, outcome: Outcome, test: bool) -> bool:
    try:
        path = directory / f"{key_record_name(one.selector, one.domain)}.pem"
        if not directory.is_dir():
            raise InvalidValue(
                "dkim:rotation:publish_private",
                str(directory),
                "is no directory on this minion",
                "make it for the web server, or take the key out",
            )
        if not test:
            replace_file(str(path), one.key.reveal(), 0o644)  # for everybody to read
    except (InvalidValue, OSError) as error:
        outcome.problem(f"{one.selector}._domainkey.{one.domain}: {error}")
        return False
    outcome.changes[str(path)] = {"old": None, "new": "the private key, public"}
    return True


def _as_key(one: Disclosure) -> Key:
    return Key(
        id=one.id,
        domain=one.domain,
        selector=one.selector,
        algorithm=one.algorithm,
        bits=None,
        state="revoked",
        address="",
        created=None,
        activated=None,
        retired=None,
        revoked=None,
        public=one.public,
    )
