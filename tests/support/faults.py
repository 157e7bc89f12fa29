"""
Faults of a mail server: each is a context manager that causes the fault and repairs it.

Debian's unit ``postgresql@VERSION-main`` does not restart by itself after a kill. The repair of
such a fault is therefore what an administrator does.
"""

import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from support import server
from support.machine import Machine

KILL_OPENDKIM = "systemctl kill --signal=KILL opendkim opendkim-ed25519"
SALT_PYTHON = "/opt/salt/bin/python"

# `systemctl stop postgresql` alone returns before the clusters have stopped: each has its own unit.
STOP = "systemctl stop postgresql 'postgresql@*'"
# Also starts a cluster whose unit systemd regards as running or as failed.
START = (
    "systemctl start postgresql; pg_lsclusters -h | while read -r version name port status rest; do"
    ' test "$status" = online || systemctl restart "postgresql@$version-$name"; done'
)
POSTMASTER = "$(head -1 /var/lib/postgresql/*/main/postmaster.pid)"
DATA = "/var/lib/postgresql/*/main"

# Moves the cluster to a file system in memory with little free space. PostgreSQL keeps few used
# segments of its write-ahead log, so that it soon needs space for a new one. The filler takes that
# space.
SMALL_DISK = f"""set -e
{STOP}
data=$(echo {DATA})
printf '%s\\n' 'max_wal_size = 64MB' 'min_wal_size = 32MB' >> "$data/postgresql.auto.conf"
cp -a "$data" /var/lib/postgresql/copy
size=$(($(du --summarize --block-size=1M "$data" | cut -f1) + 100))
mount -t tmpfs -o size="${{size}}M",mode=0700 tmpfs "$data"
chown postgres:postgres "$data"
cp -a /var/lib/postgresql/copy/. "$data"
{START}
"""
BIG_DISK = f"""set -e
data=$(echo {DATA})
rm -f "$data/filler"
{STOP}
{START}
{STOP}
rm -rf /var/lib/postgresql/copy
cp -a "$data" /var/lib/postgresql/copy
umount "$data"
cp -a /var/lib/postgresql/copy/. "$data"
rm -rf /var/lib/postgresql/copy
{START}
"""
# Runs in an existing session, since a new session would fail on a full disk. A segment of the
# write-ahead log is 16 MB. PostgreSQL uses its existing segments before it makes a new one.
FILL = f"\\! dd if=/dev/zero of=$(echo {DATA})/filler bs=64k 2>/dev/null\n"
WRITE_LOG = "SELECT pg_logical_emit_message(false, 'test', 'x'), pg_switch_wal();\n"

TAKE_EVERY_CONNECTION = """\
import psycopg2, sys
held = []
try:
    while True:
        held.append(psycopg2.connect("dbname=vmail"))
except psycopg2.OperationalError as error:
    print(error, flush=True)
sys.stdin.read()
"""
# OpenDKIM's sessions have no name.
WAITING = (
    "FROM pg_stat_activity WHERE usename = 'vmail-dkim-reader' AND wait_event_type = 'Lock' "
    "AND application_name = ''"
)
LOCK = "BEGIN; LOCK TABLE dkim IN ACCESS EXCLUSIVE MODE; SELECT 'locked';\n"


@contextmanager
def database_stopped(machine: Machine) -> Iterator[None]:
    """Stop PostgreSQL, as for an upgrade, and start it."""
    machine.run(STOP)
    yield
    machine.run(START)


@contextmanager
def database_killed(machine: Machine) -> Iterator[None]:
    """Kill the postmaster, so that its backends end too; start it as an administrator does."""
    machine.run(f"kill -KILL {POSTMASTER}")
    yield
    machine.run(START)


@contextmanager
def database_restarted(machine: Machine) -> Iterator[None]:
    """Restart PostgreSQL several times while mail comes in."""
    for _ in range(3):
        machine.run("systemctl restart 'postgresql@*'")
    yield


@contextmanager
def database_hangs(machine: Machine) -> Iterator[None]:
    """Stop every process of PostgreSQL by SIGSTOP, as on a disk that does not answer."""
    machine.run("pkill -STOP -u postgres postgres")
    yield
    machine.run("pkill -CONT -u postgres postgres")


@contextmanager
def table_locked(machine: Machine) -> Iterator[None]:
    """Lock the table of keys exclusively by another transaction, as VACUUM FULL does."""
    with _session(machine, ["psql", "-Xq", "vmail"], LOCK, "locked"):
        yield


@contextmanager
def sessions_ended(machine: Machine) -> Iterator[None]:
    """End OpenDKIM's sessions during look-ups; mail must arrive to cause the look-ups."""
    with table_locked(machine):
        machine.wait_for(
            lambda: int(server.sql(machine, f"SELECT count(*) {WAITING}")),
            what="a look-up waits for the table",
        )
        server.sql(machine, f"SELECT pg_terminate_backend(pid) {WAITING}")
    yield


@contextmanager
def disk_full(machine: Machine) -> Iterator[None]:
    """Fill the disk of PostgreSQL's write-ahead log, so that PostgreSQL ends (PANIC)."""
    machine.run(SMALL_DISK)
    script = f"SELECT 1;\n{FILL}{WRITE_LOG * 80}"
    written = machine.run(["psql", "-Xq"], user="postgres", input=script, check=False)
    # psql(1), «Exit status»: 2 if the connection was lost, whichever process ended.
    if written.returncode != 2:
        raise RuntimeError(f"PostgreSQL still runs on a full disk: {written.stderr}")
    yield
    machine.run(BIG_DISK)


@contextmanager
def connections_exhausted(machine: Machine) -> Iterator[None]:
    """Take all connections by another program, and kill OpenDKIM, so that it must reconnect."""
    command = [SALT_PYTHON, "-c", TAKE_EVERY_CONNECTION]
    with _session(machine, command, None, "too many clients"):
        machine.run(KILL_OPENDKIM)
        yield


@contextmanager
def opendkim_killed(machine: Machine) -> Iterator[None]:
    """Kill both daemons by SIGKILL."""
    machine.run(KILL_OPENDKIM)
    yield


@contextmanager
def postfix_restarted(machine: Machine) -> Iterator[None]:
    """Restart Postfix twice."""
    for _ in range(2):
        machine.run("systemctl restart postfix")
    yield


Fault = Callable[[Machine], AbstractContextManager[None]]
# Each can be caused at any time and in any order, and has no effect after its repair.
FAULTS: Mapping[str, Fault] = {
    fault.__name__: fault
    for fault in (
        database_stopped,
        database_killed,
        database_restarted,
        database_hangs,
        table_locked,
        sessions_ended,
        disk_full,
        connections_exhausted,
        opendkim_killed,
        postfix_restarted,
    )
}


def restarts(machine: Machine, service: str = "opendkim") -> int:
    """Return how often systemd has restarted a service by itself."""
    command = ["systemctl", "show", "--property=NRestarts", "--value", service]
    return int(machine.run(command).stdout)


@contextmanager
def _session(machine: Machine, command: list[str], given: str | None, until: str) -> Iterator[None]:
    """Run a program as postgres from when it prints a text until the fault is repaired."""
    process = machine.popen(
        command,
        user="postgres",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        if given:
            process.stdin.write(given)
            process.stdin.flush()
        found = next((line for line in process.stdout if until in line), None)
        if found is None:
            raise RuntimeError(f"{command[0]} ended before it printed {until!r}")
        yield
    finally:
        process.communicate(timeout=30)
