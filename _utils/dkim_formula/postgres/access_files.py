"""pg_hba.conf and pg_ident.conf: read, given our lines, checked by PostgreSQL and loaded."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import AccessFileError, keeping_what_was_done
from ..files import replace_file
from ..plan import Plan, change
from ..settings.model import Database
from . import access_lines, hba
from .access_lines import Former, Lines
from .connection import MAINTENANCE, session
from .objects import LOCK_ACCESS, LOCK_CLASS
from .sql import quoted

if TYPE_CHECKING:
    import psycopg2.extensions as pg

RELOADED_WITHIN = 30.0  # seconds


@dataclass(frozen=True)
class Snapshot:
    """
    The two files as they are.

    faults
        What PostgreSQL finds wrong with them, so that it loads neither.
    warnings
        What PostgreSQL says of rules that it loads all the same: `hostssl` beside ``ssl = off``.
    included
        Mappings of files that pg_ident.conf includes: map, system user, role (PostgreSQL 16).
    sessions
        The databases and roles that sessions of other machines have just now.
    databases
        The server's databases.
    """

    hba_path: str | None = None
    ident_path: str | None = None
    hba_text: str = ""
    ident_text: str = ""
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    included: tuple[tuple[str, str, str], ...] = ()
    sessions: frozenset[tuple[str, str]] = frozenset()
    databases: frozenset[str] = frozenset()


ABSENT = Snapshot()

# What a role that is no superuser lacks by default, and what gives it that.
_NEEDED = {
    "pg_has_role('pg_read_all_settings', 'USAGE')": "pg_read_all_settings",
    "has_table_privilege('pg_hba_file_rules', 'SELECT')": "SELECT ON pg_hba_file_rules",
    "has_function_privilege('pg_hba_file_rules()', 'EXECUTE')": (
        "EXECUTE ON FUNCTION pg_hba_file_rules()"
    ),
    "has_table_privilege('pg_ident_file_mappings', 'SELECT')": "SELECT ON pg_ident_file_mappings",
    "has_function_privilege('pg_ident_file_mappings()', 'EXECUTE')": (
        "EXECUTE ON FUNCTION pg_ident_file_mappings()"
    ),
    "has_function_privilege('pg_reload_conf()', 'EXECUTE')": "EXECUTE ON FUNCTION pg_reload_conf()",
}


def look(connection: pg.connection) -> Snapshot:
    """
    Read both files where the server says that they are.

    Raises AccessFileError where this machine has no such file, which then is not the database's,
    and where the session's role may not ask the server.
    """
    with connection.cursor() as cursor:
        _refuse_without_rights(cursor)
        cursor.execute("SELECT current_setting('hba_file'), current_setting('ident_file')")
        hba_path, ident_path = cursor.fetchone()
        faults, warnings = _complaints(cursor, hba_path, ident_path)
        cursor.execute(
            "SELECT DISTINCT datname, usename FROM pg_stat_activity"
            " WHERE datname <> '' AND client_addr IS NOT NULL"
        )
        sessions = frozenset(cursor.fetchall())
        cursor.execute("SELECT datname FROM pg_database")
        databases = frozenset(name for (name,) in cursor)
        included = _included(cursor, ident_path)
    return Snapshot(
        hba_path,
        ident_path,
        _read(hba_path),
        _read(ident_path),
        faults,
        warnings,
        included,
        sessions,
        databases,
    )


def _refuse_without_rights(cursor: pg.cursor) -> None:
    needed = {
        test: right
        for test, right in _NEEDED.items()
        if _has_mappings(cursor) or "pg_ident_file_mappings" not in test
    }
    cursor.execute(f"SELECT current_user, {', '.join(needed)}")
    role, *has = cursor.fetchone()
    lacks = [right for right, there in zip(needed.values(), has, strict=True) if not there]
    if not lacks:
        return
    grants = " ".join(f"GRANT {right} TO {quoted(role)};" for right in lacks)
    raise AccessFileError(
        f"dkim:database:user: role {role!r} may not ask the server for pg_hba.conf and "
        "pg_ident.conf, nor have them loaded, which is a superuser's right; remove "
        "dkim:database:user, so that root sets up as the local postgres account, or run once as a "
        f"superuser in the database {MAINTENANCE!r}: {grants}"
    )


def _has_mappings(cursor: pg.cursor) -> bool:
    """Tell whether the server has pg_ident_file_mappings, which came with PostgreSQL 15."""
    return cursor.connection.server_version >= 150000


def _included(cursor: pg.cursor, ident_path: str) -> tuple[tuple[str, str, str], ...]:
    if cursor.connection.server_version < 160000:
        return ()
    cursor.execute(
        "SELECT map_name, sys_name, pg_username FROM pg_ident_file_mappings"
        " WHERE file_name <> %s AND error IS NULL",
        (ident_path,),
    )
    return tuple(cursor.fetchall())


def plan(
    snapshot: Snapshot, database: Database, present: bool = True, also_root: bool = False
) -> Plan:
    """
    Plan the changes of ``pg_hba.conf`` and ``pg_ident.conf``.

    present
        False: our lines are to go.
    also_root
        Root may log in as the reader too: for a daemon that its init script starts as root, and
        which makes its first session before it changes its user (measured).

    Raises AccessFileError where a file is broken already.
    """
    if snapshot.faults:
        raise AccessFileError("\n".join(snapshot.faults))
    ours = access_lines.desired(database, present, also_root)
    former = _former(snapshot, ours, present)
    changes = {}
    if access_lines.new_hba(snapshot.hba_text, ours, former) != snapshot.hba_text:
        changes["pg_hba.conf"] = _change(
            snapshot.hba_text,
            lambda line: (
                line in former.rules
                or any(one.is_local(line) or one.is_network(line) for one in ours)
            ),
            [rule for one in ours for rule in (*one.local, *one.network)],
        )
    if access_lines.new_ident(snapshot.ident_text, ours, former) != snapshot.ident_text:
        changes["pg_ident.conf"] = _change(
            snapshot.ident_text,
            lambda line: (
                line in former.mappings
                or (any(one.is_mapping(line) for one in ours) and line not in former.kept_mappings)
            ),
            [mapping for one in ours for mapping in one.mappings],
        )
    notes = (*_notes(snapshot, ours), *_former_notes(snapshot, database, former))
    return Plan(changes, notes)


def apply(
    connection: pg.connection, database: Database, present: bool = True, also_root: bool = False
) -> Plan:
    """
    Write the files, have PostgreSQL check and load them, and wait until that is in force. Put the
    old text back, and raise AccessFileError, where PostgreSQL finds fault.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK_CLASS, LOCK_ACCESS))
        snapshot = look(connection)
        planned = plan(snapshot, database, present, also_root)
        if not planned:
            return planned
        ours = access_lines.desired(database, present, also_root)
        former = _former(snapshot, ours, present)
        new = {
            snapshot.hba_path: (
                snapshot.hba_text,
                access_lines.new_hba(snapshot.hba_text, ours, former),
            ),
            snapshot.ident_path: (
                snapshot.ident_text,
                access_lines.new_ident(snapshot.ident_text, ours, former),
            ),
        }
        with _put_back_unless_sound(new, planned):
            for path, (old, text) in new.items():
                if text != old:
                    _write(path, text)
            faults, warnings = _complaints(cursor, snapshot.hba_path, snapshot.ident_path)
            # A warning on a line of the site's was there before; ours must be in force.
            if len(warnings) > len(snapshot.warnings):
                faults += warnings
            if faults:
                raise AccessFileError(
                    "the old files were put back, since PostgreSQL finds fault with the new: "
                    + "; ".join(faults)
                )
        # The files are written, and stay so: the next start of PostgreSQL reads them too.
        with keeping_what_was_done(lambda: planned.changes):
            before = _loaded_at(database)
            cursor.execute("SELECT pg_reload_conf()")
            connection.commit()
            _wait_until_loaded(database, before)
    return planned


