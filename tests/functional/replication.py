"""A real standby server of the tests' server."""

import contextlib
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from dkim_formula.postgres import connection as db
from functional.server import SOCKET_DIRECTORY, as_postgres, free_port, query


class Standby:
    """A standby server of the tests' server."""

    def __init__(self, server, data):
        self.port = free_port()
        self._control = [str(server.programs / "pg_ctl"), "-w", "-D", str(data)]
        backup = [str(server.programs / "pg_basebackup"), "-D", str(data), "--write-recovery-conf"]
        where = f"host={SOCKET_DIRECTORY} port={server.port} application_name=second"
        as_postgres(*backup, "--checkpoint=fast", "-d", where)
        with (data / "postgresql.conf").open("a") as stream:
            stream.write(f"port = {self.port}\nwal_receiver_status_interval = 1s\n")
        self._log = data / "log.txt"

    def start(self):
        as_postgres(*self._control, "-l", str(self._log), "start")

    def stop(self):
        as_postgres(*self._control, "-m", "immediate", "stop")

    def ask(self, database, statement):
        with db.session(replace(database, port=self.port), setup=True) as connection:
            return query(connection, statement)


@pytest.fixture
def standby(server, ready):
    """A standby that has the test's database."""
    folder = Path(tempfile.mkdtemp(prefix="dkim-standby-"))
    shutil.chown(folder, "postgres", "postgres")
    found = Standby(server, folder / "data")
    found.start()
    try:
        yield found
    finally:
        with contextlib.suppress(Exception):
            found.stop()
        shutil.rmtree(folder)
