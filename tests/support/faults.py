"""
Faults of a mail server: each a context manager that lays the fault on a machine and lifts it.

The database's end of it all is Debian's: the unit ``postgresql@VERSION-main`` does not come back by
itself where it was killed, so lifting such a fault is what an administrator does.
"""

import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from support import server
from support.machine import Machine

KILL_OPENDKIM = "systemctl kill --signal=KILL opendkim opendkim-ed25519"
SALT_PYTHON = "/opt/salt/bin/python"

# `systemctl stop postgresql` alone ends before the clusters have: they are units of their own.
STOP = "systemctl stop postgresql 'postgresql@*'"
# Also where systemd thinks that it runs, or that it failed.
START = (
    "systemctl start postgresql; pg_lsclusters -h | while read -r version name port status rest; do"
    ' test "$status" = online || systemctl restart "postgresql@$version-$name"; done'
)
POSTMASTER = "$(head -1 /var/lib/postgresql/*/main/postmaster.pid)"
DATA = "/var/lib/postgresql/*/main"

# Room for the cluster and little else, in memory. PostgreSQL keeps few used segments of its log, so
# that what it has is soon written full, and room for the next is what the filler takes.
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
# In a session from before: a new one would fail by itself. Each new segment of the log is 16 MB;
# before the first of them those are used that are there already.
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
    """PostgreSQL is stopped, as for an upgrade, and started."""
    machine.run(STOP)
    yield
    machine.run(START)


@contextmanager
def database_killed(machine: Machine) -> Iterator[None]:
    """The postmaster dies by SIGKILL, and its backends with it; somebody starts it again."""
    machine.run(f"kill -KILL {POSTMASTER}")
    yield
    machine.run(START)


@contextmanager
def database_restarted(machine: Machine) -> Iterator[None]:
    """PostgreSQL is restarted again and again while mail comes in."""
    for _ in range(3):
        machine.run("systemctl restart 'postgresql@*'")
    yield


@contextmanager
def database_hangs(machine: Machine) -> Iterator[None]:
    """Every process of PostgreSQL stands still (SIGSTOP), as on a disk that does not answer."""
    machine.run("pkill -STOP -u postgres postgres")
    yield
    machine.run("pkill -CONT -u postgres postgres")


@contextmanager
def table_locked(machine: Machine) -> Iterator[None]:
    """Somebody's transaction holds the table of keys to itself, as VACUUM FULL does."""
    with _session(machine, ["psql", "-Xq", "vmail"], LOCK, "locked"):
        yield


@contextmanager
def sessions_ended(machine: Machine) -> Iterator[None]:
    """OpenDKIM's sessions are ended while look-ups are under way: it takes mail to do so."""
    with table_locked(machine):
        machine.wait_for(
            lambda: int(server.sql(machine, f"SELECT count(*) {WAITING}")),
            what="a look-up waits for the table",
        )
        server.sql(machine, f"SELECT pg_terminate_backend(pid) {WAITING}")
    yield


@contextmanager
def disk_full(machine: Machine) -> Iterator[None]:
    """No room for PostgreSQL's log on its disk: it ends by itself (PANIC), until there is room."""
    machine.run(SMALL_DISK)
    script = f"SELECT 1;\n{FILL}{WRITE_LOG * 80}"
    written = machine.run(["psql", "-Xq"], user="postgres", input=script, check=False)
    # psql(1), «Exit status»: 2 where the connection went bad, whichever process it was that ended.
    if written.returncode != 2:
        raise RuntimeError(f"PostgreSQL found room on a full disk: {written.stderr}")
    yield
    machine.run(BIG_DISK)


@contextmanager
def connections_exhausted(machine: Machine) -> Iterator[None]:
    """Other programs have every connection that there is, and OpenDKIM has to start anew."""
    command = [SALT_PYTHON, "-c", TAKE_EVERY_CONNECTION]
    with _session(machine, command, None, "too many clients"):
        machine.run(KILL_OPENDKIM)
        yield


@contextmanager
def opendkim_killed(machine: Machine) -> Iterator[None]:
    """Both daemons die by SIGKILL."""
    machine.run(KILL_OPENDKIM)
    yield


@contextmanager
def postfix_restarted(machine: Machine) -> Iterator[None]:
    """Postfix is restarted twice."""
    for _ in range(2):
        machine.run("systemctl restart postfix")
    yield


Fault = Callable[[Machine], AbstractContextManager[None]]
# Each can be laid on at any time, in any order, and is over when it is lifted.
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
    """How often systemd has started a service again."""
    command = ["systemctl", "show", "--property=NRestarts", "--value", service]
    return int(machine.run(command).stdout)


@contextmanager
def _session(machine: Machine, command: list[str], given: str | None, until: str) -> Iterator[None]:
    """A program of the postgres account, from when it says a text until the fault is lifted."""
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
        said = next((line for line in process.stdout if until in line), None)
        if said is None:
            raise RuntimeError(f"{command[0]} ended before it said {until!r}")
        yield
    finally:
        process.communicate(timeout=30)
