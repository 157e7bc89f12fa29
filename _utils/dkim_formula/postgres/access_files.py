"""The formula's lines in pg_hba.conf and pg_ident.conf: written, checked and loaded."""

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
    The present state of both files and of the server.

    faults
        PostgreSQL's errors in the files. With one of them PostgreSQL loads neither file.
    warnings
        PostgreSQL's messages on rules that it loads: `hostssl` while ``ssl = off``.
    included
        Mappings of files that pg_ident.conf includes: map, system user, role (PostgreSQL 16).
    sessions
        The database and the role of each open session from another machine.
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

# The rights that a role without superuser lacks by default: an SQL test, and what to GRANT.
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


def read(connection: pg.connection) -> Snapshot:
    """
    Read both files at the paths that the server reports.

    Raises AccessFileError if a path is missing on this machine, which then is not the database's
    host, or if the session's role lacks the rights that reading needs.
    """
    with connection.cursor() as cursor:
        _refuse_without_rights(cursor)
        cursor.execute("SELECT current_setting('hba_file'), current_setting('ident_file')")
        hba_path, ident_path = cursor.fetchone()
        faults, warnings = _errors_and_warnings(cursor, hba_path, ident_path)
        cursor.execute(
            "SELECT DISTINCT datname, usename FROM pg_stat_activity"
            " WHERE datname <> '' AND client_addr IS NOT NULL"
        )
        sessions = frozenset(cursor.fetchall())
        cursor.execute("SELECT datname FROM pg_database")
        databases = frozenset(name for (name,) in cursor)
        included = _included(cursor, ident_path)
    texts = (_read_text(hba_path), _read_text(ident_path))
    return Snapshot(hba_path, ident_path, *texts, faults, warnings, included, sessions, databases)


def _refuse_without_rights(cursor: pg.cursor) -> None:
    needed = {
        test: right
        for test, right in _NEEDED.items()
        if _has_mappings(cursor) or "pg_ident_file_mappings" not in test
    }
    cursor.execute(f"SELECT current_user, {', '.join(needed)}")
    role, *has = cursor.fetchone()
    lacking = [right for right, held in zip(needed.values(), has, strict=True) if not held]
    if not lacking:
        return
    grants = " ".join(f"GRANT {right} TO {quoted(role)};" for right in lacking)
    raise AccessFileError(
        f"dkim:database:user: role {role!r} lacks a superuser's rights to read the server's "
        "pg_hba.conf and pg_ident.conf and to reload them; remove dkim:database:user, so that root "
        "sets up as the local postgres account, or run once as a superuser in the database "
        f"{MAINTENANCE!r}: {grants}"
    )


def _has_mappings(cursor: pg.cursor) -> bool:
    """Return whether the server has pg_ident_file_mappings (PostgreSQL 15 and later)."""
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
    snapshot: Snapshot,
    database: Database,
    present: bool = True,
    also_root: bool = False,
    keep_former: bool = False,
) -> Plan:
    """
    Plan the changes of ``pg_hba.conf`` and ``pg_ident.conf``.

    present
        False: remove the formula's lines.
    also_root
        Root may log in as the reader too: for a daemon that its init script starts as root, and
        which opens its first session before it changes its user (measured).
    keep_former
        Keep the lines of readers and writers that the settings no longer name.

    Raises AccessFileError if PostgreSQL already reports an error in a file.
    """
    if snapshot.faults:
        raise AccessFileError("\n".join(snapshot.faults))
    desired = access_lines.desired(database, present, also_root)
    former = _former(snapshot, desired, present, keep_former)
    changes = {}
    if access_lines.new_hba(snapshot.hba_text, desired, former) != snapshot.hba_text:
        changes["pg_hba.conf"] = _change(
            snapshot.hba_text,
            lambda line: (
                line in former.rules
                or any(one.is_local(line) or one.is_network(line) for one in desired)
            ),
            [rule for one in desired for rule in (*one.local, *one.network)],
        )
    if access_lines.new_ident(snapshot.ident_text, desired, former) != snapshot.ident_text:
        changes["pg_ident.conf"] = _change(
            snapshot.ident_text,
            lambda line: (
                line in former.mappings
                or (
                    any(one.is_mapping(line) for one in desired)
                    and line not in former.kept_mappings
                )
            ),
            [mapping for one in desired for mapping in one.mappings],
        )
    notes = (*_notes(snapshot, desired), *_former_notes(snapshot, database, former, keep_former))
    return Plan(changes, notes)