def _former(snapshot: Snapshot, ours: tuple[Lines, ...], present: bool) -> Former:
    # Where all of it is to go, nobody's session keeps a line.
    sessions = snapshot.sessions if present else frozenset()
    return access_lines.find_former(snapshot.hba_text, snapshot.ident_text, ours, sessions)


def _former_notes(snapshot: Snapshot, database: Database, former: Former) -> list[str]:
    notes = [
        f"another machine has a session as {role} with the database {name}, which the settings no "
        "longer name: their lines stay in pg_hba.conf and pg_ident.conf until a run finds no such "
        "session; apply the formula on the mail hosts, then here again"
        for name, role in former.waiting
    ]
    left = {pair[0] for line in former.rules if (pair := hba.pair(line))} - {database.name}
    notes += [
        f"database {name}: the formula's tables, keys and roles' rights are left there; move the "
        "keys, then drop what is of no use any more"
        for name in sorted(left & snapshot.databases)
    ]
    return notes


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
        for user in (
            *hba.others_mapped(snapshot.ident_text, map_name, known, one.role),
            *_others_included(snapshot, map_name, known, one.role),
        )
    )


def _others_included(
    snapshot: Snapshot, map_name: str, known: tuple[str, ...], role: str
) -> list[str]:
    return [
        user
        for included_map, user, name in snapshot.included
        if included_map == map_name and user not in known and hba.could_mean(name, role)
    ]


