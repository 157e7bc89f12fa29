"""The reader's way in: our lines in the server's own pg_hba.conf and pg_ident.conf."""

from __future__ import annotations

from dataclasses import dataclass

from ..settings.model import Database
from .plan import Plan


@dataclass(frozen=True)
class Snapshot:
    """Paths, texts and the faults that PostgreSQL already finds in the two files."""

    hba_path: str | None = None
    ident_path: str | None = None
    hba_text: str = ""
    ident_text: str = ""
    faults: tuple[str, ...] = ()


ABSENT = Snapshot()


def look(connection) -> Snapshot:
    """Reads both files where the server says that they are."""
    raise NotImplementedError


def plan(snapshot: Snapshot, database: Database, present: bool = True) -> Plan:
    """
    Changes named ``pg_hba.conf`` and ``pg_ident.conf``. Raises AccessFileError where a file is
    broken already. ``present=False``: our lines are to go.
    """
    raise NotImplementedError


def apply(connection, database: Database, present: bool = True) -> Plan:
    """
    Writes the files, has PostgreSQL check them, reloads, and waits until that is in force; puts
    the old text back and raises AccessFileError where PostgreSQL finds fault.
    """
    raise NotImplementedError