def apply(
    connection: pg.connection,
    database: Database,
    present: bool = True,
    also_root: bool = False,
    keep_former: bool = False,
) -> Plan:
    """
    Write the files, have PostgreSQL check and load them, and wait until the new rules are in force.

    Puts the old texts back and raises AccessFileError if PostgreSQL reports an error in the new.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCK_CLASS, LOCK_ACCESS))
        snapshot = read(connection)
        planned = plan(snapshot, database, present, also_root, keep_former)
        if not planned:
            return planned
        desired = access_lines.desired(database, present, also_root)
        former = _former(snapshot, desired, present, keep_former)
        files = {
            "pg_hba.conf": (
                snapshot.hba_path,
                snapshot.hba_text,
                access_lines.new_hba(snapshot.hba_text, desired, former),
            ),
            "pg_ident.conf": (
                snapshot.ident_path,
                snapshot.ident_text,
                access_lines.new_ident(snapshot.ident_text, desired, former),
            ),
        }
        with _put_back_unless_valid(files, planned):
            for path, old, text in files.values():
                if text != old:
                    _write(path, text)
            faults, warnings = _errors_and_warnings(cursor, snapshot.hba_path, snapshot.ident_path)
            # A warning on another line existed before. A new warning is on a line of the
            # formula's, which must be in force.
            if len(warnings) > len(snapshot.warnings):
                faults += warnings
            if faults:
                raise AccessFileError(
                    "the old files were put back, because PostgreSQL reports errors in the new: "
                    + "; ".join(faults)
                )
        # The files stay written: the next start of PostgreSQL reads them even without a reload.
        with keeping_what_was_done(lambda: planned.changes):
            before = _loaded_at(database)
            cursor.execute("SELECT pg_reload_conf()")
            connection.commit()
            _wait_until_loaded(database, before)
    return planned


def _former(
    snapshot: Snapshot, desired: tuple[Lines, ...], present: bool, keep_former: bool
) -> Former:
    # When all of the formula's lines are removed, no session keeps a line.
    sessions = snapshot.sessions if present else frozenset()
    if keep_former:
        sessions = access_lines.logins(snapshot.hba_text)
    return access_lines.find_former(snapshot.hba_text, snapshot.ident_text, desired, sessions)


def _former_notes(
    snapshot: Snapshot, database: Database, former: Former, keep_former: bool
) -> list[str]:
    notes = [
        f"role {role} can still log in to the database {name}, which the settings no longer name: "
        "the last steps of dkim.orchestrate.rollout remove it"
        for name, role in former.waiting
        if keep_former
    ]
    notes += [
        f"another machine has a session as {role} with the database {name}, which the settings no "
        "longer name: the session's lines stay in pg_hba.conf and pg_ident.conf until a run finds "
        "no such session; apply the formula on the mail hosts, then here again"
        for name, role in former.waiting
        if not keep_former
    ]
    left = {pair[0] for line in former.rules if (pair := hba.database_and_role(line))}
    left.discard(database.name)
    notes += [
        f"database {name}: the formula's tables, keys and roles' rights are left there; move the "
        "keys, then drop what nothing uses"
        for name in sorted(left & snapshot.databases)
    ]
    return notes


def _change(text: str, is_managed: hba.IsManaged, new: list[str]) -> dict[str, object]:
    old = [line.raw.strip() for line in hba.lines(text) if is_managed(line)]
    return change("; ".join(old) or None, "; ".join(new) or None)


def _notes(snapshot: Snapshot, desired: tuple[Lines, ...]) -> tuple[str, ...]:
    return tuple(
        "pg_ident.conf: a line that the formula does not manage lets the system user "
        f"{user} use the map {map_name} too; the formula does not change that line"
        for one in desired
        if one.mappings
        for map_name, known in one.maps
        for user in (
            *hba.unmanaged_users(snapshot.ident_text, map_name, known, one.role),
            *_included_unmanaged_users(snapshot, map_name, known, one.role),
        )
    )


def _included_unmanaged_users(
    snapshot: Snapshot, map_name: str, known: tuple[str, ...], role: str
) -> list[str]:
    return [
        user
        for included_map, user, name in snapshot.included
        if included_map == map_name and user not in known and hba.may_match_role(name, role)
    ]


def _errors_and_warnings(
    cursor: pg.cursor, hba_path: str, ident_path: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """
    Return PostgreSQL's errors and warnings on the files on disk.

    With an error PostgreSQL loads none of the files. A rule with a warning is loaded, and
    pg_hba_file_rules shows its type (measured, 15 and 17).
    """
    # From PostgreSQL 16 on a file can include others, and each row names its file.
    has_file_name = cursor.connection.server_version >= 160000
    file_name = "file_name" if has_file_name else "NULL"
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


def _read_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            text = stream.read()
    except OSError as error:
        raise AccessFileError(f"{path} can't be read on this machine: {error.strerror}") from None
    if "\0" in text:
        # PostgreSQL reads a line up to the NUL byte and appends the next line to it.
        raise AccessFileError(f"{path} has a NUL byte in it; remove it")
    return text


def _write(path: str, text: str) -> None:
    path = os.path.realpath(path)
    status = os.stat(path)
    replace_file(path, text, stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid))


@contextlib.contextmanager
def _put_back_unless_valid(files: dict[str, tuple[str, str, str]], planned: Plan) -> Iterator[None]:
    """
    Put the old texts back at an error. Its ``done`` names the files that stay changed.

    files
        Each file's path, old text and new text, by the file's name in the plan. The path may have
        any name: ``hba_file`` and ``ident_file`` in postgresql.conf.
    """
    try:
        yield
    except BaseException as error:
        left = {}
        for name, (path, old, new) in files.items():
            # One file at a time: an error at the one does not prevent putting back the other.
            try:
                if old != new and _read_text(path) != old:
                    left[name] = planned.changes[name]
                    _write(path, old)
                    del left[name]
            except (OSError, AccessFileError):
                continue
        error.done = left
        raise


def _loaded_at(database: Database):
    # A new session answers with the postmaster's load time. An old session answers with the time
    # at which it noticed the signal itself.
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
                "PostgreSQL did not load pg_hba.conf and pg_ident.conf within "
                f"{RELOADED_WITHIN:.0f} s; run again"
            )
        time.sleep(0.05)
