"""Runs that generate many keys: interrupted runs, repeated runs, and two runs at once."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from dkim_formula.errors import DatabaseError
from dkim_formula.keys import bulk_generation
from dkim_formula.keys.comparison import compare
from dkim_formula.keys.model import DesiredKey
from dkim_formula.postgres import connection as db
from dkim_formula.private_key import PrivateKey
from functional.server import execute, query

pytestmark = pytest.mark.one_release

LIBRARY = Path(bulk_generation.__file__).parents[2]


def host(settings, count):
    names = [f"d{number:03}.example" for number in range(count)]
    with db.session(settings) as connection:
        execute(
            connection, "INSERT INTO public.domains (domain) SELECT unnest(%s::text[])", (names,)
        )
    # These tests check the batches of a run, so they use Ed25519 keys, which cost no time.
    return [DesiredKey(name, "default", "ed25519") for name in names]


def inserts(connection):
    return query(
        connection,
        "SELECT count(*), count(DISTINCT domain) FROM public.dkim_history WHERE from_state IS NULL",
    )[0]


def test_every_missing_key_is_generated_and_progress_is_reported(ready):
    desired = host(ready, 100)
    reported = []
    with db.session(ready) as connection:
        stored = bulk_generation.generate(
            connection, ready, desired, "test", lambda *at: reported.append(at), workers=1
        )
        assert len(stored) == 100
        assert compare(connection, ready, desired).missing == ()
    assert reported == [(32, 100), (64, 100), (96, 100), (100, 100)]


def test_second_run_generates_no_key(ready, monkeypatch):
    desired = host(ready, 40)
    with db.session(ready) as connection:
        bulk_generation.generate(connection, ready, desired, "test")
        monkeypatch.setattr(PrivateKey, "generate", None)
        assert bulk_generation.generate(connection, ready, desired, "test") == []


def test_rsa_key_has_the_desired_size(ready):
    with db.session(ready) as connection:
        (key,) = bulk_generation.generate(
            connection, ready, [DesiredKey("example.com", "s", "rsa", 1024)], "test"
        )
    assert (key.algorithm, key.bits) == ("rsa", 1024)


def test_domain_that_is_not_hosted_gets_its_key(ready):
    with db.session(ready) as connection:
        desired = [DesiredKey("nowhere.example", "s", "ed25519")]
        (key,) = bulk_generation.generate(connection, ready, desired, "test")
    assert (key.domain, key.state) == ("nowhere.example", "active")


def test_failed_run_keeps_its_batches_and_the_next_run_completes_them(ready):
    desired = host(ready, 100)

    def stop(done, total):
        if done == 64:
            raise InterruptedError

    with pytest.raises(InterruptedError), db.session(ready) as connection:
        bulk_generation.generate(connection, ready, desired, "test", stop, workers=1)
    with db.session(ready) as connection:
        assert inserts(connection) == (64, 64)
        assert len(bulk_generation.generate(connection, ready, desired, "test")) == 36
        assert inserts(connection) == (100, 100)


def test_failed_run_releases_its_lock(ready):
    desired = host(ready, 100)

    def stop(done, total):
        raise InterruptedError

    with db.session(ready) as connection:
        with pytest.raises(InterruptedError):
            bulk_generation.generate(connection, ready, desired, "test", stop, workers=1)
        locks = query(connection, "SELECT * FROM pg_locks WHERE locktype = 'advisory'")
        assert locks == []


BULK = """
import sys
sys.path.insert(0, sys.argv[1])
from dkim_formula.keys import bulk_generation
from dkim_formula.keys.model import DesiredKey
from dkim_formula.postgres import connection, hosted
from dkim_formula.settings.model import Database
settings = Database(name=sys.argv[2], port=int(sys.argv[3]))
with connection.session(settings) as opened:
    desired = [
        DesiredKey(name, "default", "rsa", 1024)
        for name in hosted.hosted(opened, settings)
        if name.startswith("d")
    ]
    bulk_generation.generate(opened, settings, desired, "test", workers=1)
"""


def start_bulk(settings):
    return subprocess.Popen(
        [sys.executable, "-c", BULK, str(LIBRARY), settings.name, str(settings.port)],
        stderr=subprocess.PIPE,
        text=True,
    )


def stored(settings):
    with db.session(settings) as connection:
        return query(connection, "SELECT count(*) FROM public.dkim")[0][0]


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition is not met in time"
        time.sleep(0.02)


def test_next_run_completes_a_killed_run_and_generates_no_key_twice(ready):
    host(ready, 150)
    run = start_bulk(ready)
    until(lambda: stored(ready) >= 64)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    kept = stored(ready)
    assert kept % 32 == 0
    again = start_bulk(ready)
    assert again.communicate()[1] == ""
    assert again.returncode == 0
    with db.session(ready) as connection:
        assert inserts(connection) == (150, 150)
        assert kept < 150


def test_two_runs_at_once_generate_one_key_for_each_domain(ready):
    host(ready, 100)
    runs = [start_bulk(ready), start_bulk(ready)]
    assert [run.communicate()[1] for run in runs] == ["", ""]
    with db.session(ready) as connection:
        assert inserts(connection) == (100, 100)


def test_concurrent_calls_for_one_domain_generate_one_key(ready):
    meeting = threading.Barrier(4)
    made = []

    def call(number):
        with db.session(ready) as connection:
            meeting.wait()
            made.extend(
                bulk_generation.generate(
                    connection, ready, [DesiredKey("example.com", "s")], "test"
                )
            )

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert stored(ready) == 1


def test_single_call_does_not_wait_for_a_bulk_run(ready):
    with db.session(ready) as bulk, db.session(ready) as single:
        bulk_generation._lock(bulk, "pg_advisory_lock")
        execute(single, "SET lock_timeout = '1s'")
        (key,) = bulk_generation.generate(
            single, ready, [DesiredKey("example.com", "s", "ed25519")], "test"
        )
        assert key.state == "active"


def test_number_of_threads_is_the_number_of_usable_cores(ready, monkeypatch):
    desired = host(ready, 3 * 32 + 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    reported = []
    with db.session(ready) as connection:
        bulk_generation.generate(
            connection, ready, desired, "test", lambda *at: reported.append(at)
        )
    assert reported == [(96, 97), (97, 97)]


def test_error_says_that_the_server_closed_the_connection(ready):
    desired = host(ready, 100)

    def cut(done, total):
        with db.session(ready) as other:
            execute(
                other,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )

    cause = r"terminat|server closed"
    with pytest.raises(DatabaseError, match=cause), db.session(ready) as connection:
        bulk_generation.generate(connection, ready, desired, "test", cut, workers=1)
    assert stored(ready) == 32
