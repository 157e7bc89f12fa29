"""Rotation with a real standby server, from which a mail host may read."""

import contextlib
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
from dkim_formula.errors import StepRefused
from dkim_formula.postgres import connection as db
from dkim_formula.rotation import commands
from functional.postgres import SOCKET_DIRECTORY, as_postgres, execute, free_port, query

HOLD = 31  # seconds, for which resolvers cache an absence at the tests' servers
QUEUE = 5 * 86400
KEYS = "SELECT selector FROM public.dkim_key_table_ed25519"


class Standby:
    """A server that replays what the tests' server commits."""

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


@pytest.fixture
def signing(site, standby):
    """A key that signs, and a standby that was seen."""
    site.make_keys()
    wait(lambda: connected(site))
    commands.advance(site.settings)
    return site


def connected(site):
    with db.session(site.database, setup=True) as connection:
        return query(connection, "SELECT FROM pg_stat_replication WHERE replay_lsn IS NOT NULL")


def wait(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def rotated(site):
    """The site after a switch; its new selector."""
    commands.rotate(site.settings, "example.com")
    (new,) = site.selectors("pending")
    site.publish(new)
    commands.advance(site.settings)
    site.pass_time(HOLD)
    commands.advance(site.settings)
    assert site.states() == {"default": "retired", new: "active"}
    return new


def wait_until_seen(site):
    """Return once a run has seen that the standby has replayed everything."""

    def seen():
        commands.advance(site.settings)
        with db.session(site.database) as connection:
            unreached = "SELECT FROM public.dkim_replica WHERE reached_at IS NULL"
            return not query(connection, unreached)

    wait(seen)


def the_one(done):
    (told,) = done["waiting"]
    return told["waits_for"]


def test_key_that_a_standby_still_shows_is_not_revoked(signing, standby):
    # The server sends what is committed a moment later: synchronous_commit is off.
    wait(lambda: standby.ask(signing.database, KEYS) == [("default",)])
    standby.ask(signing.database, "SELECT pg_wal_replay_pause()")
    new = rotated(signing)
    signing.pass_time(2 * QUEUE)
    # A host that reads the standby signs with the former key, whose record must stay.
    assert standby.ask(signing.database, KEYS) == [("default",)]
    done = commands.advance(signing.settings)
    assert done["changes"] == {}
    assert "second" in the_one(done)
    assert "dkim.forget_replica" in the_one(done)
    with pytest.raises(StepRefused, match="second"):
        commands.revoke(signing.settings, "example.com", "default")
    standby.ask(signing.database, "SELECT pg_wal_replay_resume()")
    wait(lambda: standby.ask(signing.database, KEYS) == [(new,)])
    wait_until_seen(signing)
    # What the host signed until now may be in a queue.
    signing.pass_time(QUEUE - 3600)
    assert commands.advance(signing.settings)["changes"] == {}
    signing.pass_time(3700)
    assert commands.advance(signing.settings)["changes"]
    assert signing.states() == {"default": "revoked", new: "active"}


def test_standby_that_keeps_up_costs_no_time(signing):
    rotated(signing)
    wait_until_seen(signing)
    signing.pass_time(QUEUE + 60)
    assert signing.selectors("retired") == ["default"]
    commands.advance(signing.settings)
    assert signing.selectors("revoked") == ["default"]


def test_standby_that_is_away_is_waited_for_until_it_is_forgotten(signing, standby):
    standby.stop()
    wait(lambda: not connected(signing))
    rotated(signing)
    signing.pass_time(2 * QUEUE)
    assert "second" in the_one(commands.advance(signing.settings))
    announced = commands.forget_replica(signing.settings, "socket", test=True)
    assert commands.forget_replica(signing.settings, "socket") == announced
    assert announced["changes"] == {"socket (second)": {"old": "waited for", "new": None}}
    commands.advance(signing.settings)
    assert signing.selectors("revoked") == ["default"]
    with pytest.raises(StepRefused, match="known: none"):
        commands.forget_replica(signing.settings, "socket")


def test_compromised_key_waits_for_no_standby(signing, standby):
    standby.ask(signing.database, "SELECT pg_wal_replay_pause()")
    commands.revoke(signing.settings, "example.com", "default", compromised=True)
    assert signing.states()["default"] == "revoked"
    standby.ask(signing.database, "SELECT pg_wal_replay_resume()")


def test_preview_of_a_run_stores_nothing(signing):
    with db.session(signing.database, setup=True) as connection:
        execute(connection, "DELETE FROM public.dkim_replica")
    commands.advance(signing.settings, test=True)
    commands.rotate(signing.settings, "example.com", test=True)
    with db.session(signing.database) as connection:
        assert query(connection, "SELECT FROM public.dkim_replica") == []


def test_hidden_standby_is_named_with_the_right_that_shows_it(signing):
    owner = signing.database.keys_owner
    with db.session(signing.database, setup=True) as connection:
        execute(connection, "DELETE FROM public.dkim_replica")
        execute(connection, f'REVOKE pg_read_all_stats FROM "{owner}"')
    try:
        rotated(signing)
        signing.pass_time(2 * QUEUE)
        told = the_one(commands.advance(signing.settings))
    finally:
        with db.session(signing.database, setup=True) as connection:
            execute(connection, f'GRANT pg_read_all_stats TO "{owner}"')
    assert f'GRANT pg_read_all_stats TO "{owner}"' in told
    wait_until_seen(signing)
    signing.pass_time(QUEUE + 60)
    commands.advance(signing.settings)
    assert signing.selectors("revoked") == ["default"]
