"""Rotation with a real standby server, from which a mail host may read keys."""

import time

import pytest
from dkim_formula.errors import StepRefused
from dkim_formula.postgres import connection as db
from dkim_formula.rotation import commands
from functional.server import execute, query

HOLD = 31  # seconds: the negative TTL of the tests' servers, plus one
QUEUE = 5 * 86400
KEYS = "SELECT selector FROM public.dkim_key_table_ed25519"


@pytest.fixture
def signing(site, standby):
    """A site with a key that signs and a standby that a run has found."""
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
    """Rotate the site's key up to the switch, and return the new selector."""
    commands.rotate(site.settings, "example.com")
    (new,) = site.selectors("pending")
    site.publish(new)
    commands.advance(site.settings)
    site.pass_time(HOLD)
    commands.advance(site.settings)
    assert site.states() == {"default": "retired", new: "active"}
    return new


def wait_until_replayed(site):
    """Wait until a run observes that the standby has replayed everything."""

    def replayed():
        commands.advance(site.settings)
        with db.session(site.database) as connection:
            unreached = "SELECT FROM public.dkim_replica WHERE reached_at IS NULL"
            return not query(connection, unreached)

    wait(replayed)


def reason_to_wait(done):
    (waiting,) = done["waiting"]
    return waiting["waits_for"]


def test_key_that_a_standby_still_has_is_not_revoked(signing, standby):
    # synchronous_commit is off, so the standby receives a commit a little later.
    wait(lambda: standby.ask(signing.database, KEYS) == [("default",)])
    standby.ask(signing.database, "SELECT pg_wal_replay_pause()")
    new = rotated(signing)
    signing.pass_time(2 * QUEUE)
    # A host that reads the standby signs with the former key, so its record must stay.
    assert standby.ask(signing.database, KEYS) == [("default",)]
    done = commands.advance(signing.settings)
    assert done["changes"] == {}
    assert "second" in reason_to_wait(done)
    assert "dkim.forget_replica" in reason_to_wait(done)
    with pytest.raises(StepRefused, match="second"):
        commands.revoke(signing.settings, "example.com", "default")
    standby.ask(signing.database, "SELECT pg_wal_replay_resume()")
    wait(lambda: standby.ask(signing.database, KEYS) == [(new,)])
    wait_until_replayed(signing)
    # Mail that the host signed until now may be in a queue.
    signing.pass_time(QUEUE - 3600)
    assert commands.advance(signing.settings)["changes"] == {}
    signing.pass_time(3700)
    assert commands.advance(signing.settings)["changes"]
    assert signing.states() == {"default": "revoked", new: "active"}


def test_standby_that_keeps_up_delays_no_revocation(signing):
    rotated(signing)
    wait_until_replayed(signing)
    signing.pass_time(QUEUE + 60)
    assert signing.selectors("retired") == ["default"]
    commands.advance(signing.settings)
    assert signing.selectors("revoked") == ["default"]


def test_unreachable_standby_delays_revocations_until_dkim_forget_replica(signing, standby):
    standby.stop()
    wait(lambda: not connected(signing))
    rotated(signing)
    signing.pass_time(2 * QUEUE)
    assert "second" in reason_to_wait(commands.advance(signing.settings))
    planned = commands.forget_replica(signing.settings, "socket", test=True)
    assert commands.forget_replica(signing.settings, "socket") == planned
    assert planned["changes"] == {"socket (second)": {"old": "waited for", "new": None}}
    commands.advance(signing.settings)
    assert signing.selectors("revoked") == ["default"]
    with pytest.raises(StepRefused, match="known: none"):
        commands.forget_replica(signing.settings, "socket")


def test_revocation_of_a_compromised_key_waits_for_no_standby(signing, standby):
    standby.ask(signing.database, "SELECT pg_wal_replay_pause()")
    commands.revoke(signing.settings, "example.com", "default", compromised=True)
    assert signing.states()["default"] == "revoked"
    standby.ask(signing.database, "SELECT pg_wal_replay_resume()")


def test_test_run_stores_nothing_about_standbys(signing):
    with db.session(signing.database, setup=True) as connection:
        execute(connection, "DELETE FROM public.dkim_replica")
    commands.advance(signing.settings, test=True)
    commands.rotate(signing.settings, "example.com", test=True)
    with db.session(signing.database) as connection:
        assert query(connection, "SELECT FROM public.dkim_replica") == []


def test_hidden_standby_is_reported_with_the_missing_right(signing):
    owner = signing.database.keys_owner
    with db.session(signing.database, setup=True) as connection:
        execute(connection, "DELETE FROM public.dkim_replica")
        execute(connection, f'REVOKE pg_read_all_stats FROM "{owner}"')
    try:
        rotated(signing)
        signing.pass_time(2 * QUEUE)
        reason = reason_to_wait(commands.advance(signing.settings))
    finally:
        with db.session(signing.database, setup=True) as connection:
            execute(connection, f'GRANT pg_read_all_stats TO "{owner}"')
    assert f'GRANT pg_read_all_stats TO "{owner}"' in reason
    wait_until_replayed(signing)
    signing.pass_time(QUEUE + 60)
    commands.advance(signing.settings)
    assert signing.selectors("revoked") == ["default"]
