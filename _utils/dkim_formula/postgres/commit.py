"""Commit, and find out whether a commit was carried out when its answer is lost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import DatabaseError
from ..settings.model import Database
from .connection import CONNECT_TIMEOUT, session
from .driver import driver

if TYPE_CHECKING:
    import psycopg2.extensions as pg


def commit(connection: pg.connection, database: Database, report: Callable[[], object]) -> None:
    """
    Commit a session's changes.

    report
        Called once the changes are committed. If PostgreSQL's answer to the commit is lost, another
        session asks whether the changes are committed. The loss is raised in either case.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT txid_current_if_assigned()")
        (number,) = cursor.fetchone()
    try:
        connection.commit()
    except driver().OperationalError:
        # Closing rolls back a transaction that is still open.
        connection.close()
        with contextlib.suppress(DatabaseError):
            if _is_committed(database, number):
                report()
        raise
    report()


def _is_committed(database: Database, number: int | None) -> bool:
    """Return whether the transaction is committed. Wait while a lost session still runs it."""
    deadline = time.monotonic() + CONNECT_TIMEOUT
    with session(database, autocommit=True) as connection, connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT txid_status(%s)", (number,))
            (status,) = cursor.fetchone()
            if status != "in progress" or time.monotonic() > deadline:
                return status == "committed"
            time.sleep(0.1)