def _complaints(
    cursor: pg.cursor, hba_path: str, ident_path: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """
    Return what PostgreSQL says of the files on disk: faults, for which it loads none of them, and
    warnings. A rule that it warns of is loaded, and shown with its type (measured, 15 and 17).
    """
    # From PostgreSQL 16 on there are included files.
    named = cursor.connection.server_version >= 160000
    file_name = "file_name" if named else "NULL"
    cursor.execute(
        f"SELECT {file_name}, line_number, error, type IS NULL FROM pg_hba_file_rules"
        " WHERE error IS NOT NULL"
    )
    rows = [(path or hba_path, *row) for path, *row in cursor.fetchall()]
    if _has_mappings(cursor):
        cursor.execute(
            f"SELECT {file_name}, line_number, error, true FROM pg_ident_file_mappings"
            " WHERE error IS NOT NULL"
        )
        rows += [(path or ident_path, *row) for path, *row in cursor.fetchall()]
    texts = [(f"{path}, line {number}: {error}", fatal) for path, number, error, fatal in rows]
    return (
        tuple(text for text, fatal in texts if fatal),
        tuple(text for text, fatal in texts if not fatal),
    )


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            text = stream.read()
    except OSError as error:
        raise AccessFileError(f"{path} can't be read on this machine: {error.strerror}") from None
    if "\0" in text:
        # PostgreSQL reads a line up to it, and takes the next line for more of the same.
        raise AccessFileError(f"{path} has a NUL byte in it; remove it")
    return text


def _write(path: str, text: str) -> None:
    path = os.path.realpath(path)
    status = os.stat(path)
    replace_file(path, text, stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid))


@contextlib.contextmanager
def _put_back_unless_sound(files: dict[str, tuple[str, str]], planned: Plan) -> Iterator[None]:
    """Put the old texts back at an error, which has the files that stay new as done."""
    try:
        yield
    except BaseException as error:
        left = {}
        for path, (old, new) in files.items():
            name = os.path.basename(path)
            # Each by itself: what keeps one file from being put back may spare the other.
            try:
                if old != new and _read(path) != old:
                    left[name] = planned.changes[name]
                    _write(path, old)
                    del left[name]
            except (OSError, AccessFileError):
                continue
        error.done = left
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
