"""The reader's and the worker's ways in: our lines in pg_hba.conf and pg_ident.conf."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import AccessFileError
from ..files import replace_file
from ..settings.model import Database, Reader, Worker
from . import hba
from .connection import session
from .objects import LOCK_ACCESS, LOCK_CLASS
from .plan import Plan, change
from .server import MAINTENANCE

if TYPE_CHECKING:
    import psycopg2.extensions as pg

RELOADED_WITHIN = 30.0  # seconds


@dataclass(frozen=True)
class Snapshot:
    """Paths, texts and the faults that PostgreSQL already finds in the two files."""

    hba_path: str | None = None
    ident_path: str | None = None
    hba_text: str = ""
    ident_text: str = ""
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lines:
    """
    Our lines for one role.

    local, network
        Rules of pg_hba.conf for the local socket, and for clients over TLS.
    mappings
        Of pg_ident.conf.
    every_local, every_mapping
        All of these that the formula may ever have written for this role without its mark.
    maps
        For each of our maps, the system users whom our mappings let in by it.
    """

    role: str
    local: tuple[str, ...] = ()
    network: tuple[str, ...] = ()
    mappings: tuple[str, ...] = ()
    every_local: tuple[str, ...] = ()
    every_mapping: tuple[str, ...] = ()
    maps: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def is_local(self, line: hba.Line) -> bool:
        """Whether a line of pg_hba.conf is ours, for the local socket."""
        return hba.is_one_of(line, self.every_local)

    def is_network(self, line: hba.Line) -> bool:
        """Whether a line of pg_hba.conf is ours, for clients over TLS."""
        return hba.is_marked(line, self.role)

    def is_mapping(self, line: hba.Line) -> bool:
        """Whether a line of pg_ident.conf is ours."""
        return hba.is_one_of(line, self.every_mapping) or hba.is_marked(line, self.role)


ABSENT = Snapshot()


def look(connection: pg.connection) -> Snapshot:
    """
    Reads both files where the server says that they are. Raises AccessFileError where this machine
    has no such file: it is then not the database's.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('hba_file'), current_setting('ident_file')")
        hba_path, ident_path = cursor.fetchone()
        faults = _faults(cursor, hba_path, ident_path)
    return Snapshot(hba_path, ident_path, _read(hba_path), _read(ident_path), faults)


def plan(
    snapshot: Snapshot, database: Database, present: bool = True, also_root: bool = False
) -> Plan:
    """
    Changes named ``pg_hba.conf`` and ``pg_ident.conf``.

    present
        False: our lines are to go.
    also_root
        Root may log in as the reader too: for a daemon that its init script starts as root, and
        which makes its first session before it changes its user (measured).

    Raises AccessFileError where a file is broken already.
    """
    if snapshot.faults:
        raise AccessFileError("\n".join(snapshot.faults))
    ours = _lines(database, present, also_root)
    changes = {}
    if _new_hba(snapshot, database, ours) != snapshot.hba_text:
        changes["pg_hba.conf"] = _change(
            snapshot.hba_text,
            lambda line: any(one.is_local(line) or one.is_network(line) for one in ours),
            [rule for one in ours for rule in (*one.local, *one.network)],
        )
    if _new_ident(snapshot, ours) != snapshot.ident_text:
        changes["pg_ident.conf"] = _change(
            snapshot.ident_text,
            lambda line: any(one.is_mapping(line) for one in ours),
            [mapping for one in ours for mapping in one.mappings],
        )
    return Plan(changes, _notes(snapshot, ours))


