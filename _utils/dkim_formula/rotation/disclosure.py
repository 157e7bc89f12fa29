"""
Publication of the private halves of revoked keys, so that old signatures prove nothing.

Anyone can then have made such a signature. The formula publishes a private key only when DNS shows
that no verifier finds its record. Before that, a reader could sign mail in the domain's name.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidValue
from ..files import replace_file
from ..key_text import KEY_PATH
from ..keys import changes as key_changes
from ..keys import history
from ..keys.desired import domain_settings
from ..keys.model import Key
from ..postgres import secret_writes
from ..postgres.catalog import relation_kind
from ..postgres.connection import session
from ..postgres.objects import names
from ..postgres.sql import compose
from ..record_names import key_name, key_record_name
from ..secret import Secret
from ..settings.model import Database, Settings
from .gate import NO_DOMAIN, OK
from .observe import observe
from .report import RotationReport

if TYPE_CHECKING:
    import psycopg2.extensions as pg


@dataclass(frozen=True)
class Disclosure:
    """
    A revoked key whose private half will be published. ``repr`` hides the private half.

    ttl
        The longest TTL of the records at the key's name, in seconds; None without observation.
    gone_since
        The time since which every observation found the key gone from DNS. None if the last
        observation did not.
    """

    id: int
    domain: str
    selector: str
    algorithm: str
    public: str
    ttl: int | None
    gone_since: datetime | None
    key: Secret = field(repr=False)

    @property
    def row(self) -> Key:
        """The row that the key had in the table of keys."""
        return Key(
            id=self.id,
            domain=self.domain,
            selector=self.selector,
            algorithm=self.algorithm,
            bits=None,
            state="revoked",
            address="",
            created=None,
            activated=None,
            retired=None,
            revoked=None,
            public=self.public,
        )


def disclose(settings: Settings, report: RotationReport, test: bool = False) -> None:
    """
    Write each private key that may be public to ``SELECTOR._domainkey.DOMAIN.pem`` in the
    settings' directory, and erase it from the table. Without a directory in the settings, erase all
    private keys that wait.
    """
    with session(settings.database) as connection:
        waiting = _read(connection, settings.database)
        at = history.clock(connection)
    if not waiting:
        return
    directory = settings.rotation.publish_private
    if directory is None:
        report.note(
            f"dkim:rotation:publish_private is not set any more: {len(waiting)} private keys that "
            "waited to be made public are erased"
        )
        gone, done = [], [one.id for one in waiting]
    else:
        observed = observe(settings, [one.row for one in waiting], at, report)
        gone = [number for number, one in observed.items() if one.verdict in (OK, NO_DOMAIN)]
        ready = [
            one
            for one in waiting
            if one.id in gone and _is_expired(settings, one, observed[one.id].verdict, at)
        ]
        done = [one.id for one in ready if _write(one, Path(directory), report, test)]
    if not test:
        present = [one.id for one in waiting if one.id not in gone]
        with session(settings.database) as connection, key_changes.writing(connection):
            _store(connection, settings.database, gone, present, at)
            _erase(connection, settings.database, done)


def _is_expired(settings: Settings, one: Disclosure, verdict: str, at: datetime) -> bool:
    """
    Return whether the old record has expired from every resolver's cache. If the domain does not
    exist, it must be absent for as long as before the deletion of the key: a domain that is soon
    registered again has its old records.
    """
    ttl = max(one.ttl or 0, domain_settings(settings, one.domain.lower()).ttl)
    seconds = ttl + settings.rotation.margin
    if verdict == NO_DOMAIN:
        seconds = max(seconds, settings.rotation.revoke_for)
    limit = timedelta(seconds=seconds)
    return one.gone_since is not None and at - one.gone_since >= limit


def _write(one: Disclosure, directory: Path, report: RotationReport, test: bool) -> bool:
    """Write a private key's file; return whether that succeeded. A test run writes nothing."""
    try:
        path = directory / f"{key_record_name(one.selector, one.domain)}.pem"
        if not directory.is_dir():
            raise InvalidValue(
                "dkim:rotation:publish_private",
                str(directory),
                "is no directory on this minion",
                "make the directory for the web server, or remove the key",
            )
        if not test:
            replace_file(str(path), one.key.reveal(), 0o644)  # readable for everyone
    except (InvalidValue, OSError) as error:
        report.problem(f"{key_name(one.selector, one.domain)}: {error}")
        return False
    report.changes[str(path)] = {"old": None, "new": "the private key, public"}
    return True


def keep(connection: pg.connection, database: Database, numbers: Collection[int]) -> None:
    """
    Copy private keys to the table of disclosures before their revocation. Skip keys that are in
    files of other programs. Does not commit.
    """
    with connection.cursor() as cursor:
        secret_writes.change(
            cursor,
            compose(
                """
                INSERT INTO {disclosure}
                       (dkim_id, domain, selector, algorithm, public_key, key, ttl)
                SELECT k.id, coalesce(k.domain, ''), k.selector, k.algorithm, k.public_key, k.key,
                       greatest(s.ttl, s.other_ttl)
                  FROM {dkim} AS k
                  LEFT JOIN {observation} AS s ON s.dkim_id = k.id
                 WHERE k.id = ANY (%s) AND k.key IS NOT NULL AND k.public_key IS NOT NULL
                   AND k.key COLLATE "C" !~ %s
                ON CONFLICT (dkim_id) DO NOTHING
                """,
                **names(database),
            ),
            (list(numbers), KEY_PATH),
        )


def _read(connection: pg.connection, database: Database) -> list[Disclosure]:
    """Return the keys that wait for their disclosure; none before the migration of the table."""
    with connection.cursor() as cursor:
        if not relation_kind(cursor, database.schema, "dkim_disclosure"):
            return []
        cursor.execute(
            compose(
                """
                SELECT dkim_id, domain, selector, algorithm, public_key, ttl, gone_since, key
                  FROM {disclosure} ORDER BY domain, dkim_id
                """,
                **names(database),
            )
        )
        return [Disclosure(*row, Secret(key)) for *row, key in cursor]


def _store(
    connection: pg.connection,
    database: Database,
    gone: Collection[int],
    present: Collection[int],
    at: datetime,
) -> None:
    """Store which keys are gone from every server at a time, and which ones may be present."""
    statement = """
        UPDATE {disclosure}
           SET gone_since = CASE WHEN dkim_id = ANY (%s) THEN coalesce(gone_since, %s) END
         WHERE dkim_id = ANY (%s)
    """
    with connection.cursor() as cursor:
        secret_writes.change(
            cursor,
            compose(statement, **names(database)),
            (list(gone), at, [*gone, *present]),
        )


def _erase(connection: pg.connection, database: Database, numbers: Collection[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            compose("DELETE FROM {disclosure} WHERE dkim_id = ANY (%s)", **names(database)),
            (list(numbers),),
        )
