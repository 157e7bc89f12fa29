"""
Private keys of revoked keys, made public: then no mail proves any more who wrote it.

A key is made public when nobody can verify with it any more, which DNS has to show: before that,
whoever has it could write in the domain's name.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from datetime import timedelta
from pathlib import Path

from ...database import evidence as evidence_table
from ...database import keystore
from ...database.connection import session
from ...database.evidence import Disclosure
from ...database.keystore import Key
from ...errors import InvalidValue
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
        numbers = [one.id for one in waiting]
        seen = evidence_table.read(connection, settings.database, numbers) if waiting else {}
    if not waiting:
        return
    directory = settings.rotation.publish_private
    if directory is None:
        outcome.note(
            f"{len(waiting)} private keys that waited to be made public are erased: "
            "dkim:rotation:publish_private is not set any more"
        )
        done = numbers
    else:
        looks = look(settings, [_as_key(one) for one in waiting], at, outcome)
        done = []
        for one in waiting:
            # How long its absence has been seen; of a key that is gone, how long it is revoked.
            since = seen[one.id].seen_since if one.id in seen else one.revoked
            hold = timedelta(seconds=_hold(settings, one, seen.get(one.id)))
            is_away = one.id in looks and looks[one.id].verdict == RIGHT
            if is_away and since is not None and at - since >= hold:
                done += _written(one, Path(directory), outcome, test)
    if done and not test:
        with session(settings.database) as connection, keystore.writing(connection):
            evidence_table.forget_disclosures(connection, settings.database, done)


def _hold(settings: Settings, one: Disclosure, evidence) -> int:
    """The seconds for which a resolver may still have the old record."""
    known = [domain_settings(settings, one.domain.lower()).ttl]
    if evidence is not None:
        known += [ttl for ttl in (evidence.ttl, evidence.other_ttl) if ttl is not None]
    return max(known) + settings.rotation.margin


def _written(one: Disclosure, directory: Path, outcome: Outcome, test: bool) -> list[int]:
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
            _write(path, one.key.reveal())
    except (InvalidValue, OSError) as error:
        outcome.problem(f"{one.selector}._domainkey.{one.domain}: {error}")
        return []
    outcome.changes[str(path)] = {"old": None, "new": "the private key, public"}
    return [one.id]


def _write(path: Path, text: str) -> None:
    """All of the file or nothing, for everybody to read."""
    descriptor, temporary = tempfile.mkstemp(prefix=".dkim-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


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
        revoked=one.revoked,
        public=one.public,
    )