def apply(
    connection: pg.connection, database: Database, present: bool = True, also_root: bool = False
) -> Plan:
    """
    Writes the files, has PostgreSQL check them, reloads, and waits until that is in force; puts
    the old text back and raises AccessFileError where PostgreSQL finds fault.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK_CLASS, LOCK_ACCESS))
        snapshot = look(connection)
        planned = plan(snapshot, database, present, also_root)
        if not planned:
            return planned
        ours = _lines(database, present, also_root)
        new = {
            snapshot.hba_path: (snapshot.hba_text, _new_hba(snapshot, database, ours)),
            snapshot.ident_path: (snapshot.ident_text, _new_ident(snapshot, ours)),
        }
        with _put_back_unless_sound(new):
            for path, (old, text) in new.items():
                if text != old:
                    _write(path, text)
            faults = _faults(cursor, snapshot.hba_path, snapshot.ident_path)
            if faults:
                raise AccessFileError(
                    "the old files were put back, since PostgreSQL finds fault with the new: "
                    + "; ".join(faults)
                )
        before = _loaded_at(database)
        cursor.execute("SELECT pg_reload_conf()")
    connection.commit()
    _wait_until_loaded(database, before)
    return planned


def _lines(database: Database, present: bool, also_root: bool) -> tuple[Lines, ...]:
    ours = (_readers_lines(database, also_root), _workers_lines(database))
    if present:
        return ours
    return tuple(replace(one, local=(), network=(), mappings=()) for one in ours)


def _readers_lines(database: Database, also_root: bool) -> Lines:
    reader = database.reader
    by_peer = hba.hba_line(database.name, reader.name, f"peer map={reader.map}")
    by_password = hba.hba_line(database.name, reader.name, "scram-sha-256")
    mapping = hba.ident_line(reader.map, reader.system_user, reader.name)
    for_root = hba.ident_line(reader.map, "root", reader.name)
    mappings: tuple[str, ...] = ()
    if reader.auth == "peer":
        mappings = (mapping, for_root) if also_root else (mapping,)
    return Lines(
        role=reader.name,
        local={"peer": (by_peer,), "password": (by_password,), "cert": ()}[reader.auth],
        network=_network(database, reader),
        mappings=(*mappings, *_certified(reader)),
        every_local=(by_peer, by_password),
        every_mapping=(mapping, for_root),
        maps=(
            (reader.map, (reader.system_user, "root")),
            (_by_certificate(reader), reader.certified),
        ),
    )


def _workers_lines(database: Database) -> Lines:
    worker = database.worker
    rule = hba.hba_line(database.name, worker.name, f"peer map={worker.map}")
    mapping = hba.ident_line(worker.map, "root", worker.name)
    wanted = database.has_worker
    return Lines(
        role=worker.name,
        local=(rule,) if wanted else (),
        network=_network(database, worker),
        mappings=(mapping, *_certified(worker)) if wanted else (),
        every_local=(rule,),
        every_mapping=(mapping,),
        maps=((worker.map, ("root",)), (_by_certificate(worker), worker.certified)),
    )


def _network(database: Database, role: Reader | Worker) -> tuple[str, ...]:
    """A rule for each client: by certificate or by password."""
    method = f"cert map={_by_certificate(role)}" if role.certified else "scram-sha-256"
    return tuple(
        hba.network_line(database.name, role.name, client, method) for client in role.clients
    )


def _by_certificate(role: Reader | Worker) -> str:
    # A map of its own: what may stand in a certificate is not what may be a system user here.
    return f"{role.map}-cert"


def _certified(role: Reader | Worker) -> tuple[str, ...]:
    by_certificate = _by_certificate(role)
    return tuple(
        hba.ident_line(by_certificate, name, role.name, marked=True) for name in role.certified
    )


def _new_hba(snapshot: Snapshot, database: Database, ours: tuple[Lines, ...]) -> str:
    text = snapshot.hba_text
    for one in ours:
        text = hba.with_rules(text, one.local, one.is_local, database.name, one.role)
        text = hba.with_rules(text, one.network, one.is_network, database.name, one.role)
    return text


def _new_ident(snapshot: Snapshot, ours: tuple[Lines, ...]) -> str:
    text = snapshot.ident_text
    for one in ours:
        text = hba.with_mappings(text, one.mappings, one.is_mapping)
    return text


def _change(text: str, is_ours: hba.IsOurs, new: list[str]) -> dict[str, object]:
    there = [line.raw.strip() for line in hba.lines(text) if is_ours(line)]
    return change("; ".join(there) or None, "; ".join(new) or None)


def _notes(snapshot: Snapshot, ours: tuple[Lines, ...]) -> tuple[str, ...]:
    return tuple(
        f"pg_ident.conf: a line that is not the formula's lets the system user {user} use the map "
        f"{map_name} too; it is left alone"
        for one in ours
        if one.mappings
        for map_name, known in one.maps
        for user in hba.others_mapped(snapshot.ident_text, map_name, known, one.role)
    )


def _faults(cursor, hba_path: str, ident_path: str) -> tuple[str, ...]:
    cursor.execute("SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL")
    found = [f"{hba_path}, line {number}: {error}" for number, error in cursor.fetchall()]
    # pg_ident_file_mappings came with PostgreSQL 15.
    if cursor.connection.server_version >= 150000:
        cursor.execute(
            "SELECT line_number, error FROM pg_ident_file_mappings WHERE error IS NOT NULL"
        )
        found += [f"{ident_path}, line {number}: {error}" for number, error in cursor.fetchall()]
    return tuple(found)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            return stream.read()
    except OSError as error:
        raise AccessFileError(f"{path} can't be read on this machine: {error.strerror}") from None


def _write(path: str, text: str) -> None:
    path = os.path.realpath(path)
    status = os.stat(path)
    replace_file(path, text, stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid))


@contextlib.contextmanager
def _put_back_unless_sound(files: dict[str, tuple[str, str]]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for path, (old, new) in files.items():
            if old != new:
                _write(path, old)
        raise


def _loaded_at(database: Database):
    # A new session's answer is the postmaster's: an old one's is when it noticed the signal itself.
    with (
        session(database, setup=True, dbname=MAINTENANCE) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT pg_conf_load_time()")
        return cursor.fetchone()[0]


def _wait_until_loaded(database: Database, before) -> None:
    deadline = time.monotonic() + RELOADED_WITHIN
    while _loaded_at(database) <= before:
        if time.monotonic() > deadline:
            raise AccessFileError(
                f"PostgreSQL did not load its access files within {RELOADED_WITHIN:.0f} s"
            )
        time.sleep(0.05)
